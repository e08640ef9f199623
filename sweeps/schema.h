// JSON Schema (draft 2020-12) of the sweep file, for editors; from the same table as the parser.
#pragma once

#include "core/canonical_json.h"

namespace sweeps {

core::Json SweepFileSchema();

}  // namespace sweeps
