// Our attention beside cuDNN's (deterministic form) by shape: milliseconds and TFLOP/s (causal
// half; 2 products forward, 4 backward), their ratio, and both errors against f64 on the host of
// the last head of keys.
//   attention_bench [B,T,H,KV,D ...]
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "bench/device_bench.cuh"
#include "core/check.h"
#include "worker/ops/attention_cuda.h"
#include "worker/runtime/cuda/cudnn_attention.h"

namespace worker {
namespace {

struct Sums {
  double error = 0, size = 0;
  void Add(double got, double want) {
    error += (got - want) * (got - want);
    size += want * want;
  }
  double Relative() const { return std::sqrt(error / size); }
};

struct Tensors : AttentionSizes {
  bf16 *q, *k, *v, *o, *dout, *dq, *dk, *dv;
  float* lse;
};

struct Errors {
  double o = 0, dq = 0, dk = 0, dv = 0;
};

// Of the last sequence and its last head of keys.
Errors ErrorsOf(const Tensors& c) {
  const int64_t t = c.length, d = c.head_dim, readers = c.heads / c.kv_heads, n = c.batch * t,
                q0 = (c.batch - 1) * t;
  const auto q = DownloadBf16(c.q, n * c.heads * d), k = DownloadBf16(c.k, n * c.kv_heads * d),
             v = DownloadBf16(c.v, n * c.kv_heads * d), o = DownloadBf16(c.o, n * c.heads * d),
             dout = DownloadBf16(c.dout, n * c.heads * d), dq = DownloadBf16(c.dq, n * c.heads * d),
             dk = DownloadBf16(c.dk, n * c.kv_heads * d),
             dv = DownloadBf16(c.dv, n * c.kv_heads * d);
  const int64_t kv_head = c.kv_heads - 1;
  const auto at = [&](int64_t row, int64_t heads, int64_t head) {
    return ((q0 + row) * heads + head) * d;
  };
  const int threads = 16;
  std::vector<std::vector<double>> want_dk(threads, std::vector<double>(t * d)), want_dv = want_dk;
  std::vector<Sums> o_sums(threads), dq_sums(threads);
  std::vector<std::thread> pool;
  for (int me = 0; me < threads; ++me) {
    pool.emplace_back([&, me] {
      std::vector<double> p(t), row(d), grad(d);
      for (int64_t r = me; r < t * readers; r += threads) {
        const int64_t i = r % t, head = kv_head * readers + r / t;
        const float *qi = &q[at(i, c.heads, head)], *doi = &dout[at(i, c.heads, head)];
        double top = -INFINITY, sum = 0, delta = 0;
        for (int64_t j = 0; j <= i; ++j) {
          p[j] = 0;
          for (int64_t x = 0; x < d; ++x) p[j] += double{qi[x]} * k[at(j, c.kv_heads, kv_head) + x];
          p[j] /= std::sqrt(static_cast<double>(d));
          top = std::max(top, p[j]);
        }
        for (int64_t j = 0; j <= i; ++j) sum += p[j] = std::exp(p[j] - top);
        std::fill(row.begin(), row.end(), 0.0);
        std::fill(grad.begin(), grad.end(), 0.0);
        for (int64_t j = 0; j <= i; ++j) {
          p[j] /= sum;
          for (int64_t x = 0; x < d; ++x) row[x] += p[j] * v[at(j, c.kv_heads, kv_head) + x];
        }
        for (int64_t x = 0; x < d; ++x) {
          o_sums[me].Add(o[at(i, c.heads, head) + x], row[x]);
          delta += row[x] * doi[x];
        }
        for (int64_t j = 0; j <= i; ++j) {
          const float *kj = &k[at(j, c.kv_heads, kv_head)], *vj = &v[at(j, c.kv_heads, kv_head)];
          double dp = 0;
          for (int64_t x = 0; x < d; ++x) dp += double{doi[x]} * vj[x];
          const double ds = p[j] * (dp - delta) / std::sqrt(static_cast<double>(d));
          for (int64_t x = 0; x < d; ++x) {
            grad[x] += ds * kj[x];
            want_dk[me][j * d + x] += ds * qi[x];
            want_dv[me][j * d + x] += p[j] * doi[x];
          }
        }
        for (int64_t x = 0; x < d; ++x) dq_sums[me].Add(dq[at(i, c.heads, head) + x], grad[x]);
      }
    });
  }
  for (auto& thread : pool) thread.join();
  Sums sums[4];
  for (int me = 0; me < threads; ++me) {
    sums[0].error += o_sums[me].error, sums[0].size += o_sums[me].size;
    sums[1].error += dq_sums[me].error, sums[1].size += dq_sums[me].size;
  }
  for (int64_t i = 0; i < t * d; ++i) {
    double wk = 0, wv = 0;
    for (int me = 0; me < threads; ++me) wk += want_dk[me][i], wv += want_dv[me][i];
    sums[2].Add(dk[at(i / d, c.kv_heads, kv_head) + i % d], wk);
    sums[3].Add(dv[at(i / d, c.kv_heads, kv_head) + i % d], wv);
  }
  return {sums[0].Relative(), sums[1].Relative(), sums[2].Relative(), sums[3].Relative()};
}

void Measure(CudaContext& context, const AttentionSizes& shape) {
  Tensors c{shape};
  const int64_t queries = c.batch * c.length * c.heads * c.head_dim,
                keys = c.batch * c.length * c.kv_heads * c.head_dim;
  std::vector<DeviceBuffer> buffers;
  const auto make = [&](int64_t n) {
    buffers.emplace_back(n * 2);
    auto* p = reinterpret_cast<bf16*>(buffers.back().get());
    SWEEP_CHECK(p != nullptr);
    FillNormal<<<Blocks(n), 256>>>(p, n, 1, buffers.size());
    return p;
  };
  c.q = make(queries), c.k = make(keys), c.v = make(keys), c.o = make(queries);
  c.dout = make(queries), c.dq = make(queries), c.dk = make(keys), c.dv = make(keys);
  buffers.emplace_back(c.batch * c.heads * c.length * 4);
  c.lse = reinterpret_cast<float*>(buffers.back().get());
  CUDA_OK(cudaDeviceSynchronize());

  AttentionProblem problem;
  problem.batch = c.batch, problem.heads = c.heads, problem.kv_heads = c.kv_heads;
  problem.seq = c.length, problem.head_dim = c.head_dim;
  const auto strides = [&](int64_t heads) {
    return AttentionProblem::Strides{
        .batch = c.length * heads * c.head_dim, .head = c.head_dim, .row = heads * c.head_dim};
  };
  problem.q = problem.o = problem.dq = problem.dout = strides(c.heads);
  problem.k = problem.v = problem.dk = problem.dv = strides(c.kv_heads);
  auto* cudnn = static_cast<cudnnContext*>(context.Cudnn());
  std::string error;
  const auto plan = CudnnAttention::Create(cudnn, problem, true, &error);
  if (plan == nullptr) {
    std::printf("cuDNN: %s\n", error.c_str());
    return;
  }
  const DeviceBuffer workspace(static_cast<int64_t>(plan->workspace_bytes()));
  cudaStream_t stream = context.handles().stream;
  const int64_t v_row = c.kv_heads * c.head_dim;
  double ms[2][2];
  Errors errors[2];
  for (int ours = 0; ours < 2; ++ours) {
    ms[ours][0] = Milliseconds(stream, [&] {
      if (ours) {
        FusedAttention(context, {shape, c.q, c.k, c.v, v_row, c.o, c.lse});
      } else {
        plan->Forward(cudnn, stream, c.q, c.k, c.v, c.o, c.lse, workspace.get());
      }
    });
    ms[ours][1] = Milliseconds(stream, [&] {
      if (ours) {
        FusedAttentionBackward(
            context, {shape, c.q, c.k, c.v, v_row, c.o, c.lse, c.dout, c.dq, c.dk, c.dv, v_row});
      } else {
        plan->Backward(cudnn, stream, c.q, c.k, c.v, c.o, c.lse, c.dout, c.dq, c.dk, c.dv,
                       workspace.get());
      }
    });
    context.Synchronize();
    errors[ours] = ErrorsOf(c);
  }
  const double product =
      static_cast<double>(c.batch) * c.heads * c.length * c.length * c.head_dim * 1e-9;
  std::printf("%4ld %5ld %3ld/%-3ld %4ld |", c.batch, c.length, c.heads, c.kv_heads, c.head_dim);
  for (int backward = 0; backward < 2; ++backward) {
    const double products = product * (backward ? 4 : 2);
    std::printf(" %8.4f %5.0f  %8.4f %5.0f  %5.2f |", ms[1][backward], products / ms[1][backward],
                ms[0][backward], products / ms[0][backward], ms[0][backward] / ms[1][backward]);
  }
  for (const Errors& e : {errors[1], errors[0]})
    std::printf(" %.1e %.1e %.1e %.1e |", e.o, e.dq, e.dk, e.dv);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace worker

int main(int argc, char** argv) {
  using namespace worker;
  std::string error;
  const auto context = CudaContext::Create(0, &error);
  if (context == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }
  std::vector<std::string> shapes(argv + 1, argv + argc);
  if (shapes.empty()) {
    shapes = {"128,1024,1,1,128", "64,1024,2,2,128", "32,2048,4,4,128", "16,2048,8,8,128",
              "8,2048,16,16,128", "8,1024,1,1,128",  "8,1024,2,2,128",  "16,1024,4,4,64",
              "8,1024,5,5,32",    "4,4096,8,2,128",  "3,1000,4,2,64"};
  }
  std::printf(
      "   B     T   H/KV   D | forward ms, TFLOP/s: ours, cuDNN, ratio | backward the same | "
      "errors "
      "of o, dq, dk, dv: ours | cuDNN\n");
  for (const std::string& shape : shapes) {
    AttentionSizes c;
    if (std::sscanf(shape.c_str(), "%ld,%ld,%ld,%ld,%ld", &c.batch, &c.length, &c.heads,
                    &c.kv_heads, &c.head_dim) != 5) {
      std::fprintf(stderr, "%s: give B,T,H,KV,D\n", shape.c_str());
      return 2;
    }
    Measure(*context, c);
  }
  return 0;
}
