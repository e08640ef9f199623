#include <cmath>
#include <cstring>

#include "worker/optim/adam.h"
#include "worker/optim/pieces.cuh"

namespace worker {
namespace {

struct Rule {
  const float* clip;
  const float* hyper;  // hyper[0]: the step, from 1; 0 where the seat sits it out
  int group;
  float beta1, beta2, rest1, rest2;  // rest: 1 - beta, rounded once
  float epsilon, weight_decay;
  double log_beta1, log_beta2;
};
struct State {
  const float* grad;
  float *p, *m, *v;
  bf16* p16;
};

// Moves both to the block's seat. False: nothing is to be done there.
__device__ inline bool TakeSeat(State& s, Rule& rule, int64_t seat_stride) {
  s = {AtSeat(s.grad, seat_stride), AtSeat(s.p, seat_stride), AtSeat(s.m, seat_stride),
       AtSeat(s.v, seat_stride), AtSeat(s.p16, seat_stride)};
  rule.clip = AtSeat(rule.clip, seat_stride);
  rule.hyper = AtSeat(rule.hyper, seat_stride);
  return rule.hyper[0] != 0;
}
struct Corrections {
  float m_scale, v_scale;
};

__device__ inline Corrections CorrectionsOf(const Rule& rule) {
  __shared__ Corrections shared;
  if (threadIdx.x == 0) {
    const double t = rule.hyper[0];
    shared = {static_cast<float>(-1.0 / expm1(t * rule.log_beta1)),
              static_cast<float>(-1.0 / expm1(t * rule.log_beta2))};
  }
  __syncthreads();
  return shared;
}

__device__ inline void Moments(const Rule& rule, float clip, float g, float* m, float* v) {
  g *= clip;
  *m = rule.beta1 * *m + rule.rest1 * g;
  *v = rule.beta2 * *v + rule.rest2 * g * g;
}
__device__ inline float Direction(const Rule& rule, const Corrections& c, float m, float v) {
  return m * c.m_scale / (sqrtf(v * c.v_scale) + rule.epsilon);
}

// 4 values of an array as an addressable vector.
struct Float4 {
  float v[4];
};
__device__ inline Float4 Load(const float* p) {
  const float4 x = *reinterpret_cast<const float4*>(p);
  return {{x.x, x.y, x.z, x.w}};
}
__device__ inline void Store(float* p, const Float4& x) {
  *reinterpret_cast<float4*>(p) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
}
__device__ inline void Store(bf16* p, const Float4& x) {
  reinterpret_cast<__nv_bfloat162*>(p)[0] = __floats2bfloat162_rn(x.v[0], x.v[1]);
  reinterpret_cast<__nv_bfloat162*>(p)[1] = __floats2bfloat162_rn(x.v[2], x.v[3]);
}

__global__ void __launch_bounds__(kPieceThreads)
    AdamW(State s, const Piece* __restrict__ pieces, Rule rule, int64_t seat_stride) {
  if (!TakeSeat(s, rule, seat_stride)) return;
  const Corrections c = CorrectionsOf(rule);
  const Piece piece = pieces[blockIdx.x];
  const float clip = rule.clip[1], lr = rule.hyper[1 + rule.group];
  for (int i = threadIdx.x * 4; i < piece.count; i += kPieceThreads * 4) {
    const int64_t at = piece.begin + i;
    const Float4 g = Load(s.grad + at);
    Float4 p = Load(s.p + at), m = Load(s.m + at), v = Load(s.v + at);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Moments(rule, clip, g.v[j], &m.v[j], &v.v[j]);
      p.v[j] -= lr * (Direction(rule, c, m.v[j], v.v[j]) + rule.weight_decay * p.v[j]);
    }
    Store(s.m + at, m);
    Store(s.v + at, v);
    Store(s.p + at, p);
    Store(s.p16 + at, p);
  }
}

// First pass of AdamH: moments, and <p,u>, <u,u>, <p,p> of each piece. 24 bytes a parameter.
__global__ void __launch_bounds__(kPieceThreads)
    AdamHMoments(State s, const Piece* __restrict__ pieces, Rule rule, double* __restrict__ partial,
                 int64_t seat_stride) {
  __shared__ double shared[kPieceThreads / 32];
  if (!TakeSeat(s, rule, seat_stride)) return;
  partial = AtSeat(partial, seat_stride);
  const Corrections c = CorrectionsOf(rule);
  const Piece piece = pieces[blockIdx.x];
  const float clip = rule.clip[1];
  double pu = 0, uu = 0, pp = 0;
  for (int i = threadIdx.x * 4; i < piece.count; i += kPieceThreads * 4) {
    const int64_t at = piece.begin + i;
    const Float4 g = Load(s.grad + at), p = Load(s.p + at);
    Float4 m = Load(s.m + at), v = Load(s.v + at);
    float pu4 = 0, uu4 = 0, pp4 = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Moments(rule, clip, g.v[j], &m.v[j], &v.v[j]);
      const float u = Direction(rule, c, m.v[j], v.v[j]);
      pu4 += p.v[j] * u;
      uu4 += u * u;
      pp4 += p.v[j] * p.v[j];
    }
    Store(s.m + at, m);
    Store(s.v + at, v);
    pu += pu4;
    uu += uu4;
    pp += pp4;
  }
  pu = BlockSumDouble(pu, shared);
  uu = BlockSumDouble(uu, shared);
  pp = BlockSumDouble(pp, shared);
  if (threadIdx.x == 0) {
    partial[3 * blockIdx.x] = pu;
    partial[3 * blockIdx.x + 1] = uu;
    partial[3 * blockIdx.x + 2] = pp;
  }
}

// One block a view: the step length and the factor back onto the sphere. ||p - c u||^2 follows from
// the three sums.
__global__ void AdamHScales(const double* __restrict__ partial, const int* __restrict__ first,
                            Rule rule, float2* __restrict__ scales, int64_t seat_stride) {
  __shared__ double shared[32];
  partial = AtSeat(partial, seat_stride);
  scales = AtSeat(scales, seat_stride);
  rule.hyper = AtSeat(rule.hyper, seat_stride);
  double pu = 0, uu = 0, pp = 0;
  for (int i = first[blockIdx.x] + threadIdx.x; i < first[blockIdx.x + 1]; i += blockDim.x) {
    pu += partial[3 * i];
    uu += partial[3 * i + 1];
    pp += partial[3 * i + 2];
  }
  pu = BlockSumDouble(pu, shared);
  uu = BlockSumDouble(uu, shared);
  pp = BlockSumDouble(pp, shared);
  if (threadIdx.x != 0) return;
  const double radius = sqrt(pp);
  const double step = rule.hyper[1 + rule.group] * radius / fmax(sqrt(uu), 1e-10);
  const double qq = pp - 2 * step * pu + step * step * uu;
  scales[blockIdx.x] =
      make_float2(static_cast<float>(step), static_cast<float>(qq > 0 ? radius / sqrt(qq) : 1.0));
}

// Second pass: u again from the moments, then the weights and their bf16 copy. 18 bytes.
__global__ void __launch_bounds__(kPieceThreads)
    AdamHStep(State s, const Piece* __restrict__ pieces, Rule rule,
              const float2* __restrict__ scales, int64_t seat_stride) {
  if (!TakeSeat(s, rule, seat_stride)) return;
  scales = AtSeat(scales, seat_stride);
  const Corrections c = CorrectionsOf(rule);
  const Piece piece = pieces[blockIdx.x];
  const float2 scale = scales[piece.view];
  for (int i = threadIdx.x * 4; i < piece.count; i += kPieceThreads * 4) {
    const int64_t at = piece.begin + i;
    const Float4 m = Load(s.m + at), v = Load(s.v + at);
    Float4 p = Load(s.p + at);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      p.v[j] = (p.v[j] - scale.x * Direction(rule, c, m.v[j], v.v[j])) * scale.y;
    Store(s.p + at, p);
    Store(s.p16 + at, p);
  }
}

State StateOf(const CudaExec& exec) {
  return {exec.InF32(2), exec.OutMaster(0), exec.OutF32(1), exec.OutF32(2), exec.Out(0)};
}

Rule RuleOf(const CudaExec& exec, const AdamAttributes& a) {
  return {exec.InF32(0),
          exec.InF32(1),
          a.group,
          static_cast<float>(a.beta1),
          static_cast<float>(a.beta2),
          static_cast<float>(1 - a.beta1),
          static_cast<float>(1 - a.beta2),
          static_cast<float>(a.epsilon),
          static_cast<float>(a.weight_decay),
          std::log(a.beta1),
          std::log(a.beta2)};
}

// Pieces, then the index of each view's first piece, in one device table.
struct DevicePieces {
  const Piece* pieces;
  const int* first_of_view;
  int count;
};
DevicePieces Upload(const CudaExec& exec, const AdamAttributes& a) {
  const Pieces cut = CutPieces(a.views, [&](int b) { return exec.InF32(2 + b) - exec.InF32(2); });
  const size_t piece_bytes = cut.pieces.size() * sizeof(Piece);
  std::vector<std::byte> table(piece_bytes + cut.first_of_view.size() * sizeof(int32_t));
  std::memcpy(table.data(), cut.pieces.data(), piece_bytes);
  std::memcpy(table.data() + piece_bytes, cut.first_of_view.data(),
              cut.first_of_view.size() * sizeof(int32_t));
  const auto* device = static_cast<const std::byte*>(
      exec.Constant(table.data(), static_cast<int64_t>(table.size())));
  return {reinterpret_cast<const Piece*>(device),
          reinterpret_cast<const int*>(device + piece_bytes), static_cast<int>(cut.pieces.size())};
}

}  // namespace

void AdamWOp::RunCuda(const CudaExec& exec) const {
  const DevicePieces pieces = Upload(exec, a_);
  AdamW<<<exec.Grid(pieces.count), kPieceThreads, 0, exec.stream>>>(
      StateOf(exec), pieces.pieces, RuleOf(exec, a_), exec.seat_stride);
  CUDA_LAUNCHED("adamw");
}

void AdamHOp::RunCuda(const CudaExec& exec) const {
  const DevicePieces pieces = Upload(exec, a_);
  const int views = static_cast<int>(a_.views.size());
  auto* partial = exec.Scratch<double>(3 * pieces.count + views);
  auto* scales = reinterpret_cast<float2*>(partial + 3 * pieces.count);
  const State state = StateOf(exec);
  const Rule rule = RuleOf(exec, a_);
  AdamHMoments<<<exec.Grid(pieces.count), kPieceThreads, 0, exec.stream>>>(
      state, pieces.pieces, rule, partial, exec.seat_stride);
  CUDA_LAUNCHED("adamh_moments");
  AdamHScales<<<exec.Grid(views), 256, 0, exec.stream>>>(partial, pieces.first_of_view, rule,
                                                         scales, exec.seat_stride);
  CUDA_LAUNCHED("adamh_scales");
  AdamHStep<<<exec.Grid(pieces.count), kPieceThreads, 0, exec.stream>>>(state, pieces.pieces, rule,
                                                                        scales, exec.seat_stride);
  CUDA_LAUNCHED("adamh_step");
}

}  // namespace worker
