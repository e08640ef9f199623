// JSON Schema (draft 2020-12) of a YAML file, for editors; from the same table as the parser.
#pragma once

#include <string>

#include "core/canonical_json.h"
#include "sweeps/keys.h"

namespace sweeps {

// Of the file whose top level is `form`, a kObject.
core::Json FileSchema(const Form& form, const std::string& title);
core::Json SweepFileSchema();

}  // namespace sweeps
