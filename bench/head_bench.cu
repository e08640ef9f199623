// The two CUDA strategies of the head by shape: milliseconds of training and of scoring, their
// ratio, and the error of sampled rows of dx and dW against f64 on the host.
//   head_bench [R,C,V ...]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "bench/device_bench.cuh"
#include "worker/ops/cuda_math.cuh"
#include "worker/ops/head_loss_cuda.h"

namespace worker {
namespace {

__global__ void FillTargets(int32_t* p, int64_t n, uint32_t vocab) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i < n) p[i] = Bits(i, 3) % 20 == 0 ? -1 : static_cast<int32_t>(Bits(i, 4) % vocab);
}
double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Relative error of 16 rows of dx, and of dW where few rows are scored: the first 16.
struct Errors {
  double dx, dweight;
};
Errors ErrorsOf(CudaContext& context, HeadCall call, int64_t rows, int64_t c) {
  const int64_t scored = 16;
  const auto x = DownloadBf16(call.x, rows * c), w = DownloadBf16(call.weight, call.vocab * c);
  std::vector<int32_t> targets = Download(call.targets, rows), few(rows, -1);
  for (int64_t r = 0; r < scored; ++r) few[r] = targets[r] = std::abs(targets[r]);
  auto* on_device = const_cast<int32_t*>(call.targets);
  CUDA_OK(cudaMemcpy(on_device, few.data(), rows * 4, cudaMemcpyHostToDevice));
  FusedHead(context, call);
  context.Synchronize();
  const auto dx = DownloadBf16(call.dx, rows * c);
  const auto dweight = Download(call.dweight, call.vocab * c);
  std::vector<double> p(scored * call.vocab);
  std::vector<double> want_dx(scored * c, 0.0);
  std::vector<std::thread> threads;
  for (int64_t r = 0; r < scored; ++r) {
    threads.emplace_back([&, r] {
      double* mine = &p[r * call.vocab];
      double sum = 0;
      for (int64_t v = 0; v < call.vocab; ++v)
        sum += mine[v] = std::exp(Dot(&x[r * c], &w[v * c], c));
      const double slope = 1 + 2 * call.z_weight * std::log(sum);
      for (int64_t v = 0; v < call.vocab; ++v) {
        mine[v] = call.scale * (mine[v] / sum * slope - (v == few[r]));
        for (int64_t i = 0; i < c; ++i) want_dx[r * c + i] += mine[v] * w[v * c + i];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  double dd[2] = {0, 0}, ww[2] = {0, 0};
  for (int64_t i = 0; i < rows * c; ++i) {
    const double want = i < scored * c ? want_dx[i] : 0;
    dd[0] += (dx[i] - want) * (dx[i] - want);
    ww[0] += want * want;
  }
  for (int64_t v = 0; v < call.vocab; ++v) {
    for (int64_t i = 0; i < c; ++i) {
      double want = 0;
      for (int64_t r = 0; r < scored; ++r) want += p[r * call.vocab + v] * x[r * c + i];
      dd[1] += (dweight[v * c + i] - want) * (dweight[v * c + i] - want);
      ww[1] += want * want;
    }
  }
  return {std::sqrt(dd[0] / ww[0]), std::sqrt(dd[1] / ww[1])};
}

void Measure(CudaContext& context, int64_t rows, int64_t c, int64_t vocab) {
  const DeviceBuffer x(rows * c * 2), w(vocab * c * 2), targets(rows * 4), dx(rows * c * 2),
      dweight(vocab * c * 4), loss(16);
  FillNormal<<<Blocks(rows * c), 256>>>(reinterpret_cast<bf16*>(x.get()), rows * c, 1, 1);
  FillNormal<<<Blocks(vocab * c), 256>>>(reinterpret_cast<bf16*>(w.get()), vocab * c,
                                         1.5f / std::sqrt(static_cast<float>(c)), 2);
  FillTargets<<<Blocks(rows), 256>>>(reinterpret_cast<int32_t*>(targets.get()), rows,
                                     static_cast<uint32_t>(vocab));
  CUDA_OK(cudaDeviceSynchronize());
  HeadCall call{.x = reinterpret_cast<const bf16*>(x.get()),
                .weight = reinterpret_cast<const bf16*>(w.get()),
                .targets = reinterpret_cast<const int32_t*>(targets.get()),
                .rows = rows,
                .channels = c,
                .vocab = vocab,
                .training = true,
                .scale = 1.0f / static_cast<float>(rows),
                .z_weight = 1e-4f,
                .loss = reinterpret_cast<float*>(loss.get()),
                .dx = reinterpret_cast<bf16*>(dx.get()),
                .dweight = reinterpret_cast<float*>(dweight.get())};
  double ms[2][2], nats[2][2];
  for (int scoring = 0; scoring < 2; ++scoring) {
    call.training = scoring == 0;
    for (int chunked = 0; chunked < 2; ++chunked) {
      ms[scoring][chunked] = Milliseconds(context.handles().stream, [&] {
        if (chunked) {
          ChunkedHead(context, call);
        } else {
          FusedHead(context, call);
        }
      });
      nats[scoring][chunked] = Download(call.loss, 3)[0];
    }
  }
  const bool takes = FusedHeadTakes(call);
  call.training = true;
  const Errors errors = ErrorsOf(context, call, rows, c);
  std::printf("%7lld %4lld %7lld  %8.4f %8.4f %5.2f  %8.4f %8.4f %5.2f  %-7s  %.1e %.1e  %.1e\n",
              static_cast<long long>(rows), static_cast<long long>(c),
              static_cast<long long>(vocab), ms[0][0], ms[0][1], ms[0][1] / ms[0][0], ms[1][0],
              ms[1][1], ms[1][1] / ms[1][0], takes ? "fused" : "chunked", errors.dx, errors.dweight,
              std::abs(nats[0][0] / nats[1][1] - 1));
  std::fflush(stdout);
}

}  // namespace
}  // namespace worker

int main(int argc, char** argv) {
  std::vector<std::string> shapes(argv + 1, argv + argc);
  if (shapes.empty()) {
    for (const char* c : {"128", "256"}) {
      for (const char* vocab : {"4096", "128256"}) {
        for (const char* rows : {"2048", "8192", "16384", "18432", "32768", "131072"})
          shapes.push_back(std::string(rows) + "," + c + "," + vocab);
      }
    }
  }
  std::string error;
  const auto context = worker::CudaContext::Create(0, &error);
  if (context == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }
  std::printf(
      "   rows    C       V  training ms: fused, chunked, ratio; scoring ms; chosen; relative error"
      " of dx, dW; loss against chunked scoring in f32\n");
  for (const std::string& shape : shapes) {
    long long rows = 0, channels = 0, vocab = 0;
    if (std::sscanf(shape.c_str(), "%lld,%lld,%lld", &rows, &channels, &vocab) != 3) return 2;
    worker::Measure(*context, rows, channels, vocab);
  }
  return 0;
}
