// Checks and times worker/runtime/cuda/cudnn_attention.h on the GPU that is there. Not a unit test:
// it needs a device.
//   cudnn_attention_device_check check            errors against a double reference, repetition
//   cudnn_attention_device_check bench [seconds]  times of the shapes that trials use
// Exit status 0 when everything that ran was right.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "worker/runtime/cuda/cudnn_attention.h"

namespace {

using worker::AttentionProblem;
using worker::AttentionTuning;
using worker::CudnnAttention;

#define CUDA_OK(call)                                                                        \
  do {                                                                                       \
    const cudaError_t status = (call);                                                       \
    if (status != cudaSuccess) {                                                             \
      std::printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status)); \
      std::exit(2);                                                                          \
    }                                                                                        \
  } while (0)

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes) : bytes_(bytes) {
    CUDA_OK(cudaMalloc(&data_, std::max<size_t>(bytes, 256)));
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  void Poison() { CUDA_OK(cudaMemset(data_, 0xff, bytes_)); }  // NaN as bf16 and as float
  std::vector<char> Read() const {
    std::vector<char> host(bytes_);
    CUDA_OK(cudaMemcpy(host.data(), data_, bytes_, cudaMemcpyDeviceToHost));
    return host;
  }
  template <typename T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

__host__ __device__ uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Roughly normal, unit variance: the sum of 12 uniforms of 16 bits, less their mean.
__host__ __device__ float Normal(uint64_t seed, uint64_t i) {
  float sum = 0;
  for (uint64_t word = 0; word < 3; ++word) {
    const uint64_t bits = Mix(Mix(seed + word) ^ i);
    for (int part = 0; part < 4; ++part) sum += ((bits >> (16 * part)) & 0xffff) / 65536.0f;
  }
  return sum - 6;
}

__global__ void FillNormal(__nv_bfloat16* out, size_t n, uint64_t seed) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n;
       i += size_t{gridDim.x} * blockDim.x) {
    out[i] = __float2bfloat16(Normal(seed, i));
  }
}

void Fill(DeviceBuffer& buffer, uint64_t seed) {
  FillNormal<<<1024, 256>>>(buffer.as<__nv_bfloat16>(), buffer.bytes() / 2, seed);
  CUDA_OK(cudaGetLastError());
}

// The tensors of one problem: q, k, v apart, each (B, S, H, D), or slices of one (B, S, H + 2 KV,
// D).
struct Tensors {
  Tensors(int64_t b, int64_t h, int64_t kv, int64_t s, int64_t d, bool fused)
      : qkv(2 * b * s * (h + 2 * kv) * d),
        o(2 * b * s * h * d),
        dout(2 * b * s * h * d),
        dqkv(2 * b * s * (h + 2 * kv) * d),
        lse(4 * b * h * s) {
    problem.batch = b;
    problem.heads = h;
    problem.kv_heads = kv;
    problem.seq = s;
    problem.head_dim = d;
    const int64_t row = (h + 2 * kv) * d;
    if (fused) {
      problem.q = problem.k = problem.v = {s * row, d, row};
      k_at = h * d;
      v_at = (h + kv) * d;
    } else {
      problem.q = {s * h * d, d, h * d};
      problem.k = problem.v = {s * kv * d, d, kv * d};
      k_at = b * s * h * d;
      v_at = b * s * (h + kv) * d;
    }
    problem.dq = problem.q;
    problem.dk = problem.dv = problem.k;
    problem.o = problem.dout = {s * h * d, d, h * d};
  }
  void FillInputs(uint64_t seed) {
    Fill(qkv, seed);
    Fill(dout, seed + 77);
  }
  void PoisonOutputs() {
    o.Poison();
    lse.Poison();
    dqkv.Poison();
  }
  bool Forward(const CudnnAttention& op, cudnnHandle_t handle, cudaStream_t stream, void* ws) {
    auto* base = qkv.as<__nv_bfloat16>();
    return op.Forward(handle, stream, base, base + k_at, base + v_at, o.as(), lse.as<float>(), ws);
  }
  bool Backward(const CudnnAttention& op, cudnnHandle_t handle, cudaStream_t stream, void* ws) {
    auto* base = qkv.as<__nv_bfloat16>();
    auto* grad = dqkv.as<__nv_bfloat16>();
    return op.Backward(handle, stream, base, base + k_at, base + v_at, o.as(), lse.as<float>(),
                       dout.as(), grad, grad + k_at, grad + v_at, ws);
  }

  AttentionProblem problem;
  int64_t k_at = 0, v_at = 0;  // elements from q
  DeviceBuffer qkv, o, dout, dqkv, lse;
};

struct Outputs {
  std::vector<char> o, lse, dqkv;
  bool operator==(const Outputs& other) const {
    return o == other.o && lse == other.lse && dqkv == other.dqkv;
  }
};

Outputs ReadOutputs(const Tensors& t) { return {t.o.Read(), t.lse.Read(), t.dqkv.Read()}; }

// The (B, H, S, D) view of a tensor in doubles, contiguous.
std::vector<double> View(const std::vector<char>& bytes, int64_t at,
                         const AttentionProblem::Strides& strides, int64_t b, int64_t h, int64_t s,
                         int64_t d) {
  const auto* data = reinterpret_cast<const __nv_bfloat16*>(bytes.data()) + at;
  std::vector<double> out;
  out.reserve(b * h * s * d);
  for (int64_t ib = 0; ib < b; ++ib)
    for (int64_t ih = 0; ih < h; ++ih)
      for (int64_t is = 0; is < s; ++is)
        for (int64_t id = 0; id < d; ++id)
          out.push_back(__bfloat162float(
              data[ib * strides.batch + ih * strides.head + is * strides.row + id]));
  return out;
}

struct Reference {
  std::vector<double> o, lse, dq, dk, dv;
};

Reference Compute(const AttentionProblem& p, const std::vector<double>& q,
                  const std::vector<double>& k, const std::vector<double>& v,
                  const std::vector<double>& dout) {
  const int64_t s = p.seq, d = p.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  Reference r;
  r.o.assign(q.size(), 0);
  r.dq.assign(q.size(), 0);
  r.dk.assign(k.size(), 0);
  r.dv.assign(k.size(), 0);
  r.lse.assign(p.batch * p.heads * s, 0);
  std::vector<double> prob(s), dprob(s);
  for (int64_t bh = 0; bh < p.batch * p.heads; ++bh) {
    const int64_t kv = bh / p.heads * p.kv_heads + bh % p.heads / (p.heads / p.kv_heads);
    const double *kh = &k[kv * s * d], *vh = &v[kv * s * d];
    double *dkh = &r.dk[kv * s * d], *dvh = &r.dv[kv * s * d];
    for (int64_t i = 0; i < s; ++i) {
      const int64_t at = (bh * s + i) * d;
      double top = -INFINITY, sum = 0, dot = 0;
      for (int64_t j = 0; j <= i; ++j) {
        prob[j] = dprob[j] = 0;
        for (int64_t c = 0; c < d; ++c) {
          prob[j] += scale * q[at + c] * kh[j * d + c];
          dprob[j] += dout[at + c] * vh[j * d + c];
        }
        top = std::max(top, prob[j]);
      }
      for (int64_t j = 0; j <= i; ++j) sum += prob[j] = std::exp(prob[j] - top);
      r.lse[bh * s + i] = top + std::log(sum);
      for (int64_t j = 0; j <= i; ++j) {
        prob[j] /= sum;
        dot += prob[j] * dprob[j];
        for (int64_t c = 0; c < d; ++c) r.o[at + c] += prob[j] * vh[j * d + c];
      }
      for (int64_t j = 0; j <= i; ++j) {
        const double ds = prob[j] * (dprob[j] - dot) * scale;
        for (int64_t c = 0; c < d; ++c) {
          dvh[j * d + c] += prob[j] * dout[at + c];
          dkh[j * d + c] += ds * q[at + c];
          r.dq[at + c] += ds * kh[j * d + c];
        }
      }
    }
  }
  return r;
}

struct Difference {
  double relative, cosine;
  bool ok() const { return relative < 1e-2 && cosine > 0.999; }  // false for NaN
};

Difference Compare(const std::vector<double>& a, const std::vector<double>& ref) {
  double diff = 0, aa = 0, rr = 0, ar = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    diff += (a[i] - ref[i]) * (a[i] - ref[i]);
    aa += a[i] * a[i];
    rr += ref[i] * ref[i];
    ar += a[i] * ref[i];
  }
  return {std::sqrt(diff / rr), ar / std::sqrt(aa * rr)};
}

cudaGraphExec_t Capture(cudaStream_t stream, const std::function<bool()>& enqueue) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const bool ok = enqueue();
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  if (!ok) {
    std::printf("capture: %s\n", CudnnAttention::LastError().c_str());
    std::exit(2);
  }
  CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  CUDA_OK(cudaGraphDestroy(graph));
  return exec;
}

// Built on a thread and a handle of its own, which a caller need not know: plans outlive it.
struct Made {
  std::unique_ptr<CudnnAttention> op;
  std::string error;
};

std::future<Made> MakeBeside(const AttentionProblem& problem, const AttentionTuning& tuning) {
  return std::async(std::launch::async, [problem, tuning] {
    Made made;
    cudnnHandle_t handle;
    if (cudnnCreate(&handle) != CUDNN_STATUS_SUCCESS) {
      made.error = "cudnnCreate: " + CudnnAttention::LastError();
      return made;
    }
    made.op = CudnnAttention::Create(handle, problem, true, &made.error, tuning);
    cudnnDestroy(handle);
    return made;
  });
}

struct Shape {
  int64_t b, h, kv, s, d;
  bool fused;
};

// One problem against the reference; then again, in a graph, on two streams at once and one
// sequence at a time, each to the bit.
bool CheckOne(cudnnHandle_t handle, const Shape& shape, bool deterministic) {
  Tensors t(shape.b, shape.h, shape.kv, shape.s, shape.d, shape.fused);
  const AttentionProblem& p = t.problem;
  std::printf("%2ld %2ld/%-2ld %4ld %3ld %s %s ", p.batch, p.heads, p.kv_heads, p.seq, p.head_dim,
              shape.fused ? "fused" : "apart", deterministic ? "det   " : "atomic");
  std::string error;
  AttentionTuning tuning;
  tuning.deterministic = deterministic;
  AttentionTuning split = tuning;
  split.backward_workspace_limit = 1;  // one sequence a launch
  auto chunked_future = MakeBeside(p, split);
  const double start = Seconds();
  const auto op = CudnnAttention::Create(handle, p, true, &error, tuning);
  const double build = Seconds() - start;
  const Made chunked = chunked_future.get();
  if (op == nullptr || chunked.op == nullptr) {
    std::printf("FAILED %s %s\n", error.c_str(), chunked.error.c_str());
    return false;
  }
  cudaStream_t stream, other;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CUDA_OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  DeviceBuffer ws(op->workspace_bytes()), ws2(op->workspace_bytes());
  t.FillInputs(1000 * p.seq + p.head_dim);
  auto run = [&](const std::function<void()>& body) {
    t.PoisonOutputs();
    ws.Poison();
    CUDA_OK(cudaDeviceSynchronize());
    body();
    CUDA_OK(cudaDeviceSynchronize());
    return ReadOutputs(t);
  };
  auto both = [&](Tensors& on, const CudnnAttention& with, cudaStream_t s, void* w) {
    const bool ok = on.Forward(with, handle, s, w) && on.Backward(with, handle, s, w);
    if (!ok) std::printf("run: %s\n", CudnnAttention::LastError().c_str());
    return ok;
  };
  bool ran = true;
  const Outputs first = run([&] { ran = ran && both(t, *op, stream, ws.as()); });
  const Outputs again = run([&] { ran = ran && both(t, *op, stream, ws.as()); });
  if (!ran) return false;

  const auto in = t.qkv.Read();
  const auto q = View(in, 0, p.q, p.batch, p.heads, p.seq, p.head_dim);
  const auto k = View(in, t.k_at, p.k, p.batch, p.kv_heads, p.seq, p.head_dim);
  const auto v = View(in, t.v_at, p.v, p.batch, p.kv_heads, p.seq, p.head_dim);
  const auto dout = View(t.dout.Read(), 0, p.dout, p.batch, p.heads, p.seq, p.head_dim);
  const Reference ref = Compute(p, q, k, v, dout);
  const Difference o = Compare(View(first.o, 0, p.o, p.batch, p.heads, p.seq, p.head_dim), ref.o);
  const Difference dq =
      Compare(View(first.dqkv, 0, p.dq, p.batch, p.heads, p.seq, p.head_dim), ref.dq);
  const Difference dk =
      Compare(View(first.dqkv, t.k_at, p.dk, p.batch, p.kv_heads, p.seq, p.head_dim), ref.dk);
  const Difference dv =
      Compare(View(first.dqkv, t.v_at, p.dv, p.batch, p.kv_heads, p.seq, p.head_dim), ref.dv);
  double lse_error = 0;
  const auto* lse = reinterpret_cast<const float*>(first.lse.data());
  for (size_t i = 0; i < ref.lse.size(); ++i) {
    const double e = std::abs(lse[i] - ref.lse[i]);
    if (!(e <= lse_error)) lse_error = e;  // keeps NaN
  }

  cudaGraphExec_t exec = Capture(stream, [&] { return both(t, *op, stream, ws.as()); });
  const Outputs replayed = run([&] { CUDA_OK(cudaGraphLaunch(exec, stream)); });
  CUDA_OK(cudaGraphExecDestroy(exec));

  Tensors twin(shape.b, shape.h, shape.kv, shape.s, shape.d, shape.fused);
  CUDA_OK(cudaMemcpy(twin.qkv.as(), t.qkv.as(), t.qkv.bytes(), cudaMemcpyDeviceToDevice));
  CUDA_OK(cudaMemcpy(twin.dout.as(), t.dout.as(), t.dout.bytes(), cudaMemcpyDeviceToDevice));
  twin.PoisonOutputs();
  const Outputs beside = run([&] {
    for (int i = 0; i < 3; ++i) {
      ran = ran && both(t, *op, stream, ws.as()) && both(twin, *op, other, ws2.as());
    }
  });
  const bool streams_same = ran && beside == first && ReadOutputs(twin) == first;

  const auto inference = CudnnAttention::Create(handle, p, false, &error);
  bool inference_same = inference != nullptr && inference->workspace_bytes() <= ws.bytes();
  if (inference_same) {
    const Outputs alone = run([&] {
      ran =
          ran && inference->Forward(handle, stream, t.qkv.as(), t.qkv.as<__nv_bfloat16>() + t.k_at,
                                    t.qkv.as<__nv_bfloat16>() + t.v_at, t.o.as(), nullptr, ws.as());
    });
    inference_same = ran && alone.o == first.o;
  }

  bool chunk_same = false;
  if (chunked.op->workspace_bytes() <= ws.bytes()) {
    chunk_same = run([&] { ran = ran && both(t, *chunked.op, stream, ws.as()); }) == first && ran;
  }
  CUDA_OK(cudaStreamDestroy(stream));
  CUDA_OK(cudaStreamDestroy(other));
  const bool right = o.ok() && dq.ok() && dk.ok() && dv.ok() && lse_error < 1e-2;
  const bool same =
      again == first && replayed == first && streams_same && chunk_same && inference_same;
  const bool pass = ran && right && (same || !deterministic);
  std::printf("%.1e %.1e %.1e %.1e %.1e  %.6f %.6f %.6f %.6f  %d%d%d%d%d %4.0f ms %s %s\n",
              o.relative, dq.relative, dk.relative, dv.relative, lse_error, o.cosine, dq.cosine,
              dk.cosine, dv.cosine, again == first, replayed == first, streams_same, chunk_same,
              inference_same, 1e3 * build, pass ? "ok" : "FAILED", op->engine().c_str());
  return pass;
}

bool CheckAll(cudnnHandle_t handle) {
  std::printf(
      " B  H/KV   S   D layout dq     | relative error o, dq, dk, dv; lse absolute | cosines | "
      "same "
      "bits: again, graph, two streams, one sequence a launch, o without training | build\n");
  const Shape shapes[] = {
      {2, 4, 4, 128, 128, false}, {2, 4, 4, 257, 128, true}, {2, 4, 2, 200, 128, true},
      {3, 4, 2, 96, 64, true},    {2, 4, 4, 257, 64, false}, {2, 4, 2, 257, 32, true},
      {2, 4, 4, 200, 32, false},  {2, 6, 1, 256, 64, true},  {1, 1, 1, 384, 128, false},
      {2, 2, 2, 200, 96, true},   {2, 4, 2, 64, 16, true},   {4, 2, 2, 33, 128, true},
      {1, 2, 1, 1024, 128, true}, {1, 2, 2, 1000, 64, true},
  };
  bool ok = true;
  for (const Shape& shape : shapes) {
    ok = CheckOne(handle, shape, true) && ok;
    std::fflush(stdout);
  }
  for (const Shape& shape : {shapes[1], shapes[12], shapes[13]})
    ok = CheckOne(handle, shape, false) && ok;
  return ok;
}

// Median milliseconds of one call, from replays of a graph that walks over `sets` sets of tensors,
// together larger than the L2 cache.
double Time(cudaStream_t stream, size_t sets, const std::function<bool(size_t)>& call) {
  for (size_t i = 0; i < sets; ++i) {
    if (!call(i)) {
      std::printf("run: %s\n", CudnnAttention::LastError().c_str());
      return NAN;
    }
  }
  CUDA_OK(cudaStreamSynchronize(stream));
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  cudaGraphExec_t exec = Capture(stream, [&] {
    bool ok = true;
    for (size_t i = 0; i < sets; ++i) ok = ok && call(i);
    return ok;
  });
  std::vector<float> times;
  for (int i = 0; i < 14; ++i) {
    CUDA_OK(cudaEventRecord(begin, stream));
    CUDA_OK(cudaGraphLaunch(exec, stream));
    CUDA_OK(cudaEventRecord(end, stream));
    CUDA_OK(cudaEventSynchronize(end));
    float ms = 0;
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 3) times.push_back(ms / sets);
  }
  CUDA_OK(cudaGraphExecDestroy(exec));
  CUDA_OK(cudaEventDestroy(begin));
  CUDA_OK(cudaEventDestroy(end));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// As the repository counts (worker/ops/attention.h): causal half, 2 products forward, 4 backward.
double Tflops(const Shape& x, double ms, int products) {
  return products * double(x.b) * x.h * x.s * x.s * x.d / ms * 1e-9;
}

struct BenchSets {
  explicit BenchSets(const Shape& x) {
    do {
      sets.push_back(std::make_unique<Tensors>(x.b, x.h, x.kv, x.s, x.d, x.fused));
      sets.back()->FillInputs(sets.size());
    } while (sets.size() < 16 && sets.size() * sets[0]->qkv.bytes() < (size_t{96} << 20));
    CUDA_OK(cudaDeviceSynchronize());
  }
  std::vector<std::unique_ptr<Tensors>> sets;
};

bool Bench(cudnnHandle_t handle, double seconds) {
  const double deadline = Seconds() + seconds;
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const Shape shapes[] = {
      {128, 1, 1, 1024, 128, true}, {8, 1, 1, 1024, 128, true},   {64, 2, 2, 1024, 128, true},
      {32, 4, 4, 2048, 128, true},  {16, 8, 8, 2048, 128, true},  {8, 16, 16, 2048, 128, true},
      {32, 8, 4, 1024, 64, true},   {16, 16, 16, 2048, 64, true}, {64, 4, 2, 1024, 32, true},
      {8, 16, 4, 2048, 128, true},  {128, 1, 1, 256, 64, true},
  };
  std::printf(
      "  B  H/KV    S   D | forward ms TFLOP/s | backward ms TFLOP/s, workspace MB | with atomic "
      "dq "
      "ms TFLOP/s, ratio | chunk, workspace MB: ms | repeats | engines\n");
  bool ok = true;
  for (const Shape& x : shapes) {
    if (Seconds() > deadline) {
      std::printf("out of time\n");
      break;
    }
    BenchSets data(x);
    std::vector<std::unique_ptr<Tensors>>& sets = data.sets;
    // Deterministic, atomic, then deterministic below 512, 256 and 64 MB where that splits the
    // batch.
    std::vector<std::future<Made>> futures;
    for (const int64_t megabytes : {1 << 20, -1, 560, 280, 70}) {
      if (megabytes > 0 && megabytes < 1000 && x.b * x.h * x.s * x.s * 2 < megabytes * 1000000) {
        continue;
      }
      AttentionTuning tuning;
      tuning.deterministic = megabytes > 0;
      tuning.backward_workspace_limit = std::abs(megabytes) * 1000000;
      if (megabytes < 0) tuning.backward_workspace_limit = int64_t{1} << 40;
      futures.push_back(MakeBeside(sets[0]->problem, tuning));
    }
    std::vector<Made> made;
    for (auto& future : futures) made.push_back(future.get());
    std::vector<double> times;
    std::string repeats;  // of each op: = where the gradients came out the same to the bit
    double forward = 0;
    for (Made& m : made) {
      if (m.op == nullptr) {
        std::printf("FAILED %s\n", m.error.c_str());
        ok = false;
        times.push_back(NAN);
        continue;
      }
      DeviceBuffer ws(m.op->workspace_bytes());
      if (times.empty()) {
        forward = Time(stream, sets.size(),
                       [&](size_t i) { return sets[i]->Forward(*m.op, handle, stream, ws.as()); });
      }
      times.push_back(Time(stream, sets.size(), [&](size_t i) {
        return sets[i]->Backward(*m.op, handle, stream, ws.as());
      }));
      const auto before = sets[0]->dqkv.Read();
      sets[0]->dqkv.Poison();
      ws.Poison();
      CUDA_OK(cudaDeviceSynchronize());
      ok = sets[0]->Backward(*m.op, handle, stream, ws.as()) && ok;
      CUDA_OK(cudaStreamSynchronize(stream));
      repeats += sets[0]->dqkv.Read() == before ? '=' : '!';
    }
    auto workspace = [&](size_t i) {
      return made[i].op == nullptr ? 0 : made[i].op->workspace_bytes() / 1e6;
    };
    std::printf("%3ld %2ld/%-2ld %4ld %3ld | %.4f %5.1f | %.4f %5.1f %6.1f | %.4f %5.1f %.3f |",
                x.b, x.h, x.kv, x.s, x.d, forward, Tflops(x, forward, 2), times[0],
                Tflops(x, times[0], 4), workspace(0), times[1], Tflops(x, times[1], 4),
                times[0] / times[1]);
    for (size_t i = 2; i < made.size(); ++i) {
      if (made[i].op == nullptr) continue;
      std::printf(" %ld, %.0f: %.4f", made[i].op->backward_chunk(), workspace(i), times[i]);
    }
    std::printf(" | %s %s\n", repeats.c_str(),
                made[0].op == nullptr ? "" : made[0].op->engine().c_str());
    std::fflush(stdout);
  }
  CUDA_OK(cudaStreamDestroy(stream));
  return ok;
}

void PrintVersions() {
  cudaDeviceProp prop;
  CUDA_OK(cudaGetDeviceProperties(&prop, 0));
  int driver = 0, runtime = 0;
  CUDA_OK(cudaDriverGetVersion(&driver));
  CUDA_OK(cudaRuntimeGetVersion(&runtime));
  std::printf("%s, %d multiprocessors, driver %d, runtime %d, cudnn %zu\n", prop.name,
              prop.multiProcessorCount, driver, runtime, cudnnGetVersion());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "check";
  PrintVersions();
  cudnnHandle_t handle;
  const double start = Seconds();
  if (cudnnCreate(&handle) != CUDNN_STATUS_SUCCESS) {
    std::printf("cudnnCreate: %s\n", CudnnAttention::LastError().c_str());
    return 2;
  }
  std::printf("cudnnCreate %.0f ms\n", 1e3 * (Seconds() - start));
  bool ok = false;
  if (mode == "check") {
    ok = CheckAll(handle);
  } else if (mode == "bench") {
    ok = Bench(handle, argc > 2 ? std::atof(argv[2]) : 1e9);
  }
  cudnnDestroy(handle);
  std::printf("%s\n", ok ? "ok" : "FAILED");
  return ok ? 0 : 1;
}
