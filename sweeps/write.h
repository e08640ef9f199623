// A sweep file written by a program: every key that differs from its default, in the order of
// DESIGN.md section 4.
#pragma once

#include <string>
#include <vector>

#include "sweeps/sweep_file.h"

namespace sweeps {

// YAML that ParseSweepFile reads back into the same struct (but for path, text and positions).
// `comments` become lines that begin with "# " at the top. Cannot fail.
std::string WriteSweepFile(const SweepFile& file, const std::vector<std::string>& comments = {});

// "1e13", "3.2e14", "0.5": the shortest text that reads back as this number.
std::string ShortNumber(double value);

}  // namespace sweeps
