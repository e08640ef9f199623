// A surface law (surface_law.h) as a Law: multistart fit, case bootstrap by run or by budget, the
// compute-optimal forecast. Every resample is refitted to its own optimum, from the point estimate
// and two of the grid's best cells.
#pragma once

#include <memory>

#include "fit/law.h"

namespace fit {

// REQUIRES: `law` lives for ever (ChinchillaLaw()).
std::unique_ptr<Law> MakeSurfaceModel(const SurfaceLaw& law);

}  // namespace fit
