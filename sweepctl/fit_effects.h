// Options of `fit` that were given and that nothing fitted uses.
#pragma once

#include <vector>

#include "fit/fit.h"
#include "sweepctl/fit_options.h"

namespace sweepctl {

// option-without-effect, one an option: which laws use it, or what else keeps it from doing
// anything. Cannot fail.
std::vector<fit::Warning> OptionsWithoutEffect(const FitArgs& args, const fit::FitOptions& options,
                                               const fit::FitSummary& summary);

}  // namespace sweepctl
