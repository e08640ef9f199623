// CPU runtime of one trial: its threads and its matrix products. Results never depend on the number
// of threads: work is cut into parts whose number follows from the sizes alone, and no two parts
// add into one element.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace worker {

class CpuRuntime {
 public:
  explicit CpuRuntime(int threads);
  ~CpuRuntime();
  CpuRuntime(const CpuRuntime&) = delete;
  CpuRuntime& operator=(const CpuRuntime&) = delete;

  int threads() const { return threads_; }
  // Changes the number of threads between runs.
  void SetThreads(int threads);

  // Calls fn(part, thread) for part in [0, parts), each once, on up to threads() threads; returns
  // when all are done.
  void ParallelFor(int64_t parts, const std::function<void(int64_t part, int thread)>& fn);

  // Cuts n items into parts of at least `grain`, at most kMaxParts; calls fn(begin, end, thread).
  void ParallelRange(int64_t n, int64_t grain,
                     const std::function<void(int64_t, int64_t, int)>& fn);

  // C[m,n] = alpha * op(A)[m,k] * op(B)[k,n] + beta * C, row-major; lda is the row stride of A as
  // stored.
  void Gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
            const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
            int64_t ldc);
  void Gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
            const double* a, int64_t lda, const double* b, int64_t ldb, double beta, double* c,
            int64_t ldc);
  // The same on the calling thread only, for use inside a part.
  static void GemmHere(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                       const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
                       float* c, int64_t ldc);
  static void GemmHere(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                       const double* a, int64_t lda, const double* b, int64_t ldb, double beta,
                       double* c, int64_t ldc);

  // Per-thread scratch of at least n elements, valid until the thread asks again with the same
  // slot.
  template <typename T>
  T* Scratch(int thread, int slot, int64_t n) {
    return reinterpret_cast<T*>(ScratchBytes(thread, slot, n * static_cast<int64_t>(sizeof(T))));
  }
  int64_t scratch_bytes() const;

  static constexpr int kMaxParts = 16;

 private:
  struct Pool;
  std::byte* ScratchBytes(int thread, int slot, int64_t bytes);
  template <typename T>
  void GemmParts(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
                 int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

  int threads_;
  std::unique_ptr<Pool> pool_;
  std::vector<std::vector<std::vector<std::byte>>> scratch_;  // [thread][slot]
};

}  // namespace worker
