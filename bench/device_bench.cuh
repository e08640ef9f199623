// Random inputs, downloads and times for benchmarks of single kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

__device__ inline uint32_t Bits(int64_t i, uint64_t stream) {
  uint64_t z = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15ull + stream * 0xd1b54a32d192ed03ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>(z >> 32);
}
static __global__ void FillNormal(bf16* p, int64_t n, float deviation, uint64_t stream) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= n) return;
  const float u = (static_cast<float>(Bits(2 * i, stream)) + 1) * 2.328e-10f;
  p[i] = __float2bfloat16(deviation * sqrtf(-2 * logf(u)) *
                          cospif(static_cast<float>(Bits(2 * i + 1, stream)) * 4.6566e-10f));
}
inline unsigned Blocks(int64_t n) { return static_cast<unsigned>((n + 255) / 256); }

template <typename T>
std::vector<T> Download(const T* p, int64_t n) {
  std::vector<T> out(n);
  CUDA_OK(cudaMemcpy(out.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
  return out;
}
inline std::vector<float> DownloadBf16(const bf16* p, int64_t n) {
  const std::vector<bf16> narrow = Download(p, n);
  return {narrow.begin(), narrow.end()};
}

// Median of 15 runs after two.
inline double Milliseconds(cudaStream_t stream, const std::function<void()>& run) {
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  run();
  run();
  std::vector<float> times(15);
  for (float& ms : times) {
    CUDA_OK(cudaEventRecord(begin, stream));
    run();
    CUDA_OK(cudaEventRecord(end, stream));
    CUDA_OK(cudaEventSynchronize(end));
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace worker
