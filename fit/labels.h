// Columns of a file that nobody mapped and that tell experiments apart all the same: `experiment`,
// `dataset`, `optimizer`. Runs that differ in one are not one cohort, whatever it is called.
#pragma once

#include <string>
#include <vector>

#include "fit/observation.h"

namespace fit {

struct LabelFinding {
  std::vector<std::string> columns;  // with the same groups
  size_t groups = 0;
  // Root mean square of the groups' offsets in ln L about one smooth surface in (N, D); NaN where
  // there are too few runs to tell.
  double offset = 0;
  std::string counts;  // "adamh x24, muon x24"
};

// The columns among Observation::labels that split the runs into groups
// - of which at least two have three runs,
// - that do not follow from a run's size: as intervals of N, D, C, D / N or D / U, or (numbers) by
//   a rank correlation above 0.8 with one of them,
// - and whose losses differ: offsets of the groups on a cubic surface of ln L in (ln N, ln D),
// where
//   no size tells the groups apart, are above 0.3 % (root mean square) and improve its AICc by more
//   than 10. Where there are too few runs for that, texts count and numbers do not.
// Deterministic.
std::vector<LabelFinding> FindLabels(const std::vector<Observation>& observations);

}  // namespace fit
