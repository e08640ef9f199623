// A summary for programs and for people.
#pragma once

#include <string>

#include "core/canonical_json.h"
#include "fit/fit.h"

namespace fit {

// `fit --json` (DESIGN.md section 5): {"fits":[...],"predictions":[...],"backtest":[...],
// "warnings":[...],"excluded":[...],...}. A number that is missing (NaN) is null.
core::Json FitJson(const FitSummary& summary);

// Tables for a terminal, 100 columns, each number with its interval and each warning below the
// table it belongs to. Ends with a line end.
std::string FitText(const FitSummary& summary);

}  // namespace fit
