// A surface law fitted to runs: the constants, the resamples behind their intervals, and the range
// of E. Numbers only; surface_forecast.h asks it about targets, surface_findings.h says what is to
// be thought of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fit/equation_fit.h"
#include "fit/law.h"
#include "fit/profile.h"

namespace fit {

struct SurfaceFit {
  const SurfaceLaw* law = nullptr;  // lives for ever
  LawOptions options;
  std::vector<Coordinate> box;   // the law's, with what is given held
  int free = 0;                  // coordinates that are fitted
  std::vector<FitPoint> points;  // of the runs; these and the next three in their order
  std::vector<double> flops;
  std::vector<double> weights;  // 1 without a noise model
  std::vector<double> noise;    // ln L - ln Lhat, widened for the constants, over NoiseScale
  std::optional<NoiseModel> noise_model;
  bool noise_untold = false;  // a noise model was asked for, and the runs do not tell one
  std::vector<double> first_start;
  EquationFit best;
  std::vector<double> theta;  // best's
  BootstrapDraws draws;
  int case_resamples_failed = 0;  // > 0: so many that `draws` are of residuals instead
  std::vector<std::optional<ProfileRange>> profiles;  // by coordinate
  Interval asymptote;                                 // of a free E; NaN ends: unknown
  std::vector<std::vector<double>> held;              // theta refitted with E at its ends

  bool IsLog(size_t i) const { return box[i].name.starts_with("ln"); }
  // The letter under which a coordinate is reported.
  std::string Letter(size_t i) const { return IsLog(i) ? box[i].name.substr(2) : box[i].name; }
  bool HasFreeAsymptote() const;
  // Whether the law could be refitted at both ends of E.
  bool HasHeldEnds() const { return held.size() == 2 && !held[0].empty() && !held[1].empty(); }
  std::string Method() const;  // of the resamples, for people
  // The scatter of runs at `flops` in units of `noise`.
  double NoiseScale(double at_flops) const;
};

// Inputs of the law at runs.
std::vector<FitPoint> PointsOf(const SurfaceLaw& law, const std::vector<Observation>& observations);

// Multistart fit, profiles, case bootstrap by run or by budget (every resample refitted to its own
// optimum, from the point estimate and two of the grid's best cells), residual bootstrap where the
// runs are too few for that, range of E. nullopt when no start has a finite objective.
// Deterministic. REQUIRES: valid observations, not empty.
std::optional<SurfaceFit> FitSurface(const SurfaceLaw& law, const LawOptions& options,
                                     const std::vector<Observation>& observations);

}  // namespace fit
