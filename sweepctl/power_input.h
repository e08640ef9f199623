// What power analysis asks of the command line: a prior law, the noise of single runs, and the runs
// and targets of a sweep as fit/ counts them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "fit/power.h"
#include "recipes/plan.h"
#include "sweepctl/cli.h"
#include "sweeps/expand.h"

namespace sweepctl {

struct PowerArgs {
  std::string prior, noise, seed_noise, level;  // as typed
  int simulations = -1;  // not given: kUsualSimulations, of a search kSearchSimulations
};

// Of a search each candidate has few, and what is chosen is simulated anew, 4 times as often.
constexpr int kUsualSimulations = 40, kSearchSimulations = 12;

void AddPowerOptions(CLI::App* verb, PowerArgs* args);

// One PlannedRun a shape; trials that differ in their seed alone are its repeats.
std::vector<fit::PlannedRun> DesignOf(const std::vector<sweeps::PlannedTrial>& trials);
fit::PlannedRun RunOf(const recipes::Plan& plan);

// The prior that --prior names, with --noise and --seed-noise in it:
//   NAME                a published one (fit::PublishedPriorNames)
//   FILE.json           fit::PriorFromJson; FILE.csv, FILE.db or FILE.db:NAME: fit::PriorFromRuns
//                       (NAME: a sweep or an import)
//   E=1.5..1.9,alpha=0.3..0.4   ranges over the recipe's prior; over another: NAME,E=...
//   range               the recipe's prior with E within 20 % and its exponents within 15 %
//   ""                  the recipe's: delphi for delphi, nano for delphi-nano and complete-p
// `design` tells about which shapes exponents range. UsageError for text that is none of these.
absl::StatusOr<fit::Prior> PriorOf(const PowerArgs& args, const std::string& recipe,
                                   const std::vector<fit::PlannedRun>& design);
// --noise and --seed-noise over the prior's own.
absl::Status SetNoise(const PowerArgs& args, fit::Prior* prior);

absl::StatusOr<fit::PowerOptions> PowerOptionsOf(const PowerArgs& args, bool search);

// What must be known beside numbers that rest on this prior: that it is a guess for these data, or
// used outside the budgets it rests on. Empty when nothing must.
std::vector<std::string> PriorCaveats(const fit::Prior& prior,
                                      const std::vector<fit::PlannedRun>& design);

}  // namespace sweepctl
