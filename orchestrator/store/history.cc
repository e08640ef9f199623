#include "orchestrator/store/history.h"

#include <vector>

#include "core/flops_doubt.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"

namespace orchestrator {
namespace {

// chain_links: registrations and verdicts that came before, so that no clock decides what was
// first.
absl::Status Remember(Database* db, int64_t import_key, int64_t chain_links) {
  return db->Run(
      R"sql(INSERT INTO import_history(import, source_hash, imported_unix_ms, chain_links, run,
        flops, budget_flops, params, tokens, recipe, data, tokenizer, seq_len, numerics, metric,
        unit, eval, value)
      SELECT i.name, i.source_hash, i.imported_unix_ms, ?2, r.run, r.flops, r.budget_flops,
        r.params, r.tokens, r.recipe, r.data, r.tokenizer, r.seq_len, r.numerics, m.metric, m.unit,
        m.eval, v.value
      FROM imports i JOIN imported_runs r USING(import_key)
      JOIN imported_values v USING(import_key, source_row)
      JOIN imported_metrics m USING(import_key, metric)
      WHERE i.import_key=?1 ORDER BY r.source_row, m.position)sql",
      import_key, chain_links);
}

// ?1 is the budget's FLOPs, ?2 kSameBudget, ?3 the cohort.
constexpr char kAtBudget[] = "abs(coalesce(budget_flops, flops) - ?1) <= ?2 * ?1";
constexpr char kOfCohort[] = R"sql(NOT EXISTS(SELECT 1 FROM json_each(?3) c
  WHERE c.value <> 'unknown' AND c.value <> CASE c.key WHEN 'recipe' THEN recipe
    WHEN 'data' THEN data WHEN 'tokenizer' THEN tokenizer WHEN 'seq_len' THEN seq_len
    WHEN 'numerics' THEN numerics ELSE c.value END
  AND 'unknown' <> CASE c.key WHEN 'recipe' THEN recipe
    WHEN 'data' THEN data WHEN 'tokenizer' THEN tokenizer WHEN 'seq_len' THEN seq_len
    WHEN 'numerics' THEN numerics ELSE '' END))sql";

template <typename... Args>
absl::StatusOr<std::optional<FormerRun>> OneRun(Database* db, const std::string& where,
                                                const Args&... args) {
  ASSIGN_OR_RETURN(Statement row,
                   db->Prepare("SELECT import, run, max(flops, coalesce(budget_flops, flops)) AS "
                               "size, imported_unix_ms FROM import_history WHERE " +
                                   where + " ORDER BY size DESC, history_id LIMIT 1",
                               args...));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::optional<FormerRun>();
  return FormerRun{row.Text(0), row.Text(1), row.Double(2), row.Int(3)};
}

// An object, whatever was given.
std::string Labels(const core::Json& cohort) { return cohort.is_object() ? cohort.dump() : "{}"; }

}  // namespace

std::string FormerRun::Text() const {
  return fmt::format("run {} of import {} (imported at {})", run, import,
                     core::FormatUnixMs(imported_ms));
}

absl::Status RememberImport(Database* db, int64_t import_key) {
  ASSIGN_OR_RETURN(const int64_t links,
                   db->Int(0,
                           "SELECT max(coalesce((SELECT max(forecast_id) FROM forecasts), 0), "
                           "coalesce((SELECT max(place) FROM forecast_verdicts), 0))"));
  return Remember(db, import_key, links);
}

absl::Status RememberAllImports(Database* db) {
  std::vector<std::pair<int64_t, int64_t>> imports;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db->Prepare("SELECT import_key, coalesce((SELECT max(forecast_id) FROM "
                                 "forecasts WHERE registered_unix_ms <= imported_unix_ms), 0) "
                                 "FROM imports ORDER BY import_key"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      imports.emplace_back(rows.Int(0), rows.Int(1));
    }
  }
  for (const auto& [key, links] : imports) RETURN_IF_ERROR(Remember(db, key, links));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<FormerRun>> SeenRun(Database* db, const core::Json& cohort,
                                                 double flops) {
  return OneRun(db, fmt::format("{} AND {}", kAtBudget, kOfCohort), flops, kSameBudget,
                Labels(cohort));
}

absl::StatusOr<std::optional<FormerRun>> LargestRun(Database* db, const core::Json& cohort,
                                                    double flops) {
  return OneRun(db,
                fmt::format("NOT ({}) AND {} AND flops/params/tokens BETWEEN ?4 AND ?5", kAtBudget,
                            kOfCohort),
                flops, kSameBudget, Labels(cohort), core::kLeastFlopsPerParamToken,
                core::kMostFlopsPerParamToken);
}

absl::StatusOr<std::optional<int64_t>> ImportedBefore(Database* db, const std::string& source_hash,
                                                      int64_t forecast_id) {
  ASSIGN_OR_RETURN(Statement row, db->Prepare("SELECT min(imported_unix_ms) FROM import_history "
                                              "WHERE source_hash=?1 AND chain_links<?2",
                                              source_hash, forecast_id));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found || row.IsNull(0)) return std::optional<int64_t>();
  return row.Int(0);
}

}  // namespace orchestrator
