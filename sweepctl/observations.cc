#include "sweepctl/observations.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "recipes/plan.h"
#include "sweepctl/cli.h"

namespace sweepctl {
namespace {

fit::Observation ObservationOf(const orchestrator::ObservationRow& row) {
  fit::Observation o;
  o.flops = row.flops;
  o.params = row.params;
  o.tokens = row.tokens;
  o.loss = row.loss;
  o.budget_flops = row.budget_flops;
  o.params_no_embedding = row.params_no_embedding;
  o.unique_tokens = row.unique_tokens;
  o.hard = row.hard;
  o.seed = row.init_seed;
  o.id = row.trial_id;
  for (const std::string& clamp : row.clamps)
    if (recipes::Distorts(clamp)) o.clamps.push_back(clamp);
  o.cohort = {{"recipe", row.recipe},
              {"data", row.data},
              {"tokenizer", row.tokenizer},
              {"eval", row.eval_hash},
              {"seq_len", row.seq_len},
              {"metric", row.metric},
              {"flop_convention", row.flop_convention},
              {"n_convention", row.n_convention},
              {"numerics", row.numerics},
              {"schedule", row.schedule}};
  return o;
}

SweepObservations Sorted(const std::vector<orchestrator::ObservationRow>& rows) {
  SweepObservations out;
  for (const orchestrator::ObservationRow& row : rows)
    (row.stage == "target" ? out.targets : out.fitted).push_back(ObservationOf(row));
  return out;
}

// Takes bits per byte for the loss; the number of rows that have none.
int64_t UseBitsPerByte(std::vector<orchestrator::ObservationRow>& rows) {
  const size_t before = rows.size();
  rows.erase(std::remove_if(rows.begin(), rows.end(),
                            [](const auto& row) { return !row.bits_per_byte.has_value(); }),
             rows.end());
  for (orchestrator::ObservationRow& row : rows) {
    row.loss = *row.bits_per_byte;
    const size_t slash = row.metric.find('/');
    row.metric = "bits_per_byte" + (slash == std::string::npos ? "" : row.metric.substr(slash));
  }
  return static_cast<int64_t>(before - rows.size());
}

absl::Status CheckMetric(const orchestrator::ImportInfo& import, const std::string& metric) {
  if (std::find(import.metrics.begin(), import.metrics.end(), metric) != import.metrics.end())
    return absl::OkStatus();
  return UsageError(fmt::format("import {} has no metric '{}'{}; it has: {}", import.name, metric,
                                core::DidYouMean(metric, import.metrics),
                                fmt::join(import.metrics, ", ")));
}

absl::StatusOr<std::vector<orchestrator::ObservationRow>> ReadImport(
    orchestrator::Reader& reader, const orchestrator::ImportInfo& import,
    const CohortChoice& choice) {
  const std::string metric = choice.metric.empty() ? import.metrics[0] : choice.metric;
  RETURN_IF_ERROR(CheckMetric(import, metric));
  if (!choice.hard.empty()) {
    RETURN_IF_ERROR(CheckMetric(import, choice.hard));
    ASSIGN_OR_RETURN(const auto shares, reader.ImportedObservations(import.name, choice.hard));
    if (!shares.empty() && !shares[0].metric.ends_with("/accuracy"))
      return UsageError(fmt::format("--hard {}: {} is no accuracy", choice.hard, shares[0].metric));
  }
  ASSIGN_OR_RETURN(auto rows, reader.ImportedObservations(import.name, metric, choice.hard));
  if (!rows.empty() && rows[0].metric.ends_with("/accuracy"))
    return absl::FailedPreconditionError(
        fmt::format("metric {} is an accuracy: the laws here are of losses, which fall; choose one "
                    "of the import's losses, and look at accuracies with `sweepctl query`",
                    metric));
  return rows;
}

absl::Status Select(const std::vector<fit::Where>& wheres,
                    std::vector<fit::Observation>& observations, int64_t* left_out) {
  std::vector<std::string> keys = fit::CohortKeys();
  keys.insert(keys.end(), {"id", "seed"});
  std::map<std::string, std::set<std::string>> alternatives;
  for (const fit::Where& where : wheres) {
    if (std::find(keys.begin(), keys.end(), where.column) == keys.end())
      return UsageError(fmt::format("--where {}: no such key of a database{}; the keys are: {}",
                                    where.Text(), core::DidYouMean(where.column, keys),
                                    fmt::join(keys, ", ")));
    if (where.op == fit::Where::Op::kIs) alternatives[where.column].insert(where.text);
  }
  const auto text_of = [](const fit::Observation& o, const std::string& key) -> std::string {
    if (key == "id") return o.id;
    if (key == "seed") return std::to_string(o.seed);
    const auto value = o.cohort.find(key);
    return value == o.cohort.end() ? "" : value->second;
  };
  std::vector<fit::Observation> kept;
  for (fit::Observation& o : observations) {
    bool holds = true;
    for (const auto& [key, texts] : alternatives) holds = holds && texts.count(text_of(o, key)) > 0;
    for (const fit::Where& where : wheres) {
      if (where.op == fit::Where::Op::kIs) continue;
      const auto one = where.Holds(text_of(o, where.column));
      if (!one.ok()) return UsageError(std::string(one.status().message()));
      holds = holds && *one;
    }
    if (holds) {
      kept.push_back(std::move(o));
    } else {
      ++*left_out;
    }
  }
  observations = std::move(kept);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SweepObservations> ObservationsOf(orchestrator::Reader& reader,
                                                 const std::string& sweep) {
  ASSIGN_OR_RETURN(const std::vector<orchestrator::ObservationRow> rows,
                   reader.Observations(sweep));
  return Sorted(rows);
}

absl::StatusOr<ChosenCohort> ReadCohort(orchestrator::Reader& reader, const CohortChoice& choice) {
  ASSIGN_OR_RETURN(const std::vector<orchestrator::SweepInfo> sweeps, reader.Sweeps());
  ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader.Imports());
  std::vector<std::string> names;
  for (const orchestrator::SweepInfo& sweep : sweeps) names.push_back(sweep.sweep);
  for (const orchestrator::ImportInfo& import : imports) names.push_back(import.name);
  if (names.empty())
    return absl::FailedPreconditionError(
        "the database holds no sweep and no import; start with `sweepctl launch SWEEP.yaml` or "
        "`sweepctl import --map NAME FILE`");
  if (choice.name.empty() && names.size() > 1)
    return UsageError(fmt::format("the database holds {} {}, name one: {}", names.size(),
                                  imports.empty() ? "sweeps" : "sweeps and imports",
                                  fmt::join(names, ", ")));
  ChosenCohort chosen;
  chosen.name = choice.name.empty() ? names[0] : choice.name;
  if (std::find(names.begin(), names.end(), chosen.name) == names.end())
    return absl::NotFoundError(fmt::format("neither a sweep nor an import is called '{}'{}",
                                           chosen.name, core::DidYouMean(chosen.name, names)));
  std::vector<orchestrator::ObservationRow> rows;
  for (const orchestrator::ImportInfo& import : imports) {
    if (import.name != chosen.name) continue;
    chosen.imported = true;
    ASSIGN_OR_RETURN(const auto losses,
                     reader.Rows("SELECT DISTINCT metric FROM v_imported_values WHERE sweep=?1 AND "
                                 "unit<>'accuracy' AND NOT is_default",
                                 import.name));
    for (const core::Json& loss : losses)
      chosen.metrics += (chosen.metrics.empty() ? "" : ", ") + loss["metric"].get<std::string>();
    ASSIGN_OR_RETURN(rows, ReadImport(reader, import, choice));
    if (const auto missing = import.runs - static_cast<int64_t>(rows.size()); missing > 0)
      chosen.excluded.push_back({"runs without the metric " + choice.metric, missing});
  }
  if (!chosen.imported && !choice.hard.empty())
    return UsageError(fmt::format("--hard: the trials of sweep {} have no scores", chosen.name));
  if (!chosen.imported) {
    ASSIGN_OR_RETURN(rows, reader.Observations(chosen.name));
    if (choice.metric == "bits_per_byte") {
      if (const int64_t missing = UseBitsPerByte(rows); missing > 0)
        chosen.excluded.push_back({"trials without bits per byte", missing});
    } else if (!choice.metric.empty() && choice.metric != "loss") {
      return UsageError(
          fmt::format("--metric {}: sweep {} has loss (nats per token) and bits_per_byte",
                      choice.metric, chosen.name));
    }
  }
  chosen.observations = Sorted(rows);
  int64_t left_out = 0, targets_left_out = 0;
  RETURN_IF_ERROR(Select(choice.where, chosen.observations.fitted, &left_out));
  RETURN_IF_ERROR(Select(choice.where, chosen.observations.targets, &targets_left_out));
  if (left_out > 0) {
    std::string text;
    for (const fit::Where& where : choice.where) text += " --where " + where.Text();
    chosen.excluded.push_back({"not selected by" + text, left_out});
  }
  return chosen;
}

}  // namespace sweepctl
