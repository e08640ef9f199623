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

// OK, or DATA_LOSS as every reader of the record says it: what disagrees and what to do.
absl::Status AgreementError(const absl::Status& agreement);
// The same of the whole database, for who prints a count or a score beside other things.
absl::Status CheckRecord(orchestrator::Reader& reader);

// Of one sweep, or of all when it is empty, by place in the chain, with the remarks of `audit`.
// `stored_fit`, if given: the fit behind the newest one, null when none is stored. What is damaged
// is null where it stood; of a file whose damage `audit` knows, what can be read.
absl::StatusOr<std::vector<core::Json>> ReadForecasts(orchestrator::Reader& reader,
                                                      const std::string& sweep,
                                                      const orchestrator::ForecastAudit& audit,
                                                      core::Json* stored_fit = nullptr);

}  // namespace sweepctl
