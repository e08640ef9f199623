// Clock: the only source of time for code whose behaviour depends on it (leases, scheduler, store).
// Thread-safe. Tests pass a FakeClock and never sleep.
#pragma once

#include <atomic>
#include <cstdint>

namespace core {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since the Unix epoch; may jump. For records shown to people.
  virtual int64_t UnixMs() const = 0;
  // Milliseconds of a clock that never goes back. For leases and timeouts.
  virtual int64_t MonotonicMs() const = 0;
};

// The process-wide system clock; never destroyed.
const Clock& SystemClock();

// Moves only when told to. Both clocks advance together.
class FakeClock : public Clock {
 public:
  explicit FakeClock(int64_t unix_ms = 1'700'000'000'000) : now_ms_(unix_ms) {}
  int64_t UnixMs() const override { return now_ms_.load(); }
  int64_t MonotonicMs() const override { return now_ms_.load(); }
  void AdvanceMs(int64_t ms) { now_ms_.fetch_add(ms); }

 private:
  std::atomic<int64_t> now_ms_;
};

}  // namespace core
