// CudaContext: what one trial owns on a GPU besides its tensors: a stream, a cuBLASLt handle with
// its workspace, scratch memory. One host thread at a time uses a context; contexts of one device
// run side by side and never share memory, so a neighbour changes no result.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace worker {

struct CudaHandles;  // cuda_exec.h

class CudaContext {
 public:
  // Null, with *error for people, when the device cannot be used or has no memory left.
  static std::unique_ptr<CudaContext> Create(int device, std::string* error);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  CudaHandles& handles() { return *handles_; }

  // Scratch for one op, valid until the next op of this context asks. Grows (and synchronises) only
  // outside capture: every program runs once before it is captured.
  void* Scratch(int64_t bytes);
  int64_t scratch_bytes() const { return scratch_bytes_; }
  void Synchronize();

  // {"cublaslt": ..., "cudnn": ..., "cuda_runtime": ..., "driver": ...} as JSON.
  static std::string LibrariesJson();
  // Free and total bytes of the device.
  static void MemoryInfo(int device, int64_t* free_bytes, int64_t* total_bytes);

 private:
  CudaContext() = default;
  int device_ = 0, multiprocessors_ = 0;
  std::unique_ptr<CudaHandles> handles_;
  void* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

// Held while memory is taken or given back, libraries are started, or a graph is captured: CUDA
// forbids what would wait for the whole device while any stream of the process is captured.
std::mutex& DeviceAllocation();

// Device memory. Move-only.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Empty (get() == nullptr) when the device has not that much memory left; zeroed otherwise.
  explicit DeviceBuffer(int64_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  std::byte* get() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace worker
