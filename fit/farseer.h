// A richer surface: the tokens' exponent, its coefficient and the tokens-free part each move with
// N.
//   L(N, D) = exp(s N^q + S) + exp(B N^b + Q) D^-exp(A N^a + E)
// s, q, S   ln of the loss of unlimited data: S and a power of N; it falls to a limit where q < 0,
//           without end where s < 0 < q
// B, b, Q   ln of what scarce data cost: Q and a power of N
// A, a, E   ln of the tokens' exponent: E and a power of N. E is not the asymptote of other laws
// It follows curvature that the five constants of Chinchilla cannot, and needs N and D varied
// independently over wide ranges; whether it is worth nine constants is for held-out error and AICc
// to say.
//
// Solved in theta = (s0, q, S0, B0, b, Q0, A0, a, E0):
//   s N^q + S = S0 + s0 ((N/N0)^q - 1)/q,   N0 = 1e9
// so that a power and a logarithm (q = 0) are neighbours; likewise for b and a. Then s = s0/q N0^-q
// and S = S0 - s0/q: the paper's letters run away where an exponent is near 0.
// **Source:** Farseer, arXiv:2506.10972, eq. 4. Starts from a Chinchilla fit: its value, slope and
// curvature in ln N, with a grid of coupled exponents.
#pragma once

#include "fit/surface_law.h"

namespace fit {

const SurfaceLaw& FarseerLaw();

}  // namespace fit
