#include "worker/trainer/device_memory.h"

#include <chrono>

#include "core/check.h"

namespace worker {

absl::StatusOr<DeviceMemory::Share> DeviceMemory::Take(int64_t bytes,
                                                       const std::function<bool()>& give_up) {
  SWEEP_CHECK(bytes <= total_);
  bool given_up = false;
  core::MutexLock lock(&mu_);
  const int64_t ticket = next_ticket_++;
  // Who gives up still waits for its turn, so that turns pass on; it only takes nothing then.
  while (serving_ != ticket || (free_ < bytes && !given_up)) {
    changed_.WaitFor(&mu_, std::chrono::milliseconds(200));
    given_up = given_up || give_up();
  }
  ++serving_;
  changed_.SignalAll();
  if (given_up) return absl::CancelledError("stopped while it waited for memory of the GPU");
  free_ -= bytes;
  return Share(this, bytes);
}

void DeviceMemory::GiveBack(int64_t bytes) {
  core::MutexLock lock(&mu_);
  free_ += bytes;
  changed_.SignalAll();
}

}  // namespace worker
