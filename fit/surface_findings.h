// What is to be said of a fitted surface: its constants with their intervals, how good and how
// certain the fit is, and the warnings that follow.
#pragma once

#include "fit/surface_fit.h"

namespace fit {

// Solves the fit once more with Ceres, as a referee. elapsed_s is left to the caller.
LawFit FindingsOf(const SurfaceFit& fit);

}  // namespace fit
