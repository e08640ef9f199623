#include "worker/runtime/cpu/cpu_runtime.h"

#include <dnnl.h>
#include <omp.h>

#include <Eigen/Core>
#include <algorithm>
#include <atomic>
#include <thread>

#include "core/check.h"
#include "core/mutex.h"

namespace worker {
namespace {

// Enough for a small product to be worth handing to another thread.
constexpr double kFlopsPerPart = 4e6;

inline void Pause() { __builtin_ia32_pause(); }

}  // namespace

// Helpers spin a few microseconds between the many short parallel loops of one step, then sleep.
struct CpuRuntime::Pool {
  explicit Pool(int helpers) {
    for (int i = 0; i < helpers; ++i) {
      threads.emplace_back([this, i] { Loop(i + 1); });
    }
  }
  ~Pool() {
    {
      core::MutexLock lock(&mu);
      stop = true;
      generation.fetch_add(1);
    }
    wake.SignalAll();
    for (std::thread& t : threads) t.join();
  }

  void Loop(int thread) {
    omp_set_num_threads(1);  // oneDNN inside a part must not start a team of its own
    uint64_t seen = 0;
    while (true) {
      for (int spin = 0; spin < 4000 && generation.load(std::memory_order_acquire) == seen; ++spin)
        Pause();
      if (generation.load(std::memory_order_acquire) == seen) {
        core::MutexLock lock(&mu);
        while (generation.load(std::memory_order_acquire) == seen) wake.Wait(&mu);
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop) return;
      Work(thread);
      running.fetch_sub(1, std::memory_order_release);
    }
  }

  void Work(int thread) {
    for (int64_t part = next.fetch_add(1); part < parts; part = next.fetch_add(1))
      (*fn)(part, thread);
  }

  void Run(int64_t num_parts, const std::function<void(int64_t, int)>& body) {
    fn = &body;
    parts = num_parts;
    next.store(0);
    running.store(static_cast<int>(threads.size()));
    {
      core::MutexLock lock(&mu);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.SignalAll();
    Work(0);
    // A helper that lost its core to another process must get it back: yield after a while.
    for (int spin = 0; running.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < 4000)
        Pause();
      else
        std::this_thread::yield();
    }
  }

  std::vector<std::thread> threads;
  core::Mutex mu;
  core::CondVar wake;
  bool stop = false;
  std::atomic<uint64_t> generation{0};
  std::atomic<int64_t> next{0};
  std::atomic<int> running{0};
  int64_t parts = 0;
  const std::function<void(int64_t, int)>* fn = nullptr;
};

CpuRuntime::CpuRuntime(int threads) : threads_(0) { SetThreads(threads); }
CpuRuntime::~CpuRuntime() = default;

void CpuRuntime::SetThreads(int threads) {
  threads = std::max(1, threads);
  omp_set_num_threads(1);  // a setting of the calling thread: oneDNN must not start a team
  if (threads == threads_) return;
  pool_ = threads > 1 ? std::make_unique<Pool>(threads - 1) : nullptr;
  threads_ = threads;
  scratch_.resize(threads);
}

void CpuRuntime::ParallelFor(int64_t parts, const std::function<void(int64_t, int)>& fn) {
  if (pool_ == nullptr || parts <= 1) {
    for (int64_t part = 0; part < parts; ++part) fn(part, 0);
    return;
  }
  pool_->Run(parts, fn);
}

void CpuRuntime::ParallelRange(int64_t n, int64_t grain,
                               const std::function<void(int64_t, int64_t, int)>& fn) {
  const int64_t parts = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, kMaxParts);
  ParallelFor(parts, [&](int64_t part, int thread) {
    fn(n * part / parts, n * (part + 1) / parts, thread);
  });
}

std::byte* CpuRuntime::ScratchBytes(int thread, int slot, int64_t bytes) {
  auto& slots = scratch_[thread];
  if (static_cast<int>(slots.size()) <= slot) slots.resize(slot + 1);
  if (static_cast<int64_t>(slots[slot].size()) < bytes + 64) slots[slot].resize(bytes + 64);
  std::byte* p = slots[slot].data();
  return p + (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64;
}

int64_t CpuRuntime::scratch_bytes() const {
  int64_t bytes = 0;
  for (const auto& slots : scratch_) {
    for (const auto& slot : slots) bytes += static_cast<int64_t>(slot.size());
  }
  return bytes;
}

void CpuRuntime::GemmHere(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
                          float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha,
                                          a, lda, b, ldb, beta, c, ldc);
  SWEEP_CHECK(status == dnnl_success);
}

void CpuRuntime::GemmHere(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                          const double* a, int64_t lda, const double* b, int64_t ldb, double beta,
                          double* c, int64_t ldc) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  Eigen::Map<const Matrix, 0, Stride> ma(a, trans_a ? k : m, trans_a ? m : k, Stride(lda));
  Eigen::Map<const Matrix, 0, Stride> mb(b, trans_b ? n : k, trans_b ? k : n, Stride(ldb));
  Eigen::Map<Matrix, 0, Stride> mc(c, m, n, Stride(ldc));
  Matrix product(m, n);
  if (trans_a && trans_b)
    product.noalias() = ma.transpose() * mb.transpose();
  else if (trans_a)
    product.noalias() = ma.transpose() * mb;
  else if (trans_b)
    product.noalias() = ma * mb.transpose();
  else
    product.noalias() = ma * mb;
  if (beta == 0)
    mc = alpha * product;
  else
    mc = alpha * product + beta * mc;
}

template <typename T>
void CpuRuntime::GemmParts(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, T alpha,
                           const T* a, int64_t lda, const T* b, int64_t ldb, T beta, T* c,
                           int64_t ldc) {
  int64_t parts = std::clamp<int64_t>(static_cast<int64_t>(2.0 * m * n * k / kFlopsPerPart), 1, 8);
  const bool by_rows = m >= n;
  parts = std::min<int64_t>(parts, std::max<int64_t>(1, (by_rows ? m : n) / 32));
  ParallelFor(parts, [&](int64_t part, int) {
    if (by_rows) {
      const int64_t i0 = m * part / parts, i1 = m * (part + 1) / parts;
      GemmHere(trans_a, trans_b, i1 - i0, n, k, alpha, trans_a ? a + i0 : a + i0 * lda, lda, b, ldb,
               beta, c + i0 * ldc, ldc);
    } else {
      const int64_t j0 = n * part / parts, j1 = n * (part + 1) / parts;
      GemmHere(trans_a, trans_b, m, j1 - j0, k, alpha, a, lda, trans_b ? b + j0 * ldb : b + j0, ldb,
               beta, c + j0, ldc);
    }
  });
}

void CpuRuntime::Gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                      const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
                      float* c, int64_t ldc) {
  GemmParts(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void CpuRuntime::Gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                      const double* a, int64_t lda, const double* b, int64_t ldb, double beta,
                      double* c, int64_t ldc) {
  GemmParts(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace worker
