// Where CUDA was not found at configure time.
#include "worker/runtime/cuda/device_probe.h"

namespace worker {

std::vector<DeviceInfo> ProbeDevices(std::string* why_none) {
  if (why_none != nullptr) *why_none = "this sweepctl was built without CUDA";
  return {};
}

}  // namespace worker
