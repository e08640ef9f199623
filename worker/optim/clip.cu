#include "worker/optim/clip.h"
#include "worker/optim/pieces.cuh"

namespace worker {
namespace {

__global__ void __launch_bounds__(kPieceThreads)
    SquaresOfPieces(const float* __restrict__ grad, const Piece* __restrict__ pieces,
                    double* __restrict__ partial, int64_t seat_stride) {
  __shared__ double shared[kPieceThreads / 32];
  const Piece piece = pieces[blockIdx.x];
  grad = AtSeat(grad, seat_stride);
  partial = AtSeat(partial, seat_stride);
  const float4* g = reinterpret_cast<const float4*>(grad + piece.begin);
  double sum = 0;
  for (int i = threadIdx.x; i < piece.count / 4; i += kPieceThreads) {
    const float4 x = g[i];
    sum += static_cast<double>(x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w);
  }
  sum = BlockSumDouble(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void Factor(const double* __restrict__ partial, int parts, double limit,
                       float* __restrict__ clip, int64_t seat_stride) {
  __shared__ double shared[32];
  partial = AtSeat(partial, seat_stride);
  clip = AtSeat(clip, seat_stride);
  double sum = 0;
  for (int i = threadIdx.x; i < parts; i += 1024) sum += partial[i];
  sum = BlockSumDouble(sum, shared);
  if (threadIdx.x != 0) return;
  const double norm = sqrt(sum);
  clip[0] = static_cast<float>(norm);
  clip[1] = static_cast<float>(limit > 0 && norm > limit ? limit / norm : 1.0);
}

}  // namespace

void ClipOp::RunCuda(const CudaExec& exec) const {
  const Pieces cut = CutPieces(ranges_, [&](int b) { return exec.InF32(b) - exec.InF32(0); });
  const int parts = static_cast<int>(cut.pieces.size());
  const auto* pieces = static_cast<const Piece*>(
      exec.Constant(cut.pieces.data(), parts * static_cast<int64_t>(sizeof(Piece))));
  auto* partial = exec.Scratch<double>(parts);
  SquaresOfPieces<<<exec.Grid(parts), kPieceThreads, 0, exec.stream>>>(exec.InF32(0), pieces,
                                                                       partial, exec.seat_stride);
  CUDA_LAUNCHED("clip_squares");
  Factor<<<exec.Grid(1), 1024, 0, exec.stream>>>(partial, parts, limit_, exec.OutF32(0),
                                                 exec.seat_stride);
  CUDA_LAUNCHED("clip_factor");
}

}  // namespace worker
