#include <cuda.h>

#include <algorithm>
#include <mutex>

#include "core/check.h"
#include "worker/runtime/cuda/cuda_check.h"
#include "worker/runtime/cuda/cuda_context.h"
#include "worker/runtime/cuda/seats.h"

namespace worker {
namespace {

// The driver's functions; the program does not link the driver.
struct Driver {
  decltype(&cuMemGetAllocationGranularity) granularity;
  decltype(&cuMemAddressReserve) reserve;
  decltype(&cuMemAddressFree) unreserve;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
  bool found = true;

  static const Driver& Get() {
    static const Driver driver;
    return driver;
  }

 private:
  Driver() {
    Find("cuMemGetAllocationGranularity", &granularity);
    Find("cuMemAddressReserve", &reserve);
    Find("cuMemAddressFree", &unreserve);
    Find("cuMemCreate", &create);
    Find("cuMemRelease", &release);
    Find("cuMemMap", &map);
    Find("cuMemUnmap", &unmap);
    Find("cuMemSetAccess", &set_access);
  }
  template <typename Fn>
  void Find(const char* name, Fn* fn) {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion(name, &entry, 12000, cudaEnableDefault, &result);
    found = found && error == cudaSuccess && result == cudaDriverEntryPointSuccess;
    *fn = reinterpret_cast<Fn>(entry);
  }
};

constexpr int64_t kAlign = 256;

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

struct SeatMemory::Impl {
  // A piece of device memory and where in its seat it is seen.
  struct Piece {
    CUmemGenericAllocationHandle handle;
    int64_t offset, bytes;
  };
  // Two regions a seat: what Allocate gives, from 0, and scratch, from stride / 2.
  struct Region {
    int64_t begin = 0, used = 0, mapped = 0;
  };

  bool Map(int seat, int64_t offset, int64_t bytes) {
    CUmemAllocationProp what{};
    what.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    what.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
    CUmemGenericAllocationHandle handle;
    const Driver& driver = Driver::Get();
    if (driver.create(&handle, bytes, &what, 0) != CUDA_SUCCESS) return false;
    const CUdeviceptr at = base + seat * stride + offset;
    CUmemAccessDesc access{};
    access.location = what.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    if (driver.map(at, bytes, 0, handle, 0) != CUDA_SUCCESS) {
      driver.release(handle);
      return false;
    }
    SWEEP_CHECK(driver.set_access(at, bytes, &access, 1) == CUDA_SUCCESS);
    pieces[seat].push_back({handle, offset, bytes});
    return true;
  }
  void Unmap(int seat) {
    const Driver& driver = Driver::Get();
    for (const Piece& piece : pieces[seat]) {
      driver.unmap(base + seat * stride + piece.offset, piece.bytes);
      driver.release(piece.handle);
    }
    pieces[seat].clear();
  }
  std::byte* Address(int seat, int64_t offset) const {
    return reinterpret_cast<std::byte*>(base + seat * stride + offset);
  }
  // Grows a region of seat 0 so that `used` bytes are mapped, the new ones zeroed.
  bool Reach(Region& region, int64_t used) {
    if (used > stride / 2) return false;
    if (used > region.mapped) {
      const int64_t more = RoundUp(used - region.mapped, granularity);
      if (!Map(0, region.begin + region.mapped, more)) return false;
      std::byte* fresh = Address(0, region.begin + region.mapped);
      CUDA_OK(cudaMemsetAsync(fresh, 0, more, cudaStreamPerThread));
      CUDA_OK(cudaStreamSynchronize(cudaStreamPerThread));
      region.mapped += more;
    }
    region.used = used;
    return true;
  }

  int device = 0;
  int64_t granularity = 0, stride = 0, reserved = 0;
  CUdeviceptr base = 0;
  Region data, scratch;
  std::vector<std::vector<Piece>> pieces;  // by seat; none: it is closed
};

std::unique_ptr<SeatMemory> SeatMemory::Create(int device, int seats, int64_t seat_bytes) {
  const Driver& driver = Driver::Get();
  if (!driver.found) return nullptr;
  auto memory = std::unique_ptr<SeatMemory>(new SeatMemory());
  memory->impl_ = std::make_unique<Impl>();
  Impl& m = *memory->impl_;
  m.device = device;
  CUmemAllocationProp what{};
  what.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  what.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
  size_t granularity = 0;
  if (driver.granularity(&granularity, &what, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) != CUDA_SUCCESS)
    return nullptr;
  m.granularity = static_cast<int64_t>(granularity);
  m.stride = 2 * RoundUp(seat_bytes, m.granularity);
  m.reserved = m.stride * seats;
  m.scratch.begin = m.stride / 2;
  m.pieces.resize(seats);
  if (driver.reserve(&m.base, m.reserved, 0, 0, 0) != CUDA_SUCCESS) {
    m.base = 0;
    return nullptr;
  }
  return memory;
}

SeatMemory::~SeatMemory() {
  Impl& m = *impl_;
  if (m.base == 0) return;
  const std::lock_guard lock(DeviceAllocation());
  cudaSetDevice(m.device);
  for (int seat = 0; seat < static_cast<int>(m.pieces.size()); ++seat) m.Unmap(seat);
  Driver::Get().unreserve(m.base, m.reserved);
}

std::byte* SeatMemory::Allocate(int64_t bytes) {
  Impl& m = *impl_;
  for (size_t seat = 1; seat < m.pieces.size(); ++seat) SWEEP_CHECK(m.pieces[seat].empty());
  const std::lock_guard lock(DeviceAllocation());
  const int64_t begin = RoundUp(m.data.used, kAlign);
  return m.Reach(m.data, begin + bytes) ? m.Address(0, begin) : nullptr;
}

std::byte* SeatMemory::Scratch(int64_t bytes) {
  Impl& m = *impl_;
  if (bytes > m.scratch.used) {
    for (size_t seat = 1; seat < m.pieces.size(); ++seat) SWEEP_CHECK(m.pieces[seat].empty());
    const std::lock_guard lock(DeviceAllocation());
    if (!m.Reach(m.scratch, bytes)) return nullptr;
  }
  return m.Address(0, m.scratch.begin);
}

bool SeatMemory::Open(int seat) {
  Impl& m = *impl_;
  const std::lock_guard lock(DeviceAllocation());
  if (m.pieces[seat].empty()) {
    for (const Impl::Region* region : {&m.data, &m.scratch}) {
      if (region->mapped > 0 && !m.Map(seat, region->begin, region->mapped)) {
        m.Unmap(seat);
        return false;
      }
    }
  }
  CUDA_OK(cudaMemcpyAsync(m.Address(seat, 0), m.Address(0, 0), m.data.mapped,
                          cudaMemcpyDeviceToDevice, cudaStreamPerThread));
  CUDA_OK(cudaStreamSynchronize(cudaStreamPerThread));
  return true;
}

void SeatMemory::Close(int seat) {
  const std::lock_guard lock(DeviceAllocation());
  impl_->Unmap(seat);
}

int64_t SeatMemory::stride() const { return impl_->stride; }
int64_t SeatMemory::mapped_bytes() const { return impl_->data.mapped + impl_->scratch.mapped; }

}  // namespace worker
