// Whether C, N and D of the runs can mean what they are called.
#pragma once

#include <string>
#include <vector>

#include "fit/observation.h"

namespace fit {

// Why not, for people; empty when they can: core/flops_doubt.h of each run's flop_convention.
std::string FlopsDoubt(const std::vector<Observation>& observations);

}  // namespace fit
