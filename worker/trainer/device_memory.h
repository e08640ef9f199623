// DeviceMemory: who may use how much of a GPU's memory. A trial takes all that its memory plan asks
// for before it allocates anything and gives it back when it ends, in order of arrival: nobody runs
// out of memory half way, and a large trial is not overtaken for ever by small ones. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/statusor.h"
#include "core/mutex.h"

namespace worker {

class DeviceMemory {
 public:
  explicit DeviceMemory(int64_t total_bytes) : total_(total_bytes), free_(total_bytes) {}
  DeviceMemory(const DeviceMemory&) = delete;

  // Gives its bytes back when it is destroyed. Move-only.
  class Share {
   public:
    Share() = default;
    Share(DeviceMemory* owner, int64_t bytes) : owner_(owner), bytes_(bytes) {}
    Share(Share&& other) noexcept : owner_(other.owner_), bytes_(other.bytes_) {
      other.owner_ = nullptr;
    }
    Share& operator=(Share&& other) noexcept {
      std::swap(owner_, other.owner_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (owner_ != nullptr) owner_->GiveBack(bytes_);
    }

   private:
    DeviceMemory* owner_ = nullptr;
    int64_t bytes_ = 0;
  };

  // Waits until `bytes` are free and everybody who came earlier has been served. CANCELLED once
  // give_up(), asked five times a second while waiting, is true. REQUIRES: bytes <= total().
  absl::StatusOr<Share> Take(int64_t bytes, const std::function<bool()>& give_up) EXCLUDES(mu_);
  int64_t total() const { return total_; }

 private:
  void GiveBack(int64_t bytes) EXCLUDES(mu_);

  const int64_t total_;
  core::Mutex mu_;
  core::CondVar changed_;
  int64_t free_ GUARDED_BY(mu_);
  int64_t next_ticket_ GUARDED_BY(mu_) = 0;  // of the next to come
  int64_t serving_ GUARDED_BY(mu_) = 0;      // ticket whose turn it is
};

}  // namespace worker
