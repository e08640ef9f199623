#include <cuda_runtime.h>

#include "worker/runtime/cuda/device_probe.h"

namespace worker {
namespace {

// 13000 -> "13.0".
std::string VersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

std::vector<DeviceInfo> ProbeDevices(std::string* why_none) {
  std::vector<DeviceInfo> devices;
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  // 0 and no error where no driver is installed.
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
  if (error != cudaSuccess || count == 0) {
    if (why_none == nullptr) return devices;
    *why_none = driver == 0 ? "no NVIDIA driver is installed" : cudaGetErrorString(error);
    if (error == cudaErrorInsufficientDriver && driver > 0)
      *why_none = "the driver knows CUDA " + VersionText(driver) + ", this program needs " +
                  VersionText(runtime) + "; install a newer driver";
    return devices;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    DeviceInfo device;
    device.index = i;
    device.name = properties.name;
    device.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
    device.capability = std::to_string(properties.major) + "." + std::to_string(properties.minor);
    device.multiprocessors = properties.multiProcessorCount;
    device.driver = VersionText(driver);
    device.runtime = VersionText(runtime);
    devices.push_back(device);
  }
  return devices;
}

}  // namespace worker
