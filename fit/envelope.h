// Approach 1: the lowest loss that any run had reached with so much compute.
//   with loss curves: on a grid of C (24 points a decade), the least of the runs' curves there, ln
//   L
//                     between checkpoints linear in ln C; the run's N and the tokens it had seen
//                     then
//   with final losses: the runs that no run of equal or less compute beats
// A point whose model is the smallest or the largest that was there is no optimum but an end of the
// design, and is left out; final losses are compared within their budget, where it has 3 sizes.
// The envelope then has the laws of frontier.h. Loss curves of a schedule that has not cooled lie
// above what a run made for that compute would reach: the envelope of such curves is too high.
// **Source:** Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1.
#pragma once

#include <vector>

#include "fit/checkpoints.h"
#include "fit/frontier.h"

namespace fit {

struct EnvelopePoint {
  double flops = 0, params = 0, tokens = 0, loss = 0;
};

// By rising flops. `weights`: of each run, 0 leaves it out; empty for all.
std::vector<EnvelopePoint> LowerEnvelope(const std::vector<Observation>& observations,
                                         const std::vector<RunRows>& runs,
                                         const std::vector<double>& weights = {});

// The laws of frontier.h through the envelope.
FrontierFit FitEnvelope(const std::vector<EnvelopePoint>& envelope,
                        const AsymptoticOptions& asymptotic);

}  // namespace fit
