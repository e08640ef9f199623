// A registered forecast as JSON: one shape for forecasts, launch, resume and watch.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/reader.h"

namespace sweepctl {

// `row` of v_forecasts, as DESIGN.md, section 5, promises; `warnings` as WarningsOf. Cannot fail.
core::Json ForecastJson(const core::Json& row, const core::Json& warnings);

// Of one sweep, or of all when it is empty, by place in the chain. `stored_fit`, if given: the fit
// behind the newest one, null when none is stored.
absl::StatusOr<std::vector<core::Json>> ReadForecasts(orchestrator::Reader& reader,
                                                      const std::string& sweep,
                                                      core::Json* stored_fit = nullptr);

}  // namespace sweepctl
