// A small hand-made plan for engine tests: no recipe involved.
#pragma once

#include "recipes/plan.h"

namespace worker {

inline recipes::Plan SmallPlan(int64_t hidden = 16, int64_t layers = 2, int64_t heads = 4,
                               int64_t kv_heads = 2, int64_t head_dim = 6, int64_t ffn = 24,
                               int64_t vocab = 37, int64_t seq_len = 13) {
  recipes::Plan plan;
  plan.recipe = "test";
  plan.recipe_version = "1";
  plan.model.family = "transformer";
  plan.model.config = {{"hidden_size", hidden},        {"num_hidden_layers", layers},
                       {"num_attention_heads", heads}, {"num_key_value_heads", kv_heads},
                       {"head_dim", head_dim},         {"intermediate_size", ffn},
                       {"vocab_size", vocab},          {"max_position_embeddings", seq_len},
                       {"rms_norm_eps", 1e-5},         {"rope_theta", 10000.0},
                       {"tie_word_embeddings", false}, {"qk_norm", true},
                       {"residual_multiplier", 1.0}};
  plan.seq_len = seq_len;
  plan.batch = 4;
  plan.steps = 20;
  plan.tokens = plan.seq_len * plan.batch * plan.steps;
  plan.optimizer = {{.name = "adamh",
                     .algorithm = "adamh",
                     .roles = {"attention", "mlp", "head"},
                     .peak_lr = 0.02,
                     .beta1 = 0.9,
                     .beta2 = 0.99,
                     .epsilon = 1e-8,
                     .clip_norm = 0.1},
                    {.name = "adam",
                     .algorithm = "adamw",
                     .roles = {"embedding", "norm", "final_norm", "qk_norm"},
                     .peak_lr = 0.01,
                     .beta1 = 0.9,
                     .beta2 = 0.99,
                     .epsilon = 1e-8,
                     .weight_decay = 0,
                     .clip_norm = 0.1}};
  plan.schedule = {
      .kind = "wsd", .warmup_steps = 2, .stable_steps = 14, .decay_steps = 4, .final_fraction = 0};
  for (const char* role : {"attention", "mlp", "head"}) {
    plan.init.push_back(
        {.role = role, .distribution = "truncated_normal", .std = 1, .fan_in_power = -0.5});
  }
  plan.init.push_back(
      {.role = "embedding", .distribution = "truncated_normal", .std = 1, .fan_in_power = -1});
  for (const char* role : {"norm", "final_norm", "qk_norm"}) {
    plan.init.push_back({.role = role, .distribution = "constant", .std = 1});
  }
  plan.z_loss_weight = 1e-3;
  plan.phases = {{"train", plan.steps}};
  return plan;
}

}  // namespace worker
