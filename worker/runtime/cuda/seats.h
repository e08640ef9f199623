// Seats: places of several trials of equal shape in one CudaContext, trained by the same launches.
// A kernel's z index is the seat, and what seat 0 has at p, seat i has at p + i * stride; at every
// seat a kernel does what it does for a trial alone, so the bits are the same. The source of the
// idea is horizontally fused training (Wang et al., "Horizontally Fused Training Array", 2021);
// equal distances instead of fused operators keep every kernel as it is. Plain C++.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace worker {

// The seats a launch is for. stride in bytes; 0 where there is one seat only.
struct Seats {
  int first = 0, count = 1;
  int64_t stride = 0;
};

// Device memory of up to `seats` trials at equal distances: addresses are reserved at once, memory
// is mapped as seat 0 asks for it and as other seats open. One thread at a time.
class SeatMemory {
 public:
  // seat_bytes bounds what a seat allocates, and again its scratch. Null when the device cannot.
  static std::unique_ptr<SeatMemory> Create(int device, int seats, int64_t seat_bytes);
  ~SeatMemory();
  SeatMemory(const SeatMemory&) = delete;

  // Memory of seat 0, zeroed, at a multiple of 256; null when there is none left. While only seat 0
  // is open.
  std::byte* Allocate(int64_t bytes);
  // At least that much scratch of seat 0, always at one address, what it held kept.
  std::byte* Scratch(int64_t bytes);

  // Seat i with a copy of what seat 0 has; false when memory is short. The caller has waited for
  // the device.
  bool Open(int seat);
  void Close(int seat);

  int64_t stride() const;
  int64_t mapped_bytes() const;  // of seat 0

 private:
  SeatMemory() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace worker
