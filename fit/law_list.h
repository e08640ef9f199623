// Every law there is, by name: a new one is a line here.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/law.h"
#include "fit/observation.h"

namespace fit {

// The law of a benchmark's score, which forecasts no loss (two_step_run.h).
inline constexpr std::string_view kTwoStep = "two-step";

// Everything that a fit may be asked for but "default" and "all".
const std::vector<std::string>& LawNames();
// The default laws: isoflop, frontier, chinchilla and, where runs repeat their data, which those do
// not know, data-constrained. Of optima: frontier, because their N and D follow C.
std::vector<std::string> UsualLaws(const std::vector<Observation>& observations,
                                   bool observations_are_optima);
// nullptr when there is none of that name, and for two-step, which forecasts no loss
// (two_step_run.h). Lives for ever.
const Law* LawByName(std::string_view name);

// The laws of these names, "default" (those of `usual`) and "all" among them, in the order of
// LawNames(). INVALID_ARGUMENT: none, or an unknown name.
absl::StatusOr<std::vector<const Law*>> ChooseLaws(const std::vector<std::string>& names,
                                                   const std::vector<std::string>& usual);

}  // namespace fit
