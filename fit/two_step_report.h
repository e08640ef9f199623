// The two-step part of a report.
#pragma once

#include <string>

#include "core/canonical_json.h"
#include "fit/two_step_run.h"

namespace fit {

// {"soft":{...},"hard":{...},"forecasts":[...],"backtest":[...],"warnings":[...]}; shares stay
// shares, a missing number is null, "abstains" is null or the reason; "warnings" of the whole and
// of each forecast.
core::Json TwoStepJson(const TwoStepSummary& summary);

// Tables for a terminal; ends with a line end.
std::string TwoStepText(const TwoStepSummary& summary);

}  // namespace fit
