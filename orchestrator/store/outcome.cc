#include "orchestrator/store/outcome.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "core/flops_doubt.h"
#include "core/loss_doubt.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "orchestrator/store/history.h"

namespace orchestrator {
namespace {

// A run elsewhere is the target of a forecast when its size is within this factor of the optimum
// that was forecast; the loss of such a model is flat.
constexpr double kSameSize = 1.25;
// Sizes within this ratio are one model.
constexpr double kSameModel = 0.01;

// A run within these ratios of the budget's FLOPs, or of the promised params and tokens, may be the
// target that missed its budget.
constexpr double kNearFlops = 0.2, kNearSize = 0.02;

// What was promised.
struct Promised {
  double budget_flops = 0, params = 0, tokens = 0;
  std::string metric, unit;  // "loss/nats_per_token" and its last part
  std::map<std::string, std::string> cohort;
  std::set<std::tuple<double, double, double>> fitted;  // FLOPs, params, tokens of its runs
};

absl::StatusOr<Promised> ReadPromise(Database* db, int64_t forecast_id) {
  Promised promised;
  {
    ASSIGN_OR_RETURN(Statement row,
                     db->Prepare("SELECT budget_flops, target_params, metric, target_tokens, "
                                 "observations_json FROM "
                                 "forecasts WHERE forecast_id=?1",
                                 forecast_id));
    ASSIGN_OR_RETURN(const bool found, row.Step());
    if (!found) return absl::InternalError(fmt::format("no forecast {}", forecast_id));
    promised.budget_flops = row.Double(0), promised.params = row.Double(1);
    promised.metric = row.Text(2), promised.tokens = row.Double(3);
    const auto number = [](const core::Json& run, const char* key) {
      return run.is_object() && run.contains(key) && run[key].is_number() ? run[key].get<double>()
                                                                          : 0.0;
    };
    // Damaged, it names no run; the audit says so.
    if (const auto runs = core::ParseJson(row.Text(4), "runs of a forecast"); runs.ok())
      for (const core::Json& run : *runs)
        promised.fitted.emplace(number(run, "flops"), number(run, "params"), number(run, "tokens"));
    promised.unit = promised.metric.substr(promised.metric.rfind('/') + 1);
  }
  ASSIGN_OR_RETURN(
      Statement rows,
      db->Prepare("SELECT c.key, c.value FROM forecasts f, json_each(CASE WHEN "
                  "json_valid(f.record_json) THEN f.record_json ELSE '{}' END, '$.cohort') c "
                  "WHERE f.forecast_id=?1 AND c.type='text'",
                  forecast_id));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return promised;
    promised.cohort[rows.Text(0)] = rows.Text(1);
  }
}

struct Candidate {
  OutcomeRow row;
  std::string metric, unit;
  std::map<std::string, std::string> labels;
  bool IsMetric(const Promised& promised) const { return metric + "/" + unit == promised.metric; }
};

// Every value in the promised unit of every run near the FLOPs, the nominal budget or the size.
absl::StatusOr<std::vector<Candidate>> Candidates(Database* db, const Promised& promised) {
  static const char* const kLabels[] = {"recipe",          "data",         "tokenizer",
                                        "seq_len",         "numerics",     "schedule",
                                        "flop_convention", "n_convention", "eval"};
  constexpr int kFirstLabel = 13;
  ASSIGN_OR_RETURN(
      Statement rows,
      db->Prepare(R"sql(SELECT i.name, i.source_hash, i.content_hash, r.run, r.source_row, r.flops,
          r.params, r.tokens, v.value, coalesce(r.budget_flops, 0), r.stage='target', m.metric,
          m.unit, r.recipe, r.data, r.tokenizer, r.seq_len, r.numerics, r.schedule,
          r.flop_convention, r.n_convention, m.eval
        FROM imported_runs r JOIN imports i USING(import_key)
        CROSS JOIN imported_values v USING(import_key, source_row)
        JOIN imported_metrics m ON m.import_key=v.import_key AND m.metric=v.metric
        WHERE m.unit=?3 AND v.value > 0 AND (abs(r.flops-?1) <= ?2*?1
          OR abs(r.budget_flops-?1) <= ?2*?1
          OR (abs(r.params-?4) <= ?6*?4 AND abs(r.tokens-?5) <= ?6*?5))
        ORDER BY i.name, r.source_row, m.position)sql",
                  promised.budget_flops, kNearFlops, promised.unit, promised.params,
                  promised.tokens, kNearSize));
  std::vector<Candidate> found;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return found;
    Candidate& one = found.emplace_back();
    OutcomeRow& out = one.row;
    out.import = rows.Text(0), out.source_hash = rows.Text(1), out.content_hash = rows.Text(2);
    out.run = rows.Text(3), out.source_row = rows.Int(4);
    out.flops = rows.Double(5), out.params = rows.Double(6), out.tokens = rows.Double(7);
    out.value = rows.Double(8), out.budget_flops = rows.Double(9), out.outcome = rows.Int(10) != 0;
    one.metric = rows.Text(11), one.unit = rows.Text(12);
    for (size_t k = 0; k < std::size(kLabels); ++k)
      one.labels[kLabels[k]] = rows.Text(kFirstLabel + static_cast<int>(k));
    out.flop_convention = one.labels["flop_convention"];
  }
}

// In what a candidate differs, for people: nothing, it is an outcome; nullopt, it is another run
// altogether.
std::optional<std::vector<std::string>> Differences(const Candidate& candidate,
                                                    const Promised& promised) {
  std::vector<std::string> differ;
  int other_labels = 0;
  for (const auto& [key, value] : candidate.labels) {
    const auto wanted = promised.cohort.find(key);
    if (wanted == promised.cohort.end() || wanted->second == value) continue;
    other_labels += value != "unknown" && key != "eval";
    differ.push_back(fmt::format("{} is {}, not {}", key, value, wanted->second));
  }
  if (!candidate.IsMetric(promised))
    differ.push_back(fmt::format("it is metric {}/{}, not {}", candidate.metric, candidate.unit,
                                 promised.metric));
  const OutcomeRow& row = candidate.row;
  const auto off = [&](double flops) {
    return std::fabs(flops - promised.budget_flops) > kSameBudget * promised.budget_flops;
  };
  if (off(row.flops) && (off(row.budget_flops) || !(row.budget_flops > 0)))
    differ.push_back(fmt::format("it has {:.4g} FLOPs, and {:.4g} within 1 % were promised",
                                 row.flops, promised.budget_flops));
  else if (off(row.budget_flops) && row.budget_flops > 0)
    differ.push_back(fmt::format("its nominal budget is {} FLOPs, not {}",
                                 core::FormatFlops(row.budget_flops),
                                 core::FormatFlops(promised.budget_flops)));
  if (!(row.params >= promised.params / kSameSize && row.params <= promised.params * kSameSize))
    differ.push_back(fmt::format("it has {} params, and {} within 25 % were promised",
                                 core::FormatCount(row.params),
                                 core::FormatCount(promised.params)));
  // Another cohort's run, unless all else is as promised: then a label may be wrong.
  if (other_labels > 0 && differ.size() > 1) return std::nullopt;
  return differ;
}

double SizeOff(const OutcomeRow& row, const Promised& promised) {
  return std::fabs(std::log(row.params / promised.params));
}

// Which rows the score rests on. REQUIRES: rows not empty, values > 0.
void Count(const Promised& promised, ImportedOutcome& found) {
  const bool targets = std::any_of(found.rows.begin(), found.rows.end(),
                                   [](const OutcomeRow& row) { return row.outcome; });
  const OutcomeRow* nearest = nullptr;
  for (const OutcomeRow& row : found.rows)
    if (row.outcome == targets &&
        (nearest == nullptr || SizeOff(row, promised) < SizeOff(*nearest, promised)))
      nearest = &row;
  const double params = nearest->params;
  std::set<std::tuple<double, double, double, double>> seen;  // one run under several names
  double sum = 0;
  found.lo = found.hi = found.rows.front().value;
  for (OutcomeRow& row : found.rows) {
    found.lo = std::min(found.lo, row.value);
    found.hi = std::max(found.hi, row.value);
    if (row.outcome != targets || std::fabs(row.params / params - 1) > kSameModel) continue;
    row.counted = seen.emplace(row.flops, row.params, row.tokens, row.value).second;
    if (row.counted) sum += std::log(row.value);
  }
  // One run's value stays what it is, to the last digit.
  found.value = seen.size() == 1 ? std::get<3>(*seen.begin())
                                 : std::exp(sum / static_cast<double>(seen.size()));
}

std::string RowText(const OutcomeRow& row) {
  return fmt::format("row {} of import {} ({})", row.source_row, row.import, row.run);
}

// Why the row can be no outcome; "" when it can.
std::string DoubtOf(const OutcomeRow& row, const std::string& unit) {
  // A loss of natural language, in any base; a share may be as small as it likes.
  constexpr double kLeastLoss = 1e-3, kMostLoss = 100;
  constexpr double kNominal = 0.1;
  if (unit != "error" && (row.value < kLeastLoss || row.value > kMostLoss))
    return fmt::format("{:.3g} {} is the loss of no model", row.value, unit);
  if (const std::string doubt = core::LossDoubt(row.value, unit); !doubt.empty()) return doubt;
  if (row.budget_flops > 0 && std::fabs(row.flops / row.budget_flops - 1) > kNominal)
    return fmt::format("its {} FLOPs are not its nominal budget, {}", core::FormatFlops(row.flops),
                       core::FormatFlops(row.budget_flops));
  return core::FlopsDoubt({{row.flops, row.params, row.tokens, row.flop_convention}});
}

// The nearest of those that are no outcome, one for each import.
std::vector<NearMiss> NearMisses(
    const std::vector<std::pair<Candidate, std::vector<std::string>>>& others,
    const Promised& promised) {
  std::map<std::string, const std::pair<Candidate, std::vector<std::string>>*> best;
  const auto rank = [&](const std::pair<Candidate, std::vector<std::string>>& other) {
    return std::make_pair(other.second.size(), SizeOff(other.first.row, promised));
  };
  for (const auto& other : others) {
    const auto*& place = best[other.first.row.import];
    if (place == nullptr || rank(other) < rank(*place)) place = &other;
  }
  std::vector<NearMiss> near;
  for (const auto& [import, other] : best)
    near.push_back({import, other->first.row.source_row,
                    fmt::format("{} is nearly its outcome: {}", RowText(other->first.row),
                                fmt::join(other->second, "; "))});
  return near;
}

}  // namespace

core::Json ImportedOutcome::ToJson() const {
  core::Json list = core::Json::array();
  for (const OutcomeRow& row : rows)
    list.push_back({{"import", row.import},
                    {"source_hash", row.source_hash},
                    {"content_hash", row.content_hash},
                    {"source_row", row.source_row},
                    {"run", row.run},
                    {"flops", row.flops},
                    {"params", row.params},
                    {"tokens", row.tokens},
                    {"value", row.value},
                    {"counted", row.counted}});
  return {{"rows", list}, {"spread", {{"lo", lo}, {"hi", hi}}}};
}

absl::StatusOr<std::string> RescaledLoss(Database* db, const std::string& import,
                                         const std::string& metric) {
  ASSIGN_OR_RETURN(Statement row,
                   db->Prepare("SELECT t.value->'$.columns', t.value->>'$.scale' FROM imports i, "
                               "json_each(i.map_json, '$.taken') t WHERE i.name=?1 AND "
                               "t.value->>'$.field'=?2 AND t.value->>'$.rescaled'",
                               import, metric));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::string();
  ASSIGN_OR_RETURN(const core::Json columns, core::ParseJson(row.Text(0), "columns of a metric"));
  std::string factors;
  for (const core::Json& column : columns)
    if (column.is_string()) factors += column.get<std::string>() + " x ";
  return fmt::format("{} is {}{}; a unit conversion goes through --value unit=...", metric, factors,
                     row.Double(1));
}

absl::StatusOr<ImportedOutcome> OutcomeInImports(Database* db, int64_t forecast_id) {
  ASSIGN_OR_RETURN(const Promised promised, ReadPromise(db, forecast_id));
  ASSIGN_OR_RETURN(const std::vector<Candidate> candidates, Candidates(db, promised));
  ImportedOutcome found;
  std::vector<OutcomeRow> rescaled;
  std::vector<std::pair<Candidate, std::vector<std::string>>> others;
  for (const Candidate& candidate : candidates) {
    auto differ = Differences(candidate, promised);
    if (!differ.has_value()) continue;
    if (differ->empty()) {
      ASSIGN_OR_RETURN(const std::string scale,
                       RescaledLoss(db, candidate.row.import, candidate.metric));
      if (!scale.empty() && rescaled.empty())
        found.doubt = fmt::format("{}: {}", RowText(candidate.row), scale);
      (scale.empty() ? found.rows : rescaled).push_back(candidate.row);
      continue;
    }
    const OutcomeRow& row = candidate.row;
    if (promised.fitted.count({row.flops, row.params, row.tokens}) > 0) continue;
    // What was there before stood beside the runs that it was made from.
    ASSIGN_OR_RETURN(const auto before, ImportedBefore(db, candidate.row.source_hash, forecast_id));
    if (!before.has_value()) others.emplace_back(candidate, *std::move(differ));
  }
  found.near = NearMisses(others, promised);
  if (!found.rows.empty()) {
    found.doubt.clear();
  } else if (!rescaled.empty()) {
    found.rows = std::move(rescaled);
  } else {
    return found;
  }
  Count(promised, found);
  for (const OutcomeRow& row : found.rows) {
    if (!row.counted) continue;
    if (const std::string doubt = DoubtOf(row, promised.unit);
        !doubt.empty() && found.doubt.empty())
      found.doubt = fmt::format("{}: {}", RowText(row), doubt);
    ASSIGN_OR_RETURN(const auto before, ImportedBefore(db, row.source_hash, forecast_id));
    if (before.has_value() && found.seen.empty())
      found.seen = fmt::format(
          "{}: the file it comes from was imported at {}, before the "
          "registration",
          RowText(row), core::FormatUnixMs(*before));
  }
  return found;
}

}  // namespace orchestrator
