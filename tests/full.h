// The longest tests (fuzzing, power analysis, coverage in range and of comparisons) run a part of
// their cases, half to a tenth, so that `scripts/test` stays below 25 minutes on two cores; with
// SWEEP_TEST_FULL set, all of them (`scripts/test --full`).
#pragma once

#include <cstdlib>

inline bool FullTest() { return std::getenv("SWEEP_TEST_FULL") != nullptr; }
