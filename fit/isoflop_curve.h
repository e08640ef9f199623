// Loss against size at one budget as a curve with a bottom, in three ways that differ in what they
// assume:
//   parabola   least squares of degree 2: the steadiest, biased on asymmetric curves
//   cubic      least squares of degree 3: follows the asymmetry, wants 4 sizes
//   akima      the piecewise cubic interpolation of Akima in ln L, equal sizes averaged, its lowest
//              point on 25 points an interval, refined: no shape is assumed, so noise moves it;
//              wants 5 sizes
// **Source:** Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2 (parabola); Porian et al. 2024
// (arXiv:2406.19146), appendix C (Akima); Akima 1970, JACM 17, 589.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace fit {

enum class IsoflopCurve { kParabola, kCubic, kAkima };
std::string_view Text(IsoflopCurve curve);
// Different sizes that it needs: 3, 4, 5.
size_t FewestSizes(IsoflopCurve curve);

enum class CurveShape {
  kValley,   // a bottom, not necessarily where the data are
  kFalling,  // lowest at the last size
  kRising,   // lowest at the first size
  kHill,     // no bottom at all
};

struct SizeCurve {
  CurveShape shape = CurveShape::kHill;
  double x = 0, y = 0;   // the bottom of a valley; for the other shapes unused
  double curvature = 0;  // a in y + a (x' - x)^2 at the bottom; of a parabola always set
  // At every given point: the curve, and the scatter about it. An interpolation has none, so
  // Akima's is the scatter about the cubic.
  std::vector<double> fitted, residuals;
  int coefficients = 3;  // that the residuals paid for
};

// `w`: multiplicities > 0. REQUIRES: sizes of equal length, at least FewestSizes different x.
SizeCurve FitSizeCurve(IsoflopCurve curve, const std::vector<double>& x,
                       const std::vector<double>& y, const std::vector<double>& w);

}  // namespace fit
