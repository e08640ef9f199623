// The Chinchilla law (approach 3):
//   L(N, D) = E + A / N^alpha + B / D^beta
// E      nats; loss of an infinite model on infinite data (entropy of the text); >= 0
// A, alpha   what a finite model costs; alpha in [0, 5]
// B, beta    what finite data costs; beta in [0, 5]
// Solved in theta = (lnA, lnB, E, alpha, beta). E enters linearly, so the bound E = 0 is an
// ordinary box bound that an optimum can touch and that is then reported (with lnE it would run
// away to minus infinity instead).
// Optimum of C = k N D (closed form):
//   G = (alpha A / (beta B))^(1/(alpha+beta)),
//   N* = G (C/k)^(beta/(alpha+beta)),   D* = G^-1 (C/k)^(alpha/(alpha+beta))
// **Source:** Hoffmann et al. 2022 (arXiv:2203.15556), section 3.3 and eq. 4. Starting points by
// variable projection, Golub and Pereyra 1973 as in arXiv:2603.22339: for fixed (alpha, beta) the
// law is linear in (E, A, B) >= 0.
#pragma once

#include "fit/surface_law.h"

namespace fit {

// Process-wide, stateless, never destroyed.
const SurfaceLaw& ChinchillaLaw();

}  // namespace fit
