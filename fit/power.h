// What a sweep will be able to say, before it is trained: sweeps are simulated from a prior, each
// is fitted by the very procedure of fit.h (average of laws, range of E, widening for reach), and
// what that would have printed is counted. Every number is conditional on the prior: it takes the
// prior's law for true at the target too, so it knows the noise and not that the law may be wrong
// there; only the widening for reach (calibration.h) speaks for that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/design.h"
#include "fit/fit.h"
#include "fit/prior.h"

namespace fit {

struct PowerOptions {
  int simulations = 16;
  uint64_t seed = 0;
  int threads = 2;
  double level = 0.9;
  double close = 0.002;  // relative error that counts as a hit
  // Largest AsymptoteHalfRange at which E counts as identified.
  double E_within = 0.25;
  // Of each simulated fit; fewer than fit.h's own 400 and 100, which changes widths by a few
  // percent and saves most of the time.
  int resamples = 100, backtest_resamples = 60;
};

// How well a forecast knows E: half the width of its range of E over the middle of that range, in
// [0, 1]. 1 where the range starts at 0, so that an E of 0 is never identified; infinity where the
// forecast has no range of E. It grows with noise (its median did for all published priors, until
// half-widths reach 20 % and no forecast is left). The warning asymptote-unidentified does not: it
// compares what E moves with the whole interval, which noise widens, so it goes away where the rest
// is known even less.
double AsymptoteHalfRange(const Forecast& forecast);

// Of one target, over the simulated sweeps. Relative numbers are shares of the loss.
struct TargetPower {
  double flops = 0, reach = 0;
  double loss = 0;  // median over the simulated truths
  std::string law;  // the primary law of most simulations
  // Half the width of the primary prediction interval as printed: the median of the sweeps, and the
  // range in which four of five further sweeps would end. NaN where most have no interval.
  double half_width = 0, half_width_lo = 0, half_width_hi = 0;
  // What the forecast really misses by: `level` of the outcomes lie within this, the scatter of the
  // target's own run included.
  double error = 0;
  double close = 0,
         close_se = 0;      // chance of an error below PowerOptions::close, and its std error
  double covered = 0;       // chance that the outcome lies inside the printed interval
  double identified = 0;    // share with an AsymptoteHalfRange of PowerOptions::E_within or less
  double E_half_range = 0;  // median AsymptoteHalfRange; infinity where most have no range of E
  double E_warned = 0;      // share with the warning asymptote-unidentified
  double no_interval = 0;   // share whose primary forecast has no interval
};

struct Power {
  std::vector<TargetPower> targets;  // in the order asked
  int simulations = 0, failed = 0;   // failed: no law could be fitted, or none forecasts
  double condition = 0;              // of J'J of the runs, known ones included; linear theory
  double level = 0;
  std::string method;
};

// `known`: runs that are finished already and stay as they are; simulated losses of new runs of
// their shapes share their shape's deviation as far as it is known. Simulation i takes its truth
// from draw i of the prior, evenly spread. Deterministic for equal inputs, whatever the number of
// threads. Cost: one RunFit a simulation, about 70 ms for the quickstart's sweep, 370 ms for
// delphi's. INVALID_ARGUMENT: no runs, no targets, noise not above 0, a level outside (0, 1).
// FAILED_PRECONDITION: no simulated sweep could be fitted; the message is the fit's.
absl::StatusOr<Power> SimulatePower(const Prior& prior, const std::vector<PlannedRun>& runs,
                                    const std::vector<PowerTarget>& targets,
                                    const PowerOptions& options,
                                    const std::vector<Observation>& known = {});

// The losses that simulation `number` of SimulatePower would see, the known runs first.
std::vector<Observation> SimulateSweep(const Prior& prior, const std::vector<double>& theta,
                                       const std::vector<PlannedRun>& runs, uint64_t seed,
                                       uint64_t number, const std::vector<Observation>& known = {});

}  // namespace fit
