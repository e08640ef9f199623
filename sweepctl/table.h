// Rows for people and for programs: the same table as aligned text, CSV, JSON or JSON Lines.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/canonical_json.h"
#include "sweepctl/cli.h"

namespace sweepctl {

struct Column {
  std::string key;    // in CSV and JSON
  std::string title;  // for people; empty: left out of the aligned text
  bool left = false;  // text is aligned left, numbers right
};

// `value` is exact and goes to programs; `text` is what people read (empty: the value as it is).
struct Cell {
  core::Json value;
  std::string text;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void AddRow(std::vector<Cell> cells);
  size_t RowCount() const { return rows_.size(); }

  // Header and rows, two spaces between columns, no trailing blanks. Bold header with `color`.
  std::string Text(bool color) const;
  // RFC 4180, header first; null is empty, lists and objects are JSON in quotes.
  std::string Csv() const;
  // One object a row.
  core::Json Rows() const;
  std::string JsonLines() const;

  // Prints in the format of `options`; json prints {"rows": [...]}.
  absl::Status Print(const GlobalOptions& options) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace sweepctl
