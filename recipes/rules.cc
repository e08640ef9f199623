#include "recipes/rules.h"

#include <cmath>

#include "core/units.h"
#include "fmt/format.h"

namespace recipes {

int64_t RoundHalfEven(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

int64_t PowerOfTwoAtLeast(double x) {
  if (x <= 1) return 1;
  if (!(x < 0x1p61)) return int64_t{1} << 61;
  return int64_t{1} << static_cast<int>(std::ceil(std::log2(x)));
}

absl::Status CheckTrainingFlops(const Budget& budget, const std::string& recipe) {
  if (budget.kind != "training_flops") {
    return absl::InvalidArgumentError(fmt::format(
        "recipe {} spends training_flops, not a budget of kind '{}'", recipe, budget.kind));
  }
  if (!std::isfinite(budget.amount) || budget.amount <= 0) {
    return absl::InvalidArgumentError(
        fmt::format("a budget must be a positive number of training FLOPs, not {}", budget.amount));
  }
  return absl::OkStatus();
}

absl::StatusOr<Setting> ResolveSetting(const Setting& setting, const Recipe& recipe) {
  Setting out = setting;
  if (out.vocab == 0) out.vocab = recipe.DefaultVocab();
  if (out.seq_len == 0) out.seq_len = recipe.DefaultSeqLen();
  constexpr int64_t kMax = int64_t{1} << 31;
  if (out.vocab < 2 || out.vocab > kMax || out.seq_len < 2 || out.seq_len > kMax) {
    return absl::InvalidArgumentError(fmt::format(
        "vocabulary {} and sequence length {} must both lie in 2 to 2^31", out.vocab, out.seq_len));
  }
  if (!out.numerics.empty() && out.numerics != "f32" && out.numerics != "bf16-mixed") {
    return absl::InvalidArgumentError(
        fmt::format("numerics '{}' is not known; write f32 or bf16-mixed", out.numerics));
  }
  return out;
}

absl::StatusOr<RunLength> ResolveRun(const Candidate& candidate, int64_t seq_len,
                                     std::optional<int64_t> batch_override) {
  if (!batch_override.has_value()) {
    return RunLength{candidate.batch, candidate.steps, candidate.tokens, candidate.tokens_exact};
  }
  const int64_t batch = *batch_override;
  if (batch <= 0 || batch > int64_t{1} << 31) {
    return absl::InvalidArgumentError(
        fmt::format("a batch override must be a positive number of sequences, not {}", batch));
  }
  RunLength run;
  run.batch = batch;
  run.rule_tokens = static_cast<double>(candidate.tokens);
  run.steps = RoundHalfEven(run.rule_tokens / static_cast<double>(seq_len * batch));
  if (run.steps < 1) {
    return absl::InvalidArgumentError(
        fmt::format("a batch of {} sequences of {} tokens leaves no step in {} tokens", batch,
                    seq_len, candidate.tokens));
  }
  run.tokens = seq_len * batch * run.steps;
  return run;
}

Schedule WsdSchedule(int64_t steps, double warmup, double decay, double final_fraction) {
  Schedule schedule;
  schedule.kind = "wsd";
  schedule.warmup_steps = static_cast<int64_t>(warmup * static_cast<double>(steps));
  schedule.decay_steps = static_cast<int64_t>(decay * static_cast<double>(steps));
  schedule.stable_steps = steps - schedule.warmup_steps - schedule.decay_steps;
  schedule.final_fraction = final_fraction;
  return schedule;
}

std::vector<OptimizerGroup> AdamHGroups(const AdamHValues& values) {
  OptimizerGroup adamh;
  adamh.name = "adamh";
  adamh.algorithm = "adamh";
  adamh.roles = {"attention", "mlp", "head"};
  adamh.peak_lr = values.adamh_lr;
  adamh.beta1 = values.beta1;
  adamh.beta2 = values.beta2;
  adamh.epsilon = values.epsilon;
  adamh.clip_norm = values.clip_norm;
  OptimizerGroup adam = adamh;
  adam.name = "adam";
  adam.algorithm = "adamw";
  adam.roles = {"embedding", "norm", "final_norm", "qk_norm"};
  adam.peak_lr = values.adam_lr;
  return {adamh, adam};
}

std::vector<InitRule> AdamHInit() {
  return {{"embedding", "truncated_normal", 1, -1, 3},
          {"attention", "truncated_normal", 1, -0.5, 3},
          {"mlp", "truncated_normal", 1, -0.5, 3},
          {"head", "truncated_normal", 1, -0.5, 3},
          {"norm", "constant", 1, 0, 3},
          {"final_norm", "constant", 1, 0, 3},
          {"qk_norm", "constant", 1, 0, 3}};
}

Plan CommonPlan(const Recipe& recipe, const std::string& version, const Candidate& candidate,
                const Setting& setting, const TransformerShape& shape, const RunLength& run,
                const std::string& default_numerics) {
  Plan plan;
  plan.recipe = recipe.Name();
  plan.recipe_version = version;
  plan.budget = candidate.budget;
  plan.model = candidate.model;
  plan.params = candidate.params;
  plan.params_no_qk_norm = candidate.params_no_qk_norm;
  plan.params_no_embedding = candidate.params_no_embedding;
  plan.tokens = run.tokens;
  plan.seq_len = setting.seq_len;
  plan.batch = run.batch;
  plan.steps = run.steps;
  const double tokens = static_cast<double>(run.tokens);
  plan.recipe_flops = 3 * DelphiForwardFlops(shape) * tokens;
  plan.model_flops = ModelFlopsPerToken(shape) * tokens;
  plan.phases = {{"train", run.steps}};
  plan.init_seed = setting.init_seed;
  plan.data_seed = setting.data_seed;
  plan.data = setting.data;
  plan.numerics = setting.numerics.empty() ? default_numerics : setting.numerics;
  plan.clamps = candidate.clamps;
  return plan;
}

}  // namespace recipes
