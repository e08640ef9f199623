// The public data sets of the forecast benchmark, as observations. A set is one series of runs that
// may be fitted together; PROTOCOL.md says what is taken from each file.
#pragma once

#include <string>
#include <vector>

#include "fit/observation.h"

namespace bench {

struct ForecastSet {
  std::string name;
  std::string group;  // sets that share runs or authors, reported together
  std::vector<fit::Observation> observations;
  std::vector<double> budgets;  // one an observation: what it is grouped by for cuts and targets
  bool optima = false;          // rows are optima of budgets, not runs
  // The half on which calibration.h's constants were set, the other half, and everything that came
  // after them.
  enum Half { kTuning, kTest, kAdded } half = kTest;
};

// Reads what is present under `folder`; a file that is absent or unreadable is named on stderr and
// left out. Every other CSV file there with columns flops, params, tokens and loss is a set of its
// own (one a value of its column `set`, where it has one): put a file there and it is in the
// benchmark.
std::vector<ForecastSet> LoadForecastSets(const std::string& folder);

// A user's own series: columns flops, params, tokens, loss and, optionally, budget_flops. Exits the
// loading with an empty vector and a message on stderr when the file is not usable.
std::vector<ForecastSet> LoadForecastCsv(const std::string& path);

}  // namespace bench
