// Whether two cohorts can be compared: they differ in one thing, the compared factor, and both
// losses are measured with one yardstick.
#pragma once

#include <string>
#include <vector>

#include "fit/cohort.h"
#include "fit/warnings.h"

namespace fit {

struct KeyDifference {
  std::string key, a, b;  // "(none)" where a cohort does not say it
};

struct Comparability {
  std::vector<KeyDifference> differences;  // every key that differs
  std::vector<std::string> factors;        // of these, what is compared
  std::vector<std::string> reasons;        // why not, in words; empty: comparable
  std::vector<Warning> warnings;           // unknown-cohort, confounded, unlabelled, shared-runs
};

// The cohort keys that may be the compared factor: all but the yardstick's (below), sorted. The
// tokenizer is among them: in bits per byte it may be one.
std::vector<std::string> FactorKeys();

// A factor besides: that models of the two cohorts cost different FLOPs for each parameter and
// token, and are not only counted differently.
inline constexpr char kFlopsFactor[] = "flops_per_param_token";

// The yardstick: metric, eval, seq_len (the evaluation's context), flop_convention, n_convention
// and schedule must be the same and known in both or unknown in both (a warning); so must
// tokenizer, unless the metric is in bits per byte, which no tokenizer changes. Of the other keys
// (recipe, data, numerics, ...) one may differ; several only when `factors` names them all (a
// warning: the multiplier belongs to all of them together); kFlopsFactor among them names none. A
// key of the yardstick that is mixed within a cohort is a reason; another counts as
// the shares of its values ("c4 80 %, pile 20 %"), which differ from other shares. `columns`:
// differences in columns that are no keys; each is one that may be compared. `a` and `b` name the
// cohorts in words. Cannot fail.
Comparability CheckComparable(const Cohort& cohort_a, const Cohort& cohort_b, const std::string& a,
                              const std::string& b, const std::vector<std::string>& factors,
                              const std::vector<KeyDifference>& columns = {});

}  // namespace fit
