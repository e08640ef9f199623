// What every report writes alike: a number that may be missing, an interval, warnings.
#pragma once

#include <vector>

#include "core/canonical_json.h"
#include "fit/bootstrap.h"
#include "fit/warnings.h"

namespace fit {

// Null unless finite.
core::Json Number(double value);

// {"lo","hi","level","kind","method"}; an end that is missing or at infinity is null.
core::Json IntervalJson(const Interval& interval);

// [{"code","text"}]
core::Json WarningsJson(const std::vector<Warning>& warnings);

}  // namespace fit
