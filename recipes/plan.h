// Plan: one training run with every choice made. Computed once by a recipe, serialised once by
// PlanBytes() into canonical JSON; those bytes travel unchanged and their SHA-256 is the trial_id.
// Everything in here is science; provenance (commit, device, microbatch, threads, packing) lives on
// the attempt. DESIGN.md, "Identity".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"

namespace recipes {

// What is spent. kind "training_flops": forward and backward, in the recipe's own convention.
struct Budget {
  std::string kind = "training_flops";
  double amount = 0;
};

// A model family (one file in worker/models/) and its configuration as data. For family
// "transformer" the keys are Hugging Face's Qwen3 config names: hidden_size, num_hidden_layers,
// num_attention_heads, num_key_value_heads, head_dim, intermediate_size, vocab_size,
// max_position_embeddings (= training sequence length), rms_norm_eps, rope_theta,
// tie_word_embeddings (bool); ours: qk_norm (bool), residual_multiplier (double, branches are
// scaled by it), and optionally rope_scaling {factor, low_freq_factor, high_freq_factor,
// original_max_position_embeddings} (Llama-3 form).
struct ModelSpec {
  std::string family;
  core::Json config;
};

// Initialisation of every parameter with this role. distribution "truncated_normal": normal cut at
// +-truncation, then times std * fan_in^fan_in_power, fan_in = columns of the [out, in] matrix
// (embedding: hidden size). "constant": all elements equal std.
struct InitRule {
  std::string role;
  std::string distribution;
  double std = 0;
  double fan_in_power = 0;
  double truncation = 3;
};

// Parameters updated together. Roles of the transformer family: "embedding", "attention" (q,k,v,o),
// "mlp" (gate,up,down), "head", "norm" (block norms), "final_norm", "qk_norm". Every role of the
// model is in exactly one group.
struct OptimizerGroup {
  std::string name;
  std::string algorithm;  // "adamh" or "adamw" (worker/optim)
  std::vector<std::string> roles;
  double peak_lr = 0;
  double beta1 = 0, beta2 = 0, epsilon = 0;
  double weight_decay = 0;  // adamw only, decoupled, times lr
  double clip_norm = 0;     // global norm of this group's gradients; 0 = no clipping
};

// Learning-rate factor by 0-based step k, the same for every group. "wsd": k/warmup, then 1, then
// 1-(k-warmup-stable)/decay*(1-final_fraction). "cosine": k/warmup, then half a cosine from 1 to
// final_fraction over decay_steps (stable_steps = 0). Source: reference Delphi recipe, section 7.
struct Schedule {
  std::string kind;
  int64_t warmup_steps = 0, stable_steps = 0, decay_steps = 0;
  double final_fraction = 0;
};

// Steps of one program over the same parameters; a phase change swaps programs, never parameters.
struct Phase {
  std::string program;  // "train"
  int64_t steps = 0;
};

// One component of the training mixture.
struct DataSource {
  std::string name;
  double weight = 1;          // normalised over sources
  double max_epochs = 0;      // 0 = unlimited
  std::string manifest_hash;  // of the prepared shards; empty until prepared
  int64_t tokens = 0;         // in the prepared shards; 0 until prepared
};

// Everything about data that changes a result.
struct DataSpec {
  std::vector<DataSource> sources;
  std::string order_rule = "feistel-1";
  std::string tokenizer_hash;   // empty until prepared
  std::string eval_hash;        // of held-out tokens and loss definition; empty until prepared
  int32_t loss_definition = 1;  // DESIGN.md, "The loss"
};

struct Plan {
  std::string recipe, recipe_version;
  Budget budget;
  ModelSpec model;
  int64_t params = 0;               // recipe's N, as cards print it (delphi: with QK-norm)
  int64_t params_no_qk_norm = 0;    // N the delphi rule compares with its caps
  int64_t params_no_embedding = 0;  // without input embedding and head
  int64_t tokens = 0;               // realised: seq_len * batch * steps
  int64_t seq_len = 0;
  int64_t batch = 0;  // sequences a step
  int64_t steps = 0;
  double recipe_flops = 0;  // recipe convention, realised tokens; the C of fits
  double model_flops = 0;   // 6*N_mm + 6*L*h*s per token, realised tokens; for MFU
  std::vector<OptimizerGroup> optimizer;
  Schedule schedule;
  std::vector<InitRule> init;
  double z_loss_weight = 0;
  std::vector<Phase> phases;
  uint64_t init_seed = 0, data_seed = 0;
  DataSpec data;
  std::string numerics = "f32";  // or "bf16-mixed"
  // Rules that bit, so that fits can report with and without such points. Distorting: "batch_min",
  // "batch_max", "lr_cap", "head_share" (head over 40 % of the FLOPs), "tokens_per_param". For
  // information: "beta2_steps" (averaging window cut to a tenth of the run), "beta_floor".
  std::vector<std::string> clamps;
};

// The one serializer. INVALID_ARGUMENT when a field cannot be represented exactly (non-finite,
// beyond 2^53).
absl::StatusOr<std::string> PlanBytes(const Plan& plan);

// Inverse of PlanBytes: PlanBytes(ParsePlan(b)) == b. INVALID_ARGUMENT names the missing, unknown
// or ill-typed field, and refuses bytes that are not canonical (spaces, key order, repeated keys).
absl::StatusOr<Plan> ParsePlan(std::string_view bytes);

// SHA-256 of PlanBytes, 64 hex characters. REQUIRES: data prepared (all hashes present), else
// FAILED_PRECONDITION.
absl::StatusOr<std::string> TrialId(const Plan& plan);

// Whether a rule that bit (Plan::clamps) distorts the result, so that fits tell what leaving such
// points out changes; the others are for information.
bool Distorts(std::string_view clamp);

// Learning-rate factor in [0, 1] at 0-based step k in [0, warmup+stable+decay).
double ScheduleFactor(const Schedule& schedule, int64_t k);

}  // namespace recipes
