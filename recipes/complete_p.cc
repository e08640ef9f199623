#include "recipes/complete_p.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "recipes/constants.h"
#include "recipes/grid.h"
#include "recipes/rules.h"

namespace recipes {
namespace {

struct Multipliers {
  double width = 1, depth = 1, batch = 1, tokens = 1;
};

// One row of the table in complete_p.h.
struct Factors {
  const char* role;
  double init_variance, lr, epsilon, decay;
};

std::vector<Factors> Table(const Multipliers& m, double alpha) {
  const double q = std::sqrt(m.batch / m.tokens), inverse_q = std::sqrt(m.tokens / m.batch);
  const double n = m.width, hidden_lr = std::pow(m.depth, alpha - 1),
               hidden_epsilon = std::pow(m.depth, -alpha);
  return {
      {"embedding", 1, q, inverse_q / n, q},
      {"attention", 1 / n, hidden_lr * q / n, hidden_epsilon * inverse_q / n, n * q},
      {"mlp", 1 / n, hidden_lr * q / n, hidden_epsilon * inverse_q / n, n * q},
      {"norm", 1, hidden_lr * q, hidden_epsilon * inverse_q / n, q},
      {"qk_norm", 1, hidden_lr * q, hidden_epsilon * inverse_q, q},
      {"final_norm", 1, q, inverse_q, q},
      {"head", 1 / (n * n), q / n, inverse_q, n * q},
  };
}

bool IsGain(const std::string& role) { return role.find("norm") != std::string::npos; }

}  // namespace

std::string CompleteP::Summary() const {
  return "Complete(d)P with AdamW and cosine: per-group width, depth, batch and duration factors; "
         "reference untuned (v0)";
}

std::vector<Constant> CompleteP::Constants() const {
  std::vector<Constant> table = {
      {"reference_width", 256, "H0; CompleteP's proxy width (arXiv 2505.01618)"},
      {"reference_layers", 2, "L0; CompleteP's proxy depth"},
      {"reference_batch_tokens", 16384, "B0; provisional"},
      {"reference_tokens", 32e6, "T0: about 2,000 steps at B0; provisional"},
      {"alpha", 1, "depth exponent; 1 is CompleteP"},
      {"lr", 0.00390625, "2^-8 at the reference; provisional"},
      {"init_std", 0.02, "embedding, hidden and head at the reference; provisional"},
      {"epsilon", 1e-12, "at the reference; provisional"},
      {"weight_decay", 0.1, "of matrices and embedding at the reference; gains have none"},
      {"beta1", 0.9, "at the reference"},
      {"beta2", 0.95, "at the reference"},
      {"beta_min", 0.5, "floor of both betas for runs far shorter than the reference"},
      {"clip_norm", 1, "global norm of each group's gradients"},
      {"z_loss", 0, "none"},
      {"rope_theta", 10000, "the usual base for contexts up to 2,048"},
      {"warmup", 0.1, "fraction of the steps"},
      {"final_fraction", 0, "of the peak"},
  };
  for (Constant& constant : GridConstants()) table.push_back(std::move(constant));
  return table;
}

absl::StatusOr<CandidateList> CompleteP::Candidates(const Budget& budget,
                                                    const Setting& raw_setting) const {
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  return GridCandidates(
      *this, k, budget, setting,
      [&k](const TransformerShape& shape) {
        TransformerOptions options;
        options.rope_theta = k["rope_theta"];
        options.residual_multiplier =
            std::pow(static_cast<double>(shape.layers) / k["reference_layers"], -k["alpha"]);
        return options;
      },
      nullptr);
}

absl::StatusOr<Plan> CompleteP::MakePlan(const Candidate& candidate, const Setting& raw_setting,
                                         std::optional<int64_t> batch_override) const {
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  ASSIGN_OR_RETURN(const TransformerShape shape, ShapeOf(candidate.model));
  ASSIGN_OR_RETURN(const RunLength run, ResolveRun(candidate, setting.seq_len, batch_override));
  Plan plan = CommonPlan(*this, k.VersionOf(Version()), candidate, setting, shape, run, "f32");

  Multipliers m;
  m.width = static_cast<double>(shape.hidden) / k["reference_width"];
  m.depth = static_cast<double>(shape.layers) / k["reference_layers"];
  m.batch = static_cast<double>(run.batch * setting.seq_len) / k["reference_batch_tokens"];
  m.tokens = run.rule_tokens / k["reference_tokens"];
  const double forget = m.batch / m.tokens;
  const double beta1 = 1 - (1 - k["beta1"]) * forget, beta2 = 1 - (1 - k["beta2"]) * forget;
  if (std::min(beta1, beta2) < k["beta_min"]) plan.clamps.push_back("beta_floor");

  for (const Factors& row : Table(m, k["alpha"])) {
    OptimizerGroup group;
    group.name = row.role;
    group.algorithm = "adamw";
    group.roles = {row.role};
    group.peak_lr = k["lr"] * row.lr;
    group.beta1 = std::max(beta1, k["beta_min"]);
    group.beta2 = std::max(beta2, k["beta_min"]);
    group.epsilon = k["epsilon"] * row.epsilon;
    group.weight_decay = IsGain(row.role) ? 0 : k["weight_decay"] * row.decay;
    group.clip_norm = k["clip_norm"];
    plan.optimizer.push_back(group);

    InitRule init;
    init.role = row.role;
    init.distribution = IsGain(row.role) ? "constant" : "truncated_normal";
    init.std = IsGain(row.role) ? 1 : k["init_std"] * std::sqrt(row.init_variance);
    plan.init.push_back(init);
  }
  plan.schedule = WsdSchedule(run.steps, k["warmup"], 1, k["final_fraction"]);
  plan.schedule.kind = "cosine";
  plan.schedule.decay_steps = run.steps - plan.schedule.warmup_steps;
  plan.schedule.stable_steps = 0;
  plan.z_loss_weight = k["z_loss"];
  return plan;
}

absl::StatusOr<double> CompleteP::ForwardFlopsPerToken(const ModelSpec& model,
                                                       int64_t seq_len) const {
  ASSIGN_OR_RETURN(TransformerShape shape, ShapeOf(model));
  shape.seq_len = seq_len;
  return DelphiForwardFlops(shape);
}

absl::StatusOr<double> CompleteP::PriorOptimalTokens(double flops,
                                                     const Setting& raw_setting) const {
  RETURN_IF_ERROR(CheckTrainingFlops({"training_flops", flops}, Name()));
  ASSIGN_OR_RETURN(const Setting setting, ResolveSetting(raw_setting, *this));
  ASSIGN_OR_RETURN(const ConstantSet k, ConstantSet::Make(Constants(), setting.constants));
  return GridPriorTokens(k, flops, setting);
}

}  // namespace recipes
