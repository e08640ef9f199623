// Observations from a CSV file (RFC 4180: quotes, CRLF, a header line). The file is hostile until
// proven otherwise: every cell that is used is checked, and an error names file, line, column and
// the offending text. Never crashes, whatever the bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/observation.h"
#include "fit/where.h"

namespace fit {

struct CsvTable {
  std::vector<std::string> header;             // names are unique and not empty
  std::vector<std::vector<std::string>> rows;  // each as wide as the header
  std::vector<int64_t> lines;                  // line of the file on which each row starts, from 1
};

// INVALID_ARGUMENT with `origin` and line: no header, duplicate column, ragged row, open quote.
absl::StatusOr<CsvTable> ParseCsv(std::string_view text, std::string_view origin);

// A cell for a message: control bytes replaced, long text cut.
std::string ShownCell(std::string_view text);

// INVALID_ARGUMENT: a header and nothing below it.
absl::Status NoRows(std::string_view origin);

// "; did you mean ...?; the columns are: a, b, ...": the end of a message about a missing column;
// where the header looks separated by something else than commas, that.
std::string ColumnHint(const CsvTable& table, const std::string& name);

// The number in a cell, blanks around it ignored. INVALID_ARGUMENT names origin, line, column and
// text when it is not finite and above 0, and says how to write one that is meant for people.
// REQUIRES: row and column exist.
absl::StatusOr<double> PositiveCell(const CsvTable& table, std::string_view origin, size_t row,
                                    size_t column);
// As PositiveCell, for a 64-bit integer of either sign; an empty cell is 0.
absl::StatusOr<int64_t> IntegerCell(const CsvTable& table, std::string_view origin, size_t row,
                                    size_t column);

struct CsvOptions {
  // Our field -> column of the file, as `--column loss=loss_c4_val`. Fields: flops, params, tokens,
  // loss (required), budget_flops, params_no_embedding, unique_tokens, hard (0 to 1, may be empty),
  // seed, id, clamps (separated by ';') and the cohort keys. A field that is not mapped is read
  // from the column of its own name.
  std::map<std::string, std::string> columns;
  // Keep rows that meet these, as `--where experiment=NAME --where "params>=1e8"`. Texts that one
  // column may be are alternatives; everything else must hold.
  std::vector<Where> where;
  // The column that tells experiments apart: a cohort key under its own name.
  std::string experiment;
  // The input of a curve, in any unit: stands for flops, params and tokens, whose columns are then
  // not read. Only laws in C alone can use such rows.
  std::string input;
  // Without a flops column: C = 6 N D. Only when asked, because small models are far from it.
  bool assume_6nd = false;
};

struct CsvObservations {
  std::vector<Observation> observations;
  std::vector<Exclusion> excluded;  // rows that `where` left out
};

// INVALID_ARGUMENT as above, and for a number that is missing, not finite or not above 0, an
// unknown field in `columns`, or no row left. `origin` is the file's name for messages.
absl::StatusOr<CsvObservations> ObservationsFromTable(const CsvTable& table,
                                                      std::string_view origin,
                                                      const CsvOptions& options);
absl::StatusOr<CsvObservations> ObservationsFromCsv(std::string_view text, std::string_view origin,
                                                    const CsvOptions& options);

// Reads the file too (read_table.h: CSV or JSON Lines, also compressed); its errors pass through.
absl::StatusOr<CsvObservations> ReadObservationsCsv(const std::string& path,
                                                    const CsvOptions& options);

}  // namespace fit
