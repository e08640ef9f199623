#include "sweepctl/trial_rows.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/units.h"
#include "fmt/format.h"
#include "recipes/transformer_shape.h"
#include "sweeps/estimate.h"

namespace sweepctl {
namespace {

using core::Json;

const recipes::OptimizerGroup* GroupOf(const recipes::Plan& plan, const std::string& role) {
  for (const recipes::OptimizerGroup& group : plan.optimizer) {
    if (std::find(group.roles.begin(), group.roles.end(), role) != group.roles.end()) return &group;
  }
  return nullptr;
}

Json Epochs(const recipes::Plan& plan) {
  double most = 0;
  for (const double epochs : sweeps::EpochsOfSources(plan)) {
    if (std::isnan(epochs)) return Json();
    most = std::max(most, epochs);
  }
  return plan.data.sources.empty() ? Json() : Json(most);
}

// By source; null where it is not prepared.
Json SourceEpochs(const recipes::Plan& plan) {
  Json by_name = Json::object();
  const std::vector<double> epochs = sweeps::EpochsOfSources(plan);
  for (size_t i = 0; i < epochs.size(); ++i)
    by_name[plan.data.sources[i].name] = std::isnan(epochs[i]) ? Json() : Json(epochs[i]);
  return by_name;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

}  // namespace

Json TrialJson(const sweeps::PlannedTrial& trial) {
  const recipes::Plan& plan = trial.plan;
  Json row = {
      {"trial_id", trial.trial_id.empty() ? Json() : Json(trial.trial_id)},
      {"budget_flops", plan.budget.amount},
      {"recipe", plan.recipe},
      {"recipe_version", plan.recipe_version},
      {"family", plan.model.family},
      {"seq_len", plan.seq_len},
      {"params", plan.params},
      {"params_no_qk_norm", plan.params_no_qk_norm},
      {"params_no_embedding", plan.params_no_embedding},
      {"tokens", plan.tokens},
      {"tokens_per_param", static_cast<double>(plan.tokens) / static_cast<double>(plan.params)},
      {"batch", plan.batch},
      {"steps", plan.steps},
      {"flops", plan.recipe_flops},
      {"model_flops", plan.model_flops},
      {"warmup_steps", plan.schedule.warmup_steps},
      {"stable_steps", plan.schedule.stable_steps},
      {"decay_steps", plan.schedule.decay_steps},
      {"init_seed", plan.init_seed},
      {"data_seed", plan.data_seed},
      {"numerics", plan.numerics},
      {"epochs", Epochs(plan)},
      {"source_epochs", SourceEpochs(plan)},
      {"memory_bytes", std::llround(sweeps::EstimateMemoryBytes(plan))},
      {"clamps", plan.clamps}};
  if (const auto shape = recipes::ShapeOf(plan.model); shape.ok()) {
    row["hidden"] = shape->hidden;
    row["layers"] = shape->layers;
    row["heads"] = shape->heads;
    row["head_dim"] = shape->head_dim;
    row["ffn"] = shape->ffn;
    row["vocab"] = shape->vocab;
  }
  if (const auto* matrices = GroupOf(plan, "mlp"); matrices != nullptr) {
    row["lr"] = matrices->peak_lr;
    row["beta1"] = matrices->beta1;
    row["beta2"] = matrices->beta2;
    row["epsilon"] = matrices->epsilon;
  }
  if (const auto* embedding = GroupOf(plan, "embedding"); embedding != nullptr)
    row["adam_lr"] = embedding->peak_lr;
  return row;
}

Table TrialTable(const std::vector<sweeps::PlannedTrial>& trials) {
  // The order of CSV; columns without a title are for programs only.
  const bool known = !trials.empty() && !trials.front().trial_id.empty();
  const std::vector<Column> columns = {{"trial_id", known ? "trial" : "", true},
                                       {"budget_flops", "budget"},
                                       {"recipe", ""},
                                       {"recipe_version", ""},
                                       {"hidden", "width"},
                                       {"layers", "layers"},
                                       {"heads", "heads"},
                                       {"ffn", ""},
                                       {"vocab", ""},
                                       {"seq_len", ""},
                                       {"params", "params"},
                                       {"params_no_qk_norm", ""},
                                       {"tokens", "tokens"},
                                       {"tokens_per_param", "tok/param"},
                                       {"batch", "batch"},
                                       {"steps", "steps"},
                                       {"flops", ""},
                                       {"lr", "lr"},
                                       {"adam_lr", "adam lr"},
                                       {"beta2", ""},
                                       {"epsilon", ""},
                                       {"warmup_steps", ""},
                                       {"stable_steps", ""},
                                       {"decay_steps", ""},
                                       {"init_seed", ""},
                                       {"data_seed", "seed"},
                                       {"epochs", "epochs"},
                                       {"memory_bytes", "memory ~"},
                                       {"clamps", "flags", true}};
  Table table(columns);
  for (const sweeps::PlannedTrial& trial : trials) {
    const Json json = TrialJson(trial);
    std::vector<Cell> cells;
    for (const Column& column : columns) {
      Cell cell{json.value(column.key, Json()), ""};
      if (column.key == "trial_id" && known) cell.text = trial.trial_id.substr(0, 8);
      if (column.key == "budget_flops") cell.text = core::FormatFlops(trial.plan.budget.amount);
      if (column.key == "params" || column.key == "tokens")
        cell.text = core::FormatCount(cell.value.get<double>());
      if (column.key == "tokens_per_param" || column.key == "lr" || column.key == "adam_lr" ||
          (column.key == "epochs" && !cell.value.is_null()))
        cell.text = fmt::format("{:.3g}", cell.value.get<double>());
      if (column.key == "memory_bytes") cell.text = core::FormatBytes(cell.value.get<double>());
      if (column.key == "clamps") {
        std::vector<std::string> distorting;
        std::copy_if(trial.plan.clamps.begin(), trial.plan.clamps.end(),
                     std::back_inserter(distorting), recipes::Distorts);
        cell.text = distorting.empty() ? "-" : Joined(distorting);
      }
      cells.push_back(std::move(cell));
    }
    table.AddRow(std::move(cells));
  }
  return table;
}

}  // namespace sweepctl
