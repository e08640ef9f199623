// CUDA_OK(call): errors of the runtime, cuBLAS and cuDNN end the process with the place and the
// library's words. CUDA errors are sticky, so the trainer is crash-only: its leases expire and the
// coordinator decides. For .cu files and this folder.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

namespace worker {

[[noreturn]] inline void CudaFail(const char* file, int line, const char* call, const char* words) {
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, words);
  std::fflush(stderr);
  std::_Exit(70);
}

inline void CudaOk(cudaError_t error, const char* file, int line, const char* call) {
  if (error != cudaSuccess) CudaFail(file, line, call, cudaGetErrorString(error));
}
inline void CudaOk(cublasStatus_t status, const char* file, int line, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) CudaFail(file, line, call, cublasLtGetStatusString(status));
}

}  // namespace worker

#define CUDA_OK(call) ::worker::CudaOk((call), __FILE__, __LINE__, #call)
// After a launch: configuration errors show at once, others at the next synchronisation.
#define CUDA_LAUNCHED(name) ::worker::CudaOk(cudaGetLastError(), __FILE__, __LINE__, name)
