// Arithmetic of the "transformer" family (Qwen3: pre-norm, SwiGLU, rotary, QK-norm), shared by the
// recipes: parameters by role, FLOPs in two conventions, and the way to and from ModelSpec.
// Everything is exact integer arithmetic; cannot overflow below 2^53 FLOPs a token.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "recipes/plan.h"

namespace recipes {

// heads * head_dim need not equal hidden: the projections q, k, v are [heads * head_dim, hidden]
// (kv_heads for k and v) and o is [hidden, heads * head_dim], as Hugging Face's Qwen3 permits.
struct TransformerShape {
  int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0;
  int64_t vocab = 0, seq_len = 0;
  bool qk_norm = true, tied = false;
};

// Parameters of each role (plan.h, OptimizerGroup).
struct ParamCounts {
  int64_t embedding = 0, attention = 0, mlp = 0, norm = 0, final_norm = 0, qk_norm = 0, head = 0;

  int64_t Total() const { return embedding + attention + mlp + norm + final_norm + qk_norm + head; }
  int64_t WithoutQkNorm() const { return Total() - qk_norm; }
  int64_t WithoutEmbedding() const { return Total() - embedding - head; }
};
ParamCounts CountParams(const TransformerShape& shape);

// Forward FLOPs per token as the Delphi recipe counts them: every projection, attention over the
// full context (not halved for causality) with 3 per score for mask and softmax, the head;
// embeddings free. Training costs three times this. Source: reference Delphi recipe, section 3.
double DelphiForwardFlops(const TransformerShape& shape);

// Training FLOPs per token as benchmarks count them: 6 N_mm + 6 L h s with h = heads * head_dim,
// i.e. matrix products only and the causal half of attention, recompute never counted.
double ModelFlopsPerToken(const TransformerShape& shape);

// What ModelSpec::config holds beside the shape. rope_scaling: null or Llama-3's object.
struct TransformerOptions {
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  double residual_multiplier = 1;
  core::Json rope_scaling;
};
ModelSpec MakeTransformerSpec(const TransformerShape& shape, const TransformerOptions& options);

// The shape of a spec; seq_len is its max_position_embeddings. INVALID_ARGUMENT for another family,
// or naming the key that is missing, ill-typed or not positive.
absl::StatusOr<TransformerShape> ShapeOf(const ModelSpec& spec);

}  // namespace recipes
