#include "fit/where.h"

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"

namespace fit {
namespace {

std::string_view Sign(Where::Op op) {
  switch (op) {
    case Where::Op::kIs:
      return "=";
    case Where::Op::kIsNot:
      return "!=";
    case Where::Op::kBelow:
      return "<";
    case Where::Op::kAtMost:
      return "<=";
    case Where::Op::kAbove:
      return ">";
    case Where::Op::kAtLeast:
      return ">=";
  }
  return "?";
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string Where::Text() const { return fmt::format("{}{}{}", column, Sign(op), text); }

absl::StatusOr<bool> Where::Holds(std::string_view cell) const {
  if (op == Op::kIs) return cell == text;
  if (op == Op::kIsNot) return cell != text;
  cell = Trim(cell);
  if (cell.empty()) return false;
  const auto number = core::ParseNumber(cell);
  if (!number.ok())
    return absl::InvalidArgumentError(
        fmt::format("--where {}: '{}' is not a finite number and has no order", Text(),
                    std::string(cell.substr(0, 40))));
  switch (op) {
    case Op::kBelow:
      return *number < bound;
    case Op::kAtMost:
      return *number <= bound;
    case Op::kAbove:
      return *number > bound;
    default:
      return *number >= bound;
  }
}

absl::StatusOr<Where> ParseWhere(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        fmt::format("--where takes COLUMN=TEXT, !=, or <, <=, >, >= with a number; not '{}'{}",
                    std::string(text.substr(0, 80)), why));
  };
  const size_t at = text.find_first_of("=<>!");
  if (at == std::string_view::npos || at == 0) return refuse("");
  const bool with_equals = at + 1 < text.size() && text[at + 1] == '=';
  Where where;
  switch (text[at]) {
    case '=':
      where.op = Where::Op::kIs;
      break;
    case '!':
      if (!with_equals) return refuse("");
      where.op = Where::Op::kIsNot;
      break;
    case '<':
      where.op = with_equals ? Where::Op::kAtMost : Where::Op::kBelow;
      break;
    default:
      where.op = with_equals ? Where::Op::kAtLeast : Where::Op::kAbove;
  }
  const size_t value = at + (text[at] != '=' && with_equals ? 2 : 1);
  where.column = std::string(Trim(text.substr(0, at)));
  where.text = std::string(text.substr(value));
  if (where.column.empty()) return refuse("");
  if (where.op == Where::Op::kIs || where.op == Where::Op::kIsNot) return where;
  const auto bound = core::ParseNumber(Trim(where.text));
  if (!bound.ok()) return refuse(": no number to compare with");
  where.bound = *bound;
  return where;
}

}  // namespace fit
