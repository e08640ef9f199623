#include <cudnn.h>

#include <algorithm>

#include "worker/runtime/cuda/cuda_context.h"
#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {
namespace {

// cuBLAS asks for 32 MiB on Hopper; more lets split-K of thin products run wide.
constexpr size_t kWorkspaceBytes = 64u << 20;
constexpr int64_t kTicketBytes = 256;

}  // namespace

std::mutex& DeviceAllocation() {
  static std::mutex* mu = new std::mutex();
  return *mu;
}

std::unique_ptr<CudaContext> CudaContext::Create(int device, std::string* error, int seats,
                                                 int64_t seat_bytes) {
  std::unique_lock lock(DeviceAllocation());
  auto fail = [&](const char* what, cudaError_t code) {
    *error = std::string(what) + ": " + cudaGetErrorString(code);
    cudaGetLastError();
    return nullptr;
  };
  cudaError_t code = cudaSetDevice(device);
  if (code != cudaSuccess) return fail("choosing the GPU", code);
  auto context = std::unique_ptr<CudaContext>(new CudaContext());
  context->device_ = device;
  CUDA_OK(
      cudaDeviceGetAttribute(&context->multiprocessors_, cudaDevAttrMultiProcessorCount, device));
  context->handles_ = std::make_unique<CudaHandles>();
  if (seats > 1) {
    context->memory_ = SeatMemory::Create(device, seats, seat_bytes + kTicketBytes);
    if (context->memory_ == nullptr) {
      *error = "reserving addresses for " + std::to_string(seats) + " trials of the GPU failed";
      return nullptr;
    }
    context->seats_.stride = context->memory_->stride();
    context->max_seats_ = seats;
  }
  CudaHandles& h = *context->handles_;
  h.branches.resize(seats);
  code = cudaMalloc(&h.workspace, kWorkspaceBytes);
  if (code != cudaSuccess) return fail("allocating the cuBLAS workspace", code);
  h.workspace_bytes = kWorkspaceBytes;
  CUDA_OK(cudaStreamCreateWithFlags(&h.stream, cudaStreamNonBlocking));
  CUDA_OK(cudaStreamCreateWithFlags(&h.copy_stream, cudaStreamNonBlocking));
  CUDA_OK(cublasLtCreate(&h.lt));
  lock.unlock();
  context->tickets_ = context->Allocate(kTicketBytes);
  if (context->tickets_.get() == nullptr) {
    *error = "the GPU has no memory left to start a trial";
    return nullptr;
  }
  return context;
}

CudaContext::~CudaContext() {
  const std::lock_guard lock(DeviceAllocation());
  CudaHandles& h = *handles_;
  cudaSetDevice(device_);
  if (h.stream != nullptr) cudaStreamSynchronize(h.stream);
  if (h.cudnn != nullptr) cudnnDestroy(static_cast<cudnnHandle_t>(h.cudnn));
  if (h.lt != nullptr) cublasLtDestroy(h.lt);
  if (h.stream != nullptr) cudaStreamDestroy(h.stream);
  if (h.copy_stream != nullptr) cudaStreamDestroy(h.copy_stream);
  cudaFree(h.workspace);
  if (h.forked != nullptr) cudaEventDestroy(h.forked);
  for (const CudaHandles::Branch& branch : h.branches) {
    if (branch.stream != nullptr) cudaStreamDestroy(branch.stream);
    if (branch.joined != nullptr) cudaEventDestroy(branch.joined);
  }
}

void* CudaContext::Cudnn() {
  CudaHandles& h = *handles_;
  if (h.cudnn != nullptr) return h.cudnn;
  const std::lock_guard lock(DeviceAllocation());
  cudnnHandle_t cudnn = nullptr;
  const cudnnStatus_t status = cudnnCreate(&cudnn);
  if (status != CUDNN_STATUS_SUCCESS)
    CudaFail(__FILE__, __LINE__, "starting cuDNN", cudnnGetErrorString(status));
  cudnnSetStream(cudnn, h.stream);
  return h.cudnn = cudnn;
}

void* CudaContext::Scratch(int64_t bytes) {
  if (bytes <= scratch_bytes_) return OfFirstSeat(scratch_.get());
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  CUDA_OK(cudaStreamIsCapturing(handles_->stream, &capturing));
  if (capturing != cudaStreamCaptureStatusNone) {
    CudaFail(__FILE__, __LINE__, "Scratch", "an op asks for more scratch while it is captured");
  }
  CUDA_OK(cudaStreamSynchronize(handles_->stream));
  scratch_bytes_ = (bytes + (1 << 20) - 1) >> 20 << 20;
  scratch_ = DeviceBuffer();  // the old one goes first
  scratch_ = memory_ == nullptr ? DeviceBuffer(scratch_bytes_)
                                : DeviceBuffer(memory_->Scratch(scratch_bytes_), scratch_bytes_);
  if (scratch_.get() == nullptr)
    CudaFail(__FILE__, __LINE__, "Scratch", "the device has no memory left for scratch");
  return OfFirstSeat(scratch_.get());
}

bool CudaContext::OpenSeat(int seat) {
  Synchronize();
  CudaHandles& h = *handles_;
  if (h.forked == nullptr) CUDA_OK(cudaEventCreateWithFlags(&h.forked, cudaEventDisableTiming));
  CudaHandles::Branch& branch = h.branches[seat];
  if (branch.stream == nullptr) {
    CUDA_OK(cudaStreamCreateWithFlags(&branch.stream, cudaStreamNonBlocking));
    CUDA_OK(cudaEventCreateWithFlags(&branch.joined, cudaEventDisableTiming));
  }
  return memory_->Open(seat);
}

void CudaContext::Synchronize() { CUDA_OK(cudaStreamSynchronize(handles_->stream)); }

std::string CudaContext::LibrariesJson() {
  int runtime = 0, driver = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  return "{\"cublaslt\":" + std::to_string(cublasLtGetVersion()) +
         ",\"cudnn\":" + std::to_string(cudnnGetVersion()) +
         ",\"cuda_runtime\":" + std::to_string(runtime) + ",\"driver\":" + std::to_string(driver) +
         "}";
}

void CudaContext::MemoryInfo(int device, int64_t* free_bytes, int64_t* total_bytes) {
  size_t free_now = 0, total = 0;
  CUDA_OK(cudaSetDevice(device));
  CUDA_OK(cudaMemGetInfo(&free_now, &total));
  *free_bytes = static_cast<int64_t>(free_now);
  *total_bytes = static_cast<int64_t>(total);
}

DeviceBuffer::DeviceBuffer(int64_t bytes) {
  const std::lock_guard lock(DeviceAllocation());
  void* data = nullptr;
  if (cudaMalloc(&data, static_cast<size_t>(std::max<int64_t>(bytes, 16))) != cudaSuccess) {
    cudaGetLastError();
    return;
  }
  CUDA_OK(cudaMemsetAsync(data, 0, static_cast<size_t>(std::max<int64_t>(bytes, 16)),
                          cudaStreamPerThread));
  CUDA_OK(cudaStreamSynchronize(cudaStreamPerThread));
  data_ = static_cast<std::byte*>(data);
  bytes_ = bytes;
}
DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr || !owned_) return;
  const std::lock_guard lock(DeviceAllocation());
  CUDA_OK(cudaFree(data_));
}
DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(owned_, other.owned_);
  return *this;
}

}  // namespace worker
