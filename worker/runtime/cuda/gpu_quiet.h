// GpuBusy and GpuQuiet: while one thread times kernels (GpuQuiet), no other trial of the process
// has work on the device (each holds GpuBusy around it). Who waits for quiet is not overtaken.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace worker {

struct GpuTurn {
  std::mutex turnstile;
  std::shared_mutex work;
  static GpuTurn& Get() {
    static GpuTurn* turn = new GpuTurn();
    return *turn;
  }
};

class GpuBusy {
 public:
  GpuBusy() {
    std::lock_guard queue(GpuTurn::Get().turnstile);
    GpuTurn::Get().work.lock_shared();
  }
  ~GpuBusy() { GpuTurn::Get().work.unlock_shared(); }
  GpuBusy(const GpuBusy&) = delete;
};

class GpuQuiet {
 public:
  GpuQuiet() : queue_(GpuTurn::Get().turnstile), work_(GpuTurn::Get().work) {}
  GpuQuiet(const GpuQuiet&) = delete;

 private:
  std::lock_guard<std::mutex> queue_;
  std::lock_guard<std::shared_mutex> work_;
};

}  // namespace worker
