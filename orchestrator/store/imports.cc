// Import: runs that were trained elsewhere.
#include <algorithm>
#include <cmath>
#include <set>

#include "core/canonical_json.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/history.h"
#include "orchestrator/store/outcome.h"
#include "orchestrator/store/store.h"
#include "orchestrator/store/verdicts.h"

namespace orchestrator {
namespace {

// The map without what the bytes make of it, which older programs did not store.
std::string MapAlone(const std::string& map_json) {
  absl::StatusOr<core::Json> map = core::ParseJson(map_json, "map");
  if (!map.ok() || !map->is_object() || map->erase("taken") == 0) return map_json;
  return core::CanonicalJson(*map).value_or(map_json);
}

// SHA-256 of what was imported: the same bytes through the same map.
absl::StatusOr<std::string> ContentHash(const v1::ImportRequest& request) {
  core::Json runs = core::Json::array(), metrics = core::Json::array();
  for (const v1::ImportedMetric& m : request.metrics())
    metrics.push_back({m.name(), m.unit(), m.eval()});
  for (const v1::ImportedRun& run : request.runs()) {
    core::Json values = core::Json::object();
    for (const auto& [metric, value] : run.values()) values[metric] = value;
    runs.push_back({run.source_row(), run.run(), run.target(), run.flops(), run.params(),
                    run.tokens(), run.params_no_embedding(), run.unique_tokens(),
                    run.budget_flops(), run.seed(), run.recipe(), run.data(), run.tokenizer(),
                    run.seq_len(), run.numerics(), run.flop_convention(), run.n_convention(),
                    run.schedule(), values.dump()});
  }
  return core::Sha256Hex(core::Json{request.source_hash(), MapAlone(request.map_json()),
                                    request.excluded_json(), metrics, runs}
                             .dump());
}

absl::Status CheckImport(const v1::ImportRequest& request) {
  RETURN_IF_ERROR(CheckSweepName(request.name()));
  if (request.runs().empty() || request.metrics().empty() ||
      request.metrics(0).unit() == "accuracy")
    return absl::InvalidArgumentError(fmt::format(
        "import {}: it needs runs, and metrics of which the first is a loss", request.name()));
  std::set<std::string> metrics;
  for (const v1::ImportedMetric& m : request.metrics()) {
    if (m.name().empty() || m.eval().empty() || !metrics.insert(m.name()).second)
      return absl::InvalidArgumentError(
          fmt::format("import {}: metric '{}' has no name, no evaluation set, or is given twice",
                      request.name(), m.name()));
  }
  for (const v1::ImportedRun& run : request.runs()) {
    const std::string where = fmt::format("import {}, row {}", request.name(), run.source_row());
    for (const std::string* label :
         {&run.recipe(), &run.data(), &run.tokenizer(), &run.seq_len(), &run.numerics(),
          &run.flop_convention(), &run.n_convention(), &run.schedule()}) {
      if (label->empty())
        return absl::InvalidArgumentError(
            where + ": an empty label; what nobody has said is the word 'unknown'");
    }
    for (const double number : {run.flops(), run.params(), run.tokens()}) {
      if (!(std::isfinite(number) && number > 0))
        return absl::InvalidArgumentError(fmt::format(
            "{}: flops, params and tokens must be finite and above 0, not {}", where, number));
    }
    for (const auto& [metric, value] : run.values()) {
      if (metrics.count(metric) == 0 || !std::isfinite(value))
        return absl::InvalidArgumentError(fmt::format(
            "{}: '{}' = {} is no finite value of a metric of the import", where, metric, value));
    }
    if (run.values().count(request.metrics(0).name()) == 0)
      return absl::InvalidArgumentError(
          fmt::format("{}: no value of {}", where, request.metrics(0).name()));
  }
  return absl::OkStatus();
}

// NULL for "not given".
std::optional<double> Given(double number) {
  return number > 0 ? std::optional<double>(number) : std::nullopt;
}

struct Waiting {
  int64_t id = 0;
  std::string name, status, reason;
};

// Forecasts whose target is trained elsewhere and that have no outcome.
absl::StatusOr<std::vector<Waiting>> WaitingForecasts(Database* db) {
  std::vector<Waiting> waiting;
  ASSIGN_OR_RETURN(Statement rows,
                   db->Prepare("SELECT forecast_id, name, status, status_reason FROM forecasts "
                               "WHERE target_key IS NULL AND outcome_loss IS NULL ORDER BY "
                               "forecast_id"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return waiting;
    waiting.push_back({rows.Int(0), rows.Text(1), rows.Text(2), rows.Text(3)});
  }
}

// The verdict that an import would bring, without a number of it.
std::string PreviewText(const Waiting& forecast, const std::string& seen) {
  if (forecast.status == "void")
    return fmt::format("would put the outcome of forecast {}, which is void, on record",
                       forecast.name);
  if (!seen.empty()) return fmt::format("would make forecast {} void: {}", forecast.name, seen);
  return "would score forecast " + forecast.name;
}

// What a verdict with an outcome says, for people. REQUIRES: AppendVerdict has stored it.
absl::StatusOr<std::string> VerdictText(Database* db, int64_t forecast_id, bool was_void) {
  ASSIGN_OR_RETURN(Statement row,
                   db->Prepare("SELECT status, status_reason, outcome_loss, error_rel, inside, "
                               "loss, interval_lo, interval_hi, interval_level FROM forecasts "
                               "WHERE forecast_id=?1",
                               forecast_id));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::InternalError(fmt::format("no forecast {}", forecast_id));
  if (row.Text(0) == "void")
    return fmt::format("{}: {}; its outcome, {:.6g}, is on record and is no score",
                       was_void ? "void before" : "void", row.Text(1), row.Double(2));
  return fmt::format(
      "scored: outcome {:.6g}, forecast {:.6g}: error {:+.2f} %, {} its {:g} % interval, {:.6g} .. "
      "{:.6g}",
      row.Double(2), row.Double(5), 100 * row.Double(3), row.Int(4) != 0 ? "inside" : "outside",
      100 * row.Double(8), row.Double(6), row.Double(7));
}

}  // namespace

absl::Status Store::ScoreImportedForecasts(const std::string& import, int64_t now_ms, bool preview,
                                           v1::ImportResponse* response) {
  ASSIGN_OR_RETURN(const std::vector<Waiting> waiting, WaitingForecasts(db_.get()));
  if (waiting.empty()) return absl::OkStatus();
  const absl::Status intact = VerifyForecastChain();
  if (!intact.ok() && !absl::IsDataLoss(intact)) return intact;
  int64_t scored = 0;
  for (const Waiting& forecast : waiting) {
    const auto note = [&](const std::string& text) {
      response->add_notes(fmt::format("forecast {}: {}", forecast.name, text));
    };
    ASSIGN_OR_RETURN(const ImportedOutcome outcome, OutcomeInImports(db_.get(), forecast.id));
    if (std::none_of(outcome.rows.begin(), outcome.rows.end(),
                     [&](const OutcomeRow& row) { return row.import == import; })) {
      for (const NearMiss& near : outcome.near)
        if (near.import == import && forecast.status == "open")
          note(near.text + "; it is not scored, and waits");
      continue;
    }
    if (!intact.ok()) {
      note(
          fmt::format("its outcome is among the runs and is not scored, as the chain of the "
                      "record is broken: {}; compare with a backup, then import this again",
                      std::string(intact.message())));
      continue;
    }
    if (!outcome.doubt.empty()) {
      note(fmt::format("{}; it is not scored, and waits: correct it and import it with --replace",
                       outcome.doubt));
      continue;
    }
    const bool was_void = forecast.status == "void";
    const bool is_void = was_void || !outcome.seen.empty();
    const std::string reason = was_void ? forecast.reason : outcome.seen;
    RETURN_IF_ERROR(AppendVerdict(
        db_.get(),
        {forecast.id, is_void ? "void" : "scored", reason, outcome.value, outcome.ToJson()},
        now_ms));
    if (preview) {
      response->add_notes(PreviewText(forecast, outcome.seen));
    } else {
      ASSIGN_OR_RETURN(const std::string text, VerdictText(db_.get(), forecast.id, was_void));
      note(text);
    }
    if (!is_void) ++scored;
  }
  response->set_forecasts_scored(scored);
  return absl::OkStatus();
}

absl::StatusOr<v1::ImportResponse> Store::Import(const v1::ImportRequest& request, int64_t now_ms) {
  return ImportRuns(request, now_ms, false);
}

absl::StatusOr<v1::ImportResponse> Store::TryImport(const v1::ImportRequest& request,
                                                    int64_t now_ms) {
  return ImportRuns(request, now_ms, true);
}

absl::StatusOr<v1::ImportResponse> Store::ImportRuns(const v1::ImportRequest& request,
                                                     int64_t now_ms, bool preview) {
  RETURN_IF_ERROR(CheckImport(request));
  ASSIGN_OR_RETURN(const std::string content_hash, ContentHash(request));
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  v1::ImportResponse response;
  response.set_runs(request.runs_size());
  ASSIGN_OR_RETURN(const int64_t is_sweep,
                   db_->Int(0, "SELECT 1 FROM sweeps WHERE sweep=?1", request.name()));
  if (is_sweep != 0)
    return absl::FailedPreconditionError(fmt::format(
        "import {}: a sweep has this name; give the import another with --name", request.name()));
  ASSIGN_OR_RETURN(const int64_t old_key,
                   db_->Int(0, "SELECT import_key FROM imports WHERE name=?1", request.name()));
  if (old_key != 0) {
    ASSIGN_OR_RETURN(const std::string old_hash,
                     db_->Text("SELECT content_hash FROM imports WHERE import_key=?1", old_key));
    if (old_hash == content_hash) {
      response.set_already_present(true);
      RETURN_IF_ERROR(ScoreImportedForecasts(request.name(), now_ms, preview, &response));
      RETURN_IF_ERROR(transaction.Commit());
      return response;
    }
    if (!request.replace()) {
      ASSIGN_OR_RETURN(const std::string source,
                       db_->Text("SELECT source || ' (sha256 ' || substr(source_hash, 1, 12) || "
                                 "')' FROM imports WHERE import_key=?1",
                                 old_key));
      return absl::FailedPreconditionError(fmt::format(
          "import {}: the name holds other content, from {}; give this one another name with "
          "--name, or let it take the place with --replace",
          request.name(), source));
    }
    for (const char* table : {"imported_values", "imported_runs", "imported_metrics", "imports"})
      RETURN_IF_ERROR(db_->Run(fmt::format("DELETE FROM {} WHERE import_key=?1", table), old_key));
  }
  RETURN_IF_ERROR(db_->Run(
      "INSERT INTO imports(name, source, source_hash, map, map_json, excluded_json, content_hash, "
      "imported_unix_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
      request.name(), request.source(), request.source_hash(), request.map(), request.map_json(),
      request.excluded_json(), content_hash, now_ms));
  const int64_t key = db_->LastInsertRowid();
  for (int i = 0; i < request.metrics_size(); ++i) {
    const v1::ImportedMetric& m = request.metrics(i);
    RETURN_IF_ERROR(
        db_->Run("INSERT INTO imported_metrics(import_key, position, metric, unit, eval) "
                 "VALUES(?1,?2,?3,?4,?5)",
                 key, i, m.name(), m.unit(), m.eval()));
  }
  for (const v1::ImportedRun& run : request.runs()) {
    RETURN_IF_ERROR(db_->Run(
        R"sql(INSERT INTO imported_runs(import_key, source_row, run, stage, flops, params, tokens,
            params_no_embedding, unique_tokens, budget_flops, seed, recipe, data, tokenizer,
            seq_len, numerics, flop_convention, n_convention, schedule)
          VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19))sql",
        key, run.source_row(), run.run(), run.target() ? "target" : "fit", run.flops(),
        run.params(), run.tokens(), Given(run.params_no_embedding()), Given(run.unique_tokens()),
        Given(run.budget_flops()), run.seed(), run.recipe(), run.data(), run.tokenizer(),
        run.seq_len(), run.numerics(), run.flop_convention(), run.n_convention(), run.schedule()));
    for (const auto& [metric, value] : run.values())
      RETURN_IF_ERROR(db_->Run(
          "INSERT INTO imported_values(import_key, source_row, metric, value) VALUES(?1,?2,?3,?4)",
          key, run.source_row(), metric, value));
  }
  RETURN_IF_ERROR(RememberImport(db_.get(), key));
  RETURN_IF_ERROR(ScoreImportedForecasts(request.name(), now_ms, preview, &response));
  RETURN_IF_ERROR(AddEvent(now_ms, old_key != 0 ? "import replaced" : "imported", request.name(),
                           "", "",
                           fmt::format("{} runs from {}, content {}", request.runs_size(),
                                       request.source(), content_hash)));
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

}  // namespace orchestrator
