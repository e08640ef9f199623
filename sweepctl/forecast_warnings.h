// What must be known beside a registered forecast: the warnings of the fit that was stored with it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/reader.h"

namespace sweepctl {

// The stored fit that registered `forecast`, a row of v_forecasts: `fit --json` of that
// moment, the one whose hash was promised where one was. Null when none is stored.
absl::StatusOr<core::Json> StoredFit(orchestrator::Reader& reader, const core::Json& forecast);

// [{"code","text"}] of the forecast's own prediction, of its law and of the data, each once. Null
// when the fit is null: nobody knows. Cannot fail.
core::Json WarningsOf(const core::Json& fit, const core::Json& forecast);

// One line a warning, as `fit` prints them; a line that says so when they are null.
std::string WarningLines(const core::Json& warnings);

}  // namespace sweepctl
