// Causal grouped-query attention by cuDNN, forward and backward, on bf16 tensors with float
// arithmetic; the twin of worker/ops/attention.h. Head h of H reads key/value head h / (H / KV).
//   forward   q (B, H, S, D); k, v (B, KV, S, D)
//             -> o (B, H, S, D) = softmax(q k^T / sqrt(D), causal) v; lse (B, H, S) float,
//             contiguous, the log of the sum of exponentials of the scaled scores
//   backward  q, k, v, o, lse, do (B, H, S, D) -> dq, dk, dv
// The indices are a view: AttentionProblem says where element (b, h, s, 0) of each tensor lies, so
// (B, S, H, D) and slices of a fused (B, S, (H + 2 KV) D) both serve. Plain C++: no CUDA header.
//
// Determinism: the backward writes dS and computes dQ as a product of its own, in bf16, instead of
// adding blocks of dQ atomically; that needs B H S S bf16 of workspace, which is bounded by taking
// a few sequences at a time. Engines that cuDNN marks as nondeterministic are never chosen.
// Cost on an H200 with cuDNN 9.19, against atomic additions: none to 7 % of the backward at D 128
// (12 % where the problem does not fill the GPU), 8 to 21 % at D 64, 14 % at D 32.
// Source: Dao, "FlashAttention-2", 2023, for both forms of the backward.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

struct cudnnContext;  // *cudnnHandle_t
struct CUstream_st;   // *cudaStream_t

namespace worker {

struct AttentionProblem {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t seq = 0;
  int64_t head_dim = 0;  // a multiple of 8; 16 to 128 are checked

  // Elements between neighbours of the (B, H, S, D) view; D is contiguous. Each a multiple of 8
  // (16 bytes), as the pointers must be.
  struct Strides {
    int64_t batch = 0;
    int64_t head = 0;
    int64_t row = 0;
  };
  Strides q, k, v, o, dq, dk, dv, dout;
};

struct AttentionTuning {
  // False: dQ by atomic additions, which need not repeat to the bit. For measurements.
  bool deterministic = true;
  // The backward takes the largest divisor of the batch whose workspace stays below this, at least
  // one sequence. Splitting costs: half the batch a launch 10 %, a quarter 30 % (B H = 128, S 2048,
  // D 128).
  int64_t backward_workspace_limit = int64_t{5} << 29;
};

// One problem. Immutable after Create. Forward and Backward only enqueue: no allocation on the
// device, no host synchronisation, capturable into a CUDA graph. Several streams may run one object
// at a time, each with its own workspace; a handle serves one thread at a time.
class CudnnAttention {
 public:
  // Null on failure, then *error says what cuDNN refused. cuDNN compiles a kernel for each
  // direction: 0.2 to 0.6 s, a second for the first of a process; no device memory. Without
  // `training` there is no lse and no Backward. The handle may be another one than those of Forward
  // and Backward.
  static std::unique_ptr<CudnnAttention> Create(cudnnContext* handle,
                                                const AttentionProblem& problem, bool training,
                                                std::string* error,
                                                const AttentionTuning& tuning = {});
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  size_t workspace_bytes() const;  // enough for either direction; its address a multiple of 256

  // False when cuDNN refused; LastError() says why. lse may be null without training. Device
  // pointers, 16-byte aligned.
  bool Forward(cudnnContext* handle, CUstream_st* stream, const void* q, const void* k,
               const void* v, void* o, float* lse, void* workspace) const;
  bool Backward(cudnnContext* handle, CUstream_st* stream, const void* q, const void* k,
                const void* v, const void* o, const float* lse, const void* dout, void* dq,
                void* dk, void* dv, void* workspace) const;

  // For provenance: library version, engine and knobs of each direction, sequences a launch of the
  // backward. The engine is the first of cuDNN's heuristics that can run, so it is a function of
  // problem, GPU model and library.
  std::string engine() const;
  int64_t backward_chunk() const;
  // What cuDNN said of this thread's last failure.
  static std::string LastError();

 private:
  struct Impl;
  explicit CudnnAttention(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace worker
