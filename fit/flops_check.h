// Whether C, N, D and losses of the runs can mean what they are called.
#pragma once

#include <string>
#include <vector>

#include "fit/flops_relation.h"
#include "fit/observation.h"

namespace fit {

// Why not, for people; empty when they can: core/flops_doubt.h of each run's flop_convention.
std::string FlopsDoubt(const std::vector<Observation>& observations);

// What is odd though possible: C / (N D), geometric mean of the runs, below 4.5 or above 15. Dense
// models of every size lie between, with embeddings and attention counted. Empty otherwise.
std::string FlopsRemark(const std::vector<Observation>& observations);

// Why C of a run to forecast is not counted as that of the runs; empty where it may be: its C / (N
// D) lies more than 2 % outside of theirs and of what `relation` makes of its N.
std::string TargetFlopsDoubt(const std::vector<Observation>& observations,
                             const FlopsRelation& relation, double flops, double params,
                             double tokens);

// Why losses in the metric that the cohort names cannot mean what they are called
// (core/loss_doubt.h), naming the first; empty when they can.
std::string LossDoubt(const std::vector<Observation>& observations);

// What is odd where the cohort names no unit: losses above the bound of nats per token, naming the
// first. Empty otherwise.
std::string LossRemark(const std::vector<Observation>& observations);

}  // namespace fit
