// What the CUDA attentions share. For .cu files only.
#pragma once

#include <cstdint>

#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

// One attention, and the same at every further seat in use; attention.h has the equations.
// q, o, dout, dq (B, T, H, D); k, v, dk, dv (B, T, KV, D); lse (B, H, T). Contiguous but for v and
// dv, whose positions lie v_row and dv_row elements apart (multiples of 8).
struct AttentionSizes {
  int64_t batch = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0;
};
struct AttentionCall {
  AttentionSizes sizes;
  const bf16* q = nullptr;
  const bf16* k = nullptr;
  const bf16* v = nullptr;
  int64_t v_row = 0;
  bf16* o = nullptr;
  float* lse = nullptr;
};
struct AttentionBackwardCall {
  AttentionSizes sizes;
  const bf16* q = nullptr;
  const bf16* k = nullptr;
  const bf16* v = nullptr;
  int64_t v_row = 0;
  const bf16* o = nullptr;
  const float* lse = nullptr;
  const bf16* dout = nullptr;
  bf16* dq = nullptr;
  bf16* dk = nullptr;
  bf16* dv = nullptr;
  int64_t dv_row = 0;
};

// REQUIRES: HasFusedAttention(head_dim) (attention.h). No planning, no workspace but two floats a
// query in scratch, one launch for all seats, every order of summation fixed. Items go to whichever
// block is free, which changes when they are computed and not how.
// Cost on an H200 (bench/attention_bench), against cuDNN 9.19 in its repeatable form: forward 1.10
// to 1.19 times its rate, backward 1.03 (grouped heads, T 4096) to 1.62.
void FusedAttention(CudaContext& context, const AttentionCall& call);
void FusedAttentionBackward(CudaContext& context, const AttentionBackwardCall& call);

}  // namespace worker
