// Random files for the fitter: plausible, extreme or constant runs, and files with one damage, of
// which it is known where it is.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/rng.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {

struct Hostile {
  std::string text;
  bool curve = false;  // x, loss
  bool hard = false;   // has a benchmark's score
  // What the refusal of a damaged file must name, all of it; empty: not damaged.
  std::vector<std::string> named;
};

inline constexpr std::string_view kHostileName = "hostile.csv";

namespace hostile_internal {

using Cells = std::vector<std::string>;

// One value for each column, in its order; numbers as text.
inline Cells Run(core::Rng& rng, uint64_t style, double constant, bool curve, bool extra) {
  const double budget = 1e17 * std::pow(10, static_cast<double>(rng.Below(5)));
  double n = std::sqrt(budget / 120) * std::exp(1.5 * (rng.Uniform() - 0.5));
  double d = budget / 6 / n;
  double loss = 1.7 + 400 * std::pow(n, -.33) + 1500 * std::pow(d, -.36);
  loss *= std::exp(0.01 * rng.Normal());
  double flops = curve ? std::exp(7 * rng.Uniform()) : budget;
  if (curve) loss = (1.7 + 3 * std::pow(flops, -.2)) * std::exp(0.01 * rng.Normal());
  if (style == 1)
    for (double* v : {&flops, &n, &d, &loss})
      if (rng.Below(3) == 0) *v = std::pow(10, 600 * (rng.Uniform() - 0.5));
  if (style == 2) n = d = constant;
  if (style == 3) loss = constant;
  if (style == 4) flops *= std::exp(rng.Normal());
  if (style == 6 && rng.Below(12) == 0) loss *= std::pow(10, 320 * (rng.Uniform() - 0.5));
  const auto text = [](double v) { return fmt::format("{:.17g}", v); };
  if (curve) return {text(flops), text(loss)};
  Cells cells = {text(flops), text(n), text(d), text(loss)};
  if (!extra) return cells;
  const double hard = 1 / (1 + std::exp(3 * (loss - 3)));
  cells.push_back(rng.Below(3) == 0 ? "" : text(d / static_cast<double>(1 + rng.Below(20))));
  cells.push_back(rng.Below(8) == 0 ? "" : text(hard));
  return cells;
}

// A column of the header missing, twice, misspelt or of bytes.
inline void DamageHeader(core::Rng& rng, Cells& header, std::vector<Cells>& rows, Hostile& file) {
  const size_t column = rng.Below(file.curve ? 2 : 4);
  const std::string name = header[column];
  file.named = {fmt::format("{}: no column '{}'", kHostileName, name), "the columns are: "};
  const auto erase = [column](Cells& cells) {
    cells.erase(cells.begin() + static_cast<std::ptrdiff_t>(column));
  };
  switch (rng.Below(5)) {
    case 0:
      erase(header);
      for (Cells& row : rows) erase(row);
      break;
    case 1:
      header.push_back(name);
      for (Cells& row : rows) row.emplace_back("1");
      file.named = {fmt::format("{}:1: column '{}' appears twice", kHostileName, name)};
      break;
    case 2:
      header[column] += "s";
      if (!file.curve) file.named.emplace_back("did you mean '" + header[column] + "'?");
      break;
    case 3:
      header[column] = std::string("\x01\xff\0\x80", 4);
      file.named.emplace_back("????");
      break;
    default:
      header[column] = " ";
      file.named = {fmt::format("{}:1: a column of the header has no name", kHostileName)};
  }
}

// One cell, or the number of cells of one line.
inline void DamageCell(core::Rng& rng, const Cells& header, std::vector<Cells>& rows,
                       Hostile& file) {
  const size_t row = rng.Below(rows.size()), column = rng.Below(header.size());
  const std::string line = fmt::format("{}:{}: ", kHostileName, row + 2);
  std::string& cell = rows[row][column];
  if (rng.Below(4) == 0) {
    const uint64_t way = rng.Below(3);
    if (way == 0) cell = "\"" + cell;
    if (way == 1) cell += ",7";
    if (way == 2) rows[row].pop_back();
    file.named = {way == 0 ? line + "a quoted cell never ends" : line,
                  way == 0 ? "close it" : "cells where the header has"};
    return;
  }
  const bool share = header[column] == "hard";
  const std::vector<std::string> numbers = {"-1", "-0.5", "1e999"};
  const std::vector<std::string> texts = {"nan", "inf",  "abc", "\xff\xfe", "0x10",
                                          "1_0", "1e3x", "- 1", "1.0\"",    std::string(1, '\0')};
  cell = rng.Below(4) == 0 ? numbers[rng.Below(numbers.size())] : texts[rng.Below(texts.size())];
  // Some columns may be empty, and a score may be 0.
  if (column < 4 && rng.Below(4) == 0) cell = rng.Below(2) == 0 ? "0" : " ";
  file.named = {fmt::format("{}column '{}' holds '", line, header[column]),
                cell == "1_0" && !share ? "write plain numbers"
                : share                 ? "--where"
                                        : "leave it out"};
}

}  // namespace hostile_internal

inline Hostile HostileFile(core::Rng& rng) {
  using hostile_internal::Cells;
  Hostile file;
  file.curve = rng.Below(10) == 0;
  file.hard = !file.curve && rng.Below(4) == 0;
  Cells header = {"flops", "params", "tokens", "loss"};
  if (file.curve) header = {"x", "loss"};
  if (file.hard) header.insert(header.end(), {"unique_tokens", "hard"});
  const uint64_t style = rng.Below(9);
  const uint64_t count = rng.Below(style == 0 ? 4 : 28);
  const double constant = std::exp(40 * rng.Uniform());
  std::vector<Cells> rows;
  for (uint64_t i = 0; i < count; ++i)
    rows.push_back(hostile_internal::Run(rng, style, constant, file.curve, file.hard));
  if (style == 5) hostile_internal::DamageHeader(rng, header, rows, file);
  if (style == 7 && !rows.empty()) hostile_internal::DamageCell(rng, header, rows, file);
  const std::string end = rng.Below(3) == 0 ? "\r\n" : "\n";
  file.text = fmt::format("{}{}", fmt::join(header, ","), end);
  for (const Cells& row : rows) file.text += fmt::format("{}{}", fmt::join(row, ","), end);
  return file;
}

}  // namespace fit
