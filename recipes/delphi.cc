#include "recipes/delphi.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "recipes/constants.h"
#include "recipes/rules.h"
#include "recipes/transformer_shape.h"

namespace recipes {
namespace {

// batch in sequences, tokens of the run.
AdamHValues Transfer(const ConstantSet& k, double batch, double tokens) {
  const double b0 = k["reference_batch"], t0 = k["reference_tokens"];
  AdamHValues v;
  v.adamh_lr = std::min(k["lr_cap"], k["adamh_lr"] * std::sqrt(batch / b0) *
                                         std::pow(t0 / tokens, k["lr_token_exponent"]));
  v.adam_lr = std::min(k["lr_cap"], k["adam_lr"] * std::sqrt((batch * t0) / (b0 * tokens)));
  v.beta1 = k["beta1"];
  v.beta2 = std::clamp(std::pow(k["beta2"], batch / b0), k["beta2_min"], k["beta2_max"]);
  v.epsilon = k["epsilon"] * std::sqrt((b0 * tokens) / (batch * t0));
  v.clip_norm = k["clip_norm"];
  return v;
}

TransformerShape ShapeForWidth(int64_t hidden, const Setting& setting) {
  TransformerShape s;
  s.hidden = hidden;
  s.layers = RoundHalfEven(static_cast<double>(hidden) /
                           (64 + 4 * std::log2(static_cast<double>(hidden)) - 9));
  s.head_dim = 128;
  s.heads = s.kv_heads = std::max<int64_t>(1, hidden / 128);
  s.ffn = 4 * hidden;
  s.vocab = setting.vocab;
  s.seq_len = setting.seq_len;
  return s;
}

TransformerOptions ModelOptions() {
  TransformerOptions options;
  options.rms_norm_eps = 1e-5;
  options.rope_theta = 500000;
  options.rope_scaling = {{"factor", 8},
                          {"low_freq_factor", 1},
                          {"high_freq_factor", 4},
                          {"original_max_position_embeddings", 8192}};
  return options;
}

}  // namespace

std::string Delphi::Summary() const {
  return "the published Delphi recipe (Qwen3 shapes, AdamH, WSD), 3e18 to 1e23 FLOPs, to the last "
         "digit";
}

std::vector<Constant> Delphi::Constants() const {
  return {
      {"reference_batch", 64, "B0, sequences; sweep script of the recipe"},
      {"reference_tokens", 2.5e9, "T0; as above"},
      {"adamh_lr", 0.0063,
       "eta0 at the reference, tuned at width 512 by a Gaussian-process search"},
      {"adam_lr", 0.000656, "eta0 of the Adam group, same search"},
      {"lr_token_exponent", 0.3, "measured on a small grid; Complete(d)P has 0.5"},
      {"lr_cap", 0.01, "both learning rates"},
      {"epsilon", 1.85e-8, "epsilon0, same search"},
      {"beta1", 0.9, "fixed"},
      {"beta2", 0.9999, "at the reference batch; constant half-life in tokens"},
      {"beta2_min", 0.9, "clip"},
      {"beta2_max", 0.9999, "clip"},
      {"clip_norm", 0.1, "global norm of each group's gradients"},
      {"z_loss", 1e-7, "IsoFLOP runs; the 1e21+ launcher passes none, the recipe keeps it"},
      {"nominal_steps", 65536, "batch = tokens / (nominal_steps * seq_len), up to a power of two"},
      {"min_batch", 8, "sequences; a shape that needs less is dropped"},
      {"max_batch", 8192, "sequences; a shape that needs more is dropped"},
      {"max_tokens_per_param", 250, "a shape above is dropped"},
      {"warmup", 0.1, "fraction of the steps"},
      {"decay", 0.2, "fraction of the steps, linear"},
      {"final_fraction", 0, "of the peak"},
      {"prior_coefficient", 0.026719627901911736, "A of D* = A C^alpha, official fit"},
      {"prior_exponent", 0.5800829529762268, "alpha, official fit"},
  };
}

double DelphiParamCap(double flops) {
  return std::min(std::max(12e9, 12e9 * std::sqrt(flops / 3e20)), 1e12);
}

absl::StatusOr<CandidateList> Delphi::Candidates(const Budget& budget,
                                                 const Setting& raw_setting) const {
  RETURN_IF_ERROR(CheckTrainingFlops(budget, Name()));
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  const double flops = budget.amount, cap = DelphiParamCap(flops);
  const int64_t step = flops <= 2e19 ? 128 : 256;
  const int64_t min_batch = std::max<int64_t>(1, k.Int("min_batch")),
                max_batch = k.Int("max_batch");
  CandidateList list;
  auto reject = [&list](int64_t hidden, std::string reason) {
    list.rejections.push_back({hidden, std::move(reason)});
  };
  for (int64_t hidden = 512; hidden < 131072; hidden += step) {
    const TransformerShape shape = ShapeForWidth(hidden, setting);
    const ParamCounts counts = CountParams(shape);
    const double rule_params = static_cast<double>(counts.WithoutQkNorm());
    if (rule_params > cap) {
      reject(hidden, fmt::format("{} params are over the cap of {} at this budget, as is every "
                                 "wider shape",
                                 core::FormatCount(rule_params), core::FormatCount(cap)));
      break;
    }
    const double tokens = flops / (3 * DelphiForwardFlops(shape));
    if (tokens / rule_params > k["max_tokens_per_param"]) {
      reject(hidden, fmt::format("{:.4g} tokens a param, over {:g}", tokens / rule_params,
                                 k["max_tokens_per_param"]));
      continue;
    }
    int64_t batch =
        PowerOfTwoAtLeast(tokens / (k["nominal_steps"] * static_cast<double>(setting.seq_len)));
    std::vector<std::string> clamps;
    while (batch > min_batch) {
      const AdamHValues v = Transfer(k, static_cast<double>(batch), tokens);
      if (v.adamh_lr < k["lr_cap"] && v.adam_lr < k["lr_cap"] && v.beta2 > k["beta2_min"]) break;
      batch /= 2;
      if (clamps.empty()) clamps.push_back("lr_cap");
    }
    if (batch < min_batch || batch > max_batch) {
      reject(hidden, fmt::format("{} tokens need a batch of {} sequences, outside {} to {}",
                                 core::FormatCount(tokens), batch, min_batch, max_batch));
      continue;
    }
    Candidate c;
    c.budget = budget;
    c.hidden = hidden;
    c.model = MakeTransformerSpec(shape, ModelOptions());
    c.params = counts.Total();
    c.params_no_qk_norm = counts.WithoutQkNorm();
    c.params_no_embedding = counts.WithoutEmbedding();
    c.tokens_exact = tokens;
    c.batch = batch;
    c.steps = RoundHalfEven(tokens / static_cast<double>(setting.seq_len * batch));
    c.tokens = setting.seq_len * batch * c.steps;
    c.clamps = std::move(clamps);
    list.candidates.push_back(std::move(c));
  }
  if (list.candidates.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "recipe delphi has no candidate at {} FLOPs: its smallest model (width 512, batch {} "
        "sequences of {} tokens for {} steps) needs about 1e18; use delphi-nano below that",
        core::FormatFlops(flops), min_batch, setting.seq_len, k.Int("nominal_steps") / 2));
  }
  return list;
}

absl::StatusOr<Plan> Delphi::MakePlan(const Candidate& candidate, const Setting& raw_setting,
                                      std::optional<int64_t> batch_override) const {
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  ASSIGN_OR_RETURN(const TransformerShape shape, ShapeOf(candidate.model));
  ASSIGN_OR_RETURN(const RunLength run, ResolveRun(candidate, setting.seq_len, batch_override));
  Plan plan =
      CommonPlan(*this, k.VersionOf(Version()), candidate, setting, shape, run, "bf16-mixed");
  plan.optimizer = AdamHGroups(Transfer(k, static_cast<double>(run.batch), run.rule_tokens));
  plan.schedule = WsdSchedule(run.steps, k["warmup"], k["decay"], k["final_fraction"]);
  plan.init = AdamHInit();
  plan.z_loss_weight = k["z_loss"];
  return plan;
}

absl::StatusOr<double> Delphi::ForwardFlopsPerToken(const ModelSpec& model, int64_t seq_len) const {
  ASSIGN_OR_RETURN(TransformerShape shape, ShapeOf(model));
  shape.seq_len = seq_len;
  return DelphiForwardFlops(shape);
}

absl::StatusOr<double> Delphi::PriorOptimalTokens(double flops, const Setting& setting) const {
  RETURN_IF_ERROR(CheckTrainingFlops({"training_flops", flops}, Name()));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  return k["prior_coefficient"] * std::pow(flops, k["prior_exponent"]);
}

}  // namespace recipes
