// CudaContext: what one trial, or several of equal shape in their seats, own on a GPU besides their
// tensors: a stream, a cuBLASLt handle with its workspace, scratch memory. One host thread at a
// time uses a context; contexts of one device run side by side and never share memory, so a
// neighbour changes no result.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "worker/runtime/cuda/seats.h"

namespace worker {

struct CudaHandles;  // cuda_exec.h

// Held while memory is taken or given back, libraries are started, or a graph is captured: CUDA
// forbids what would wait for the whole device while any stream of the process is captured.
std::mutex& DeviceAllocation();

// Device memory. Move-only.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Empty (get() == nullptr) when the device has not that much memory left; zeroed otherwise.
  explicit DeviceBuffer(int64_t bytes);
  // Of another owner, who outlives it.
  DeviceBuffer(std::byte* borrowed, int64_t bytes)
      : data_(borrowed), bytes_(borrowed == nullptr ? 0 : bytes), owned_(false) {}
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  std::byte* get() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  bool owned_ = true;
};

class CudaContext {
 public:
  // With room for `seats` trials, none of which takes more than seat_bytes. Null, with *error for
  // people, when the device cannot be used or has no memory left.
  static std::unique_ptr<CudaContext> Create(int device, std::string* error, int seats = 1,
                                             int64_t seat_bytes = 0);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  CudaHandles& handles() { return *handles_; }
  // A cudnnHandle_t, started when it is first asked for; ends the process when it cannot be.
  void* Cudnn();

  // The seats that what is enqueued next is for. Pointers that a context or a program hands out are
  // those of seat 0.
  const Seats& seats() const { return seats_; }
  int max_seats() const { return max_seats_; }
  void UseSeats(int first, int count) {
    seats_.first = first;
    seats_.count = count;
  }
  // What seat 0 has at p, of the first seat in use.
  template <typename T>
  T* OfFirstSeat(T* p) const {
    return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(p) + seats_.first * seats_.stride);
  }
  // See SeatMemory. REQUIRES: created with that many seats; for Open, nothing enqueued.
  bool OpenSeat(int seat);
  void CloseSeat(int seat) { memory_->Close(seat); }

  // Memory of a trial, at every seat. Empty when there is none left.
  DeviceBuffer Allocate(int64_t bytes) {
    return memory_ == nullptr ? DeviceBuffer(bytes) : DeviceBuffer(memory_->Allocate(bytes), bytes);
  }
  // Scratch for one op, valid until the next op of this context asks. Grows (and synchronises) only
  // outside capture: every program runs once before it is captured.
  void* Scratch(int64_t bytes);
  int64_t scratch_bytes() const { return scratch_bytes_; }
  // Two zeros for kernels that hand out their work (worker/ops/attention_tiles.cuh), and zeros
  // again when such a kernel ends.
  uint32_t* Tickets() const { return OfFirstSeat(reinterpret_cast<uint32_t*>(tickets_.get())); }
  void Synchronize();

  // {"cublaslt": ..., "cudnn": ..., "cuda_runtime": ..., "driver": ...} as JSON.
  static std::string LibrariesJson();
  // Free and total bytes of the device.
  static void MemoryInfo(int device, int64_t* free_bytes, int64_t* total_bytes);

 private:
  CudaContext() = default;
  int device_ = 0, multiprocessors_ = 0;
  Seats seats_;
  int max_seats_ = 1;
  std::unique_ptr<SeatMemory> memory_;  // null: one seat, memory piece by piece
  std::unique_ptr<CudaHandles> handles_;
  DeviceBuffer scratch_, tickets_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace worker
