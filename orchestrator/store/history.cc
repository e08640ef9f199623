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
  RETURN_IF_ERROR(
      db->Run("INSERT INTO import_files(import, source_hash, imported_unix_ms, chain_links) "
              "SELECT name, source_hash, imported_unix_ms, ?2 FROM imports WHERE import_key=?1",
              import_key, chain_links));
  return db->Run(
      R"sql(INSERT OR IGNORE INTO seen_runs(import, imported_unix_ms, run, flops, budget_flops,
        params, tokens, recipe, data, tokenizer, seq_len, numerics)
      SELECT i.name, i.imported_unix_ms, r.run, r.flops, coalesce(r.budget_flops, 0), r.params,
        r.tokens, r.recipe, r.data, r.tokenizer, r.seq_len, r.numerics
      FROM imports i JOIN imported_runs r USING(import_key)
      WHERE i.import_key=?1 ORDER BY r.source_row)sql",
      import_key);
}

// ?1 is the budget's FLOPs, ?2 kSameBudget, ?3 the cohort.
// A nominal budget that the FLOPs belie by more than 10 % is a slip (outcome.cc doubts it too).
constexpr char kSize[] =
    "CASE WHEN budget_flops > 0 AND abs(flops/budget_flops - 1) <= 0.1 THEN budget_flops "
    "ELSE flops END";
constexpr char kOfCohort[] = R"sql(NOT EXISTS(SELECT 1 FROM json_each(?3) c
  WHERE c.value <> 'unknown' AND c.value <> CASE c.key WHEN 'recipe' THEN recipe
    WHEN 'data' THEN data WHEN 'tokenizer' THEN tokenizer WHEN 'seq_len' THEN seq_len
    WHEN 'numerics' THEN numerics ELSE c.value END
  AND 'unknown' <> CASE c.key WHEN 'recipe' THEN recipe
    WHEN 'data' THEN data WHEN 'tokenizer' THEN tokenizer WHEN 'seq_len' THEN seq_len
    WHEN 'numerics' THEN numerics ELSE '' END))sql";
// Whoever imported a run of an import with its labels, and once without, has said whose it is.
constexpr char kNotSaidSince[] = R"sql(NOT EXISTS(SELECT 1 FROM seen_runs l
  WHERE l.run=s.run AND l.flops=s.flops AND l.params=s.params AND l.tokens=s.tokens
    AND l.budget_flops=s.budget_flops AND l.import=s.import AND l.seen_id<>s.seen_id
    AND s.recipe IN (l.recipe, 'unknown') AND s.data IN (l.data, 'unknown')
    AND s.tokenizer IN (l.tokenizer, 'unknown') AND s.seq_len IN (l.seq_len, 'unknown')
    AND s.numerics IN (l.numerics, 'unknown')))sql";

template <typename... Args>
absl::StatusOr<std::optional<FormerRun>> OneRun(Database* db, const std::string& where,
                                                const Args&... args) {
  ASSIGN_OR_RETURN(Statement row,
                   db->Prepare(fmt::format("SELECT import, run, max(flops, {}) AS size, "
                                           "imported_unix_ms FROM seen_runs s WHERE {} AND {} "
                                           "ORDER BY size DESC, seen_id LIMIT 1",
                                           kSize, where, kNotSaidSince),
                               args...));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::optional<FormerRun>();
  return FormerRun{row.Text(0), row.Text(1), row.Double(2), row.Int(3)};
}

std::string AtBudget() { return fmt::format("abs({} - ?1) <= ?2 * ?1", kSize); }

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
  return OneRun(db, fmt::format("{} AND {}", AtBudget(), kOfCohort), flops, kSameBudget,
                Labels(cohort));
}

absl::StatusOr<std::optional<FormerRun>> LargestRun(Database* db, const core::Json& cohort,
                                                    double flops) {
  return OneRun(db,
                fmt::format("NOT ({}) AND {} AND flops/params/tokens BETWEEN ?4 AND ?5", AtBudget(),
                            kOfCohort),
                flops, kSameBudget, Labels(cohort), core::kLeastFlopsPerParamToken,
                core::kMostFlopsPerParamToken);
}

absl::StatusOr<std::optional<int64_t>> ImportedBefore(Database* db, const std::string& source_hash,
                                                      int64_t forecast_id) {
  ASSIGN_OR_RETURN(Statement row, db->Prepare("SELECT min(imported_unix_ms) FROM import_files "
                                              "WHERE source_hash=?1 AND chain_links<?2",
                                              source_hash, forecast_id));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found || row.IsNull(0)) return std::optional<int64_t>();
  return row.Int(0);
}

}  // namespace orchestrator
