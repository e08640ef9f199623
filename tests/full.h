// The longest tests (fuzzing, power analysis, coverage of comparisons) run a quarter or half of
// their cases, so that `scripts/test` stays below 25 minutes on two cores; with SWEEP_TEST_FULL
// set, all of them
// (`scripts/test --full`).
#pragma once

#include <cstdlib>

inline bool FullTest() { return std::getenv("SWEEP_TEST_FULL") != nullptr; }
