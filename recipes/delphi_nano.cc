#include "recipes/delphi_nano.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "recipes/constants.h"
#include "recipes/grid.h"
#include "recipes/rules.h"

namespace recipes {
namespace {

struct Transferred {
  AdamHValues values;
  std::vector<std::string> clamps;
};

// By rule, before any cap. batch_tokens = sequences * seq_len.
AdamHValues Rule(const ConstantSet& k, double batch_tokens, double tokens) {
  const double b0 = k["reference_batch_tokens"], t0 = k["reference_tokens"];
  AdamHValues v;
  v.adamh_lr =
      k["adamh_lr"] * std::sqrt(batch_tokens / b0) * std::pow(t0 / tokens, k["lr_token_exponent"]);
  v.adam_lr = k["adam_lr"] * std::sqrt((batch_tokens * t0) / (b0 * tokens));
  v.beta1 = k["beta1"];
  v.beta2 = std::pow(k["beta2"], batch_tokens / b0);
  v.epsilon = k["epsilon"] * std::sqrt((b0 * tokens) / (batch_tokens * t0));
  v.clip_norm = k["clip_norm"];
  return v;
}

Transferred Transfer(const ConstantSet& k, double batch_tokens, double tokens, int64_t steps) {
  Transferred t;
  AdamHValues& v = t.values;
  v = Rule(k, batch_tokens, tokens);
  if (v.adamh_lr > k["lr_cap"] || v.adam_lr > k["lr_cap"]) t.clamps.push_back("lr_cap");
  v.adamh_lr = std::min(k["lr_cap"], v.adamh_lr);
  v.adam_lr = std::min(k["lr_cap"], v.adam_lr);
  v.beta2 = std::clamp(v.beta2, k["beta2_min"], k["beta2_max"]);
  const double longest = 1 - 1 / std::max(1.0, k["beta2_window"] * static_cast<double>(steps));
  if (v.beta2 > longest) t.clamps.push_back("beta2_steps");
  v.beta2 = std::min(v.beta2, longest);
  return t;
}

BatchLimit DelphiBatchLimit(const ConstantSet& k, const Setting& setting) {
  return [k, seq_len = static_cast<double>(setting.seq_len)](int64_t batch,
                                                             double tokens) -> std::string {
    const AdamHValues v = Rule(k, static_cast<double>(batch) * seq_len, tokens);
    if (v.adamh_lr >= k["lr_cap"] || v.adam_lr >= k["lr_cap"]) return "lr_cap";
    if (v.beta2 <= k["beta2_min"]) return "batch_max";
    return "";
  };
}

}  // namespace

std::string DelphiNano::Summary() const {
  return "Delphi's rules with constants of their own for 1e11 to 1e18 FLOPs (v1)";
}

std::vector<Constant> DelphiNano::Constants() const {
  // Frozen on 2026-11-22 by the search that recipes/delphi_nano.md records. "reference" below is
  // its point: width 40 at 1e12 FLOPs, 4 sequences of 256, 1,435 steps.
  std::vector<Constant> table = {
      {"reference_batch_tokens", 1024, "B0: batch of the reference run"},
      {"reference_tokens", 1469440, "T0: tokens of the reference run"},
      {"adamh_lr", 0.007, "at the reference; search of 96 points"},
      {"adam_lr", 0.05, "at the reference; search of 96 points, flat from 0.03 to 0.1"},
      {"lr_token_exponent", 0.3, "Delphi; optima at 1e11 and 1e13 agree within a third"},
      {"lr_cap", 0.1, "both learning rates; bites nowhere below 1e16"},
      {"epsilon", 1.85e-8, "Delphi"},
      {"beta1", 0.9, "Delphi; 0.85 and 0.95 were no better at the reference"},
      {"beta2", 0.9985, "at B0; the window below decides at small batches"},
      {"beta2_min", 0.9, "Delphi; also bounds the batch, as there"},
      {"beta2_max", 0.9999, "Delphi"},
      {"beta2_window", 0.05,
       "1 / (1 - beta2) is at most this share of the steps; search: 0.03 to 0.1 flat"},
      {"clip_norm", 0.3, "global norm of each group's gradients; search: flat from 0.1 to 0.7"},
      {"z_loss", 1e-7, "Delphi"},
      {"rope_theta", 10000, "the usual base for contexts up to 2,048"},
      {"warmup", 0.1, "Delphi"},
      {"decay", 0.2, "Delphi"},
      {"final_fraction", 0, "Delphi"},
  };
  for (Constant& constant : GridConstants()) table.push_back(std::move(constant));
  return table;
}

absl::StatusOr<CandidateList> DelphiNano::Candidates(const Budget& budget,
                                                     const Setting& raw_setting) const {
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  TransformerOptions options;
  options.rope_theta = k["rope_theta"];
  return GridCandidates(
      *this, k, budget, setting, [&options](const TransformerShape&) { return options; },
      DelphiBatchLimit(k, setting));
}

absl::StatusOr<Plan> DelphiNano::MakePlan(const Candidate& candidate, const Setting& raw_setting,
                                          std::optional<int64_t> batch_override) const {
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  ASSIGN_OR_RETURN(const TransformerShape shape, ShapeOf(candidate.model));
  ASSIGN_OR_RETURN(const RunLength run, ResolveRun(candidate, setting.seq_len, batch_override));
  Plan plan = CommonPlan(*this, k.VersionOf(Version()), candidate, setting, shape, run, "f32");
  const Transferred transferred =
      Transfer(k, static_cast<double>(run.batch * setting.seq_len), run.rule_tokens, run.steps);
  for (const std::string& clamp : transferred.clamps) {
    if (std::find(plan.clamps.begin(), plan.clamps.end(), clamp) == plan.clamps.end())
      plan.clamps.push_back(clamp);
  }
  plan.optimizer = AdamHGroups(transferred.values);
  plan.schedule = WsdSchedule(run.steps, k["warmup"], k["decay"], k["final_fraction"]);
  plan.init = AdamHInit();
  plan.z_loss_weight = k["z_loss"];
  return plan;
}

absl::StatusOr<double> DelphiNano::ForwardFlopsPerToken(const ModelSpec& model,
                                                        int64_t seq_len) const {
  ASSIGN_OR_RETURN(TransformerShape shape, ShapeOf(model));
  shape.seq_len = seq_len;
  return DelphiForwardFlops(shape);
}

absl::StatusOr<double> DelphiNano::PriorOptimalTokens(double flops,
                                                      const Setting& raw_setting) const {
  RETURN_IF_ERROR(CheckTrainingFlops({"training_flops", flops}, Name()));
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  return GridPriorTokens(k, flops, setting);
}

}  // namespace recipes
