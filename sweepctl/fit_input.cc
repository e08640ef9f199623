#include "sweepctl/fit_input.h"

#include <algorithm>
#include <map>

#include "core/status_macros.h"
#include "fmt/format.h"
#include "recipes/transformer_shape.h"
#include "sweepctl/cli.h"
#include "sweeps/expand.h"

namespace sweepctl {

absl::StatusOr<double> SpentFlops(orchestrator::Reader& reader, const std::string& sweep,
                                  bool with_targets) {
  ASSIGN_OR_RETURN(
      const std::vector<core::Json> rows,
      reader.Rows(fmt::format("SELECT coalesce(sum(flops), 0.0) AS flops FROM v_attempts WHERE "
                              "trial_id IN (SELECT trial_id FROM v_trials WHERE sweep=?1{})",
                              with_targets ? "" : " AND stage='fit'"),
                  sweep));
  return rows[0]["flops"].get<double>();
}

absl::StatusOr<std::pair<std::string, std::string>> KeyValue(const std::string& text,
                                                             std::string_view option) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return UsageError(fmt::format("{} takes NAME=VALUE, not '{}'", option, text));
  return std::make_pair(text.substr(0, equals), text.substr(equals + 1));
}

absl::StatusOr<fit::Where> WhereOf(const std::string& text) {
  auto where = fit::ParseWhere(text);
  if (!where.ok()) return UsageError(std::string(where.status().message()));
  return where;
}

std::vector<fit::KnownFlops> KnownFlopsOf(const recipes::Recipe& recipe,
                                          const recipes::Setting& setting, double smallest_flops,
                                          double largest_flops) {
  std::map<int64_t, fit::KnownFlops> models;
  constexpr double kStep = 2;
  for (double flops = smallest_flops;; flops = std::min(flops * kStep, largest_flops)) {
    recipes::Budget budget;
    budget.amount = flops;
    const auto list = recipe.Candidates(budget, setting);
    if (list.ok())
      for (const recipes::Candidate& c : list->candidates)
        models[c.params] = {static_cast<double>(c.params),
                            static_cast<double>(c.params_no_embedding), flops / c.tokens_exact};
    if (!(flops < largest_flops)) break;
  }
  std::vector<fit::KnownFlops> known;
  for (const auto& [params, model] : models) known.push_back(model);
  return known;
}

absl::StatusOr<recipes::Plan> TargetChooser::Choose(double budget_flops,
                                                    double optimal_tokens) const {
  return sweeps::ChooseTarget(*recipe, budget_flops, optimal_tokens, setting);
}

absl::StatusOr<TargetChooser> TargetChooserOf(orchestrator::Reader& reader,
                                              const orchestrator::SweepInfo& sweep) {
  ASSIGN_OR_RETURN(const sweeps::SweepFile file,
                   sweeps::ParseSweepFile(sweep.sweep_file, "the stored sweep file"));
  ASSIGN_OR_RETURN(const std::vector<core::Json> rows,
                   reader.Rows("SELECT trial_id FROM v_trials WHERE sweep=?1 AND stage='fit' "
                               "ORDER BY position LIMIT 1",
                               sweep.sweep));
  if (rows.empty())
    return absl::FailedPreconditionError(fmt::format("sweep {} has no trial", sweep.sweep));
  ASSIGN_OR_RETURN(const std::string bytes, reader.Plan(rows[0]["trial_id"].get<std::string>()));
  ASSIGN_OR_RETURN(const recipes::Plan plan, recipes::ParsePlan(bytes));
  TargetChooser chooser;
  ASSIGN_OR_RETURN(chooser.recipe, recipes::FindRecipe(file.recipe));
  if (plan.recipe != chooser.recipe->Name() || plan.recipe_version != chooser.recipe->Version()) {
    return absl::FailedPreconditionError(
        fmt::format("the trials are of recipe {} {}, this sweepctl has {} {}", plan.recipe,
                    plan.recipe_version, chooser.recipe->Name(), chooser.recipe->Version()));
  }
  sweeps::ExpandOptions prepared;
  prepared.data = plan.data;
  chooser.setting = sweeps::SettingOf(file, prepared);
  // A tokenizer model's size is known only once it has been read.
  ASSIGN_OR_RETURN(const recipes::TransformerShape shape, recipes::ShapeOf(plan.model));
  chooser.setting.vocab = shape.vocab;
  chooser.setting.seq_len = plan.seq_len;
  chooser.setting.numerics = plan.numerics;
  return chooser;
}

}  // namespace sweepctl
