// Whether C, N and D of the runs can mean what they are called.
#pragma once

#include <string>
#include <vector>

#include "fit/observation.h"

namespace fit {

// Why not, for people; empty when they can. C / (N D) lies near 6 for dense models and above for
// recipes that count attention and the head: outside 1 to 100 a column stands in another unit. Runs
// declared as 6nd must have C = 6 N D within 1 %.
std::string FlopsDoubt(const std::vector<Observation>& observations);

}  // namespace fit
