// `--where COLUMN OP TEXT`: which rows are kept.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace fit {

struct Where {
  enum class Op { kIs, kIsNot, kBelow, kAtMost, kAbove, kAtLeast };

  Where() = default;
  Where(std::string column_name, std::string value, Op operation = Op::kIs)
      : column(std::move(column_name)), text(std::move(value)), op(operation) {}

  std::string Text() const;  // "params>=1e8"
  // Whether a cell meets it: = and != compare texts, the others numbers. INVALID_ARGUMENT where a
  // cell that is to be ordered is no number; an empty one meets no order.
  absl::StatusOr<bool> Holds(std::string_view cell) const;

  std::string column, text;
  Op op = Op::kIs;
  double bound = 0;  // of an order: the number of `text`
};

// Of "COLUMN=TEXT", "COLUMN!=TEXT", "COLUMN<NUMBER", <=, >, >=: the first operator divides.
// INVALID_ARGUMENT for anything else.
absl::StatusOr<Where> ParseWhere(std::string_view text);

}  // namespace fit
