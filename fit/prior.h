// What is believed about the loss before a sweep is trained: a surface law with constants, how far
// single runs lie from it, and where both come from. A prior plans a sweep; it is never evidence,
// and every number that rests on one is conditional on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/observation.h"
#include "fit/surface_law.h"

namespace fit {

// Scatter of ln L about the law, one standard deviation each. `shape`: of a model shape and token
// count (batch rounding, depth steps, the law's lack of fit), the same for all its seeds, so that
// repeats do not average it out. `seed`: of initialisation and data order, new with every run.
struct RunNoise {
  double shape = 0, seed = 0;
  double Total() const;  // of a single run
};

struct Prior {
  const SurfaceLaw* law = nullptr;
  // Equally likely constants in the law's coordinates; the first is the best guess. One: a point.
  std::vector<std::vector<double>> draws;
  std::string name, source;  // "delphi"; where the constants are from, for people
  RunNoise noise;
  std::string noise_source;
  // Budgets of the runs it rests on, training FLOPs; 0: not known.
  double smallest_flops = 0, largest_flops = 0;
};

// chinchilla, delphi, nano.
const std::vector<std::string>& PublishedPriorNames();
// NOT_FOUND with the names and "did you mean".
absl::StatusOr<Prior> PublishedPrior(std::string_view name);

// The law `law_name` through finished runs; `draws` case-bootstrap refits beside the best fit say
// how well it is known. Noise: the residuals' root mean square, widened for the fitted constants;
// split into shape and seed where runs repeat a shape, else all shape.
// FAILED_PRECONDITION when the runs are too few to determine the law. Deterministic.
// REQUIRES: valid observations, not empty; the law is a surface.
absl::StatusOr<Prior> PriorFromRuns(const std::vector<Observation>& runs, std::string_view law_name,
                                    int draws, uint64_t seed);

// From `fit --json`, or {"law", "params": {letter: number}, "noise": sd}. Of several fits
// chinchilla, else the first surface law that can be a prior; Prior::source says which. The
// constants are a point: how well they are known is not in the file. Noise, all of it shape:
//   a number      is it
//   an object     scatter as a power of C (noise_model.h): at the geometric mean of its runs' C,
//                 where it is known best; designs far from there need their own
//   null, absent  normal residuals with the mean objective of the fit, widened for its constants
//                 (log residuals, Huber or squared, symmetric); 0 where the file does not tell
// INVALID_ARGUMENT, with `origin`, when it holds no such law.
absl::StatusOr<Prior> PriorFromJson(std::string_view text, std::string_view origin);

// Constants by letter, each uniform within [first, second]. An exponent moves about the point
// (params, tokens): the terms there keep their size, so that a range of alpha is a range of slopes
// and not of levels. `draws` draws from a stratified sample. INVALID_ARGUMENT: a letter the law
// does not have, or a range outside its bounds. REQUIRES: params, tokens > 0.
using ConstantRanges = std::map<std::string, std::pair<double, double>>;
absl::StatusOr<Prior> WithRanges(const Prior& prior, const ConstantRanges& ranges, double params,
                                 double tokens, int draws, uint64_t seed);

}  // namespace fit
