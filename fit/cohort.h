// Whether observations measure the same thing and may be fitted together (DESIGN.md section 2).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/observation.h"

namespace fit {

struct Cohort {
  std::map<std::string, std::string> values;  // keys on which all agree
  // Keys on which they differ, allowed by the user, with the shares of the values (SharesText).
  std::map<std::string, std::string> mixed;
  // "metric=paloma_macro recipe=delphi data=MIXED"; empty when no key is known.
  std::string Text() const;
};

// "c4 80 %, pile 20 %" of how often each value stands.
std::string SharesText(const std::map<std::string, int64_t>& counts);

// A key that an observation lacks counts as the value "(none)", so an unlabelled row does not
// join a labelled cohort. FAILED_PRECONDITION, with a table of key, values and counts, when a key
// outside `allow_mixed` differs; INVALID_ARGUMENT when allow_mixed names neither a key nor a column
// of Observation::labels.
absl::StatusOr<Cohort> CheckCohort(const std::vector<Observation>& observations,
                                   const std::vector<std::string>& allow_mixed);

}  // namespace fit
