// Which GPUs this machine has, for people and for the choice of workers. Plain C++: the .cu file is
// behind it where CUDA was found, a stub elsewhere. Works on machines without a driver (finds
// none).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace worker {

struct DeviceInfo {
  int index = 0;             // as CUDA counts, after CUDA_VISIBLE_DEVICES
  std::string name;          // "NVIDIA H200"
  int64_t memory_bytes = 0;  // in all
  std::string capability;    // compute capability, "9.0"
  int multiprocessors = 0;
  std::string driver;   // newest CUDA that the driver knows, "13.0"
  std::string runtime;  // CUDA runtime of this program, "13.0"
};

// Empty where there is none; then *why_none (when given) says why, for people. Cannot fail. Takes
// up to a second the first time; allocates nothing on the device. Thread-safe.
std::vector<DeviceInfo> ProbeDevices(std::string* why_none = nullptr);

}  // namespace worker
