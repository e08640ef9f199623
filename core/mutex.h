// Mutex with clang's thread-safety attributes over std::mutex (absl::Mutex of Debian is opaque to
// TSan). A field guarded by mu_ is declared `T x_ GUARDED_BY(mu_);`, and clang -Wthread-safety
// checks every use.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

// absl defines some of these names too (its legacy annotations, reached through protobuf), with the
// same meaning.
#undef GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS
#if defined(__clang__)
#define SWEEP_TSA(x) __attribute__((x))
#else
#define SWEEP_TSA(x)
#endif
#define CAPABILITY(x) SWEEP_TSA(capability(x))
#define SCOPED_CAPABILITY SWEEP_TSA(scoped_lockable)
#define GUARDED_BY(x) SWEEP_TSA(guarded_by(x))
#define REQUIRES(...) SWEEP_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) SWEEP_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) SWEEP_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) SWEEP_TSA(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS SWEEP_TSA(no_thread_safety_analysis)

namespace core {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mu_.lock(); }
  void Unlock() RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ACQUIRE(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() RELEASE() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

// Waits may wake spuriously: always wait in a loop over the guarded condition.
class CondVar {
 public:
  void Wait(Mutex* mu) REQUIRES(mu) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // Returns false when the time ran out.
  bool WaitFor(Mutex* mu, std::chrono::milliseconds timeout)
      REQUIRES(mu) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    const bool notified = cv_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void Signal() { cv_.notify_one(); }
  void SignalAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace core
