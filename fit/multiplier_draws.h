// ln CM (compare.h) of two cohorts as a sample: one value a law and pair of resamples.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "fit/frontier_curve.h"

namespace fit {

// One law fitted to both cohorts.
struct LawPair {
  std::unique_ptr<FrontierCurve> a, b;
  double weight = 1;

  // ln CM at ln C, as fitted or of one pair of resamples; infinite where A does not reach the loss.
  double LnMultiplier(double ln_flops, size_t resample) const;
};

class MultiplierDraws {
 public:
  // Weights sum to 1.
  explicit MultiplierDraws(std::vector<LawPair> laws);

  const std::vector<LawPair>& laws() const { return laws_; }
  size_t size() const { return draws_.size(); }
  // The weight of those draws that `has` names, of all that there are: the draws of a law weigh as
  // much as the law, however many they are. 0 without draws. REQUIRES: one value a draw.
  double Share(const std::vector<bool>& has) const;

  // Of the fits: the weighted mean over laws.
  double LnMultiplier(double ln_flops) const;
  // One value a draw.
  std::vector<double> LnMultipliers(double ln_flops) const;
  // ln L_A - ln L_B at the same C: above 0 where CM > 1. Cheaper than the multiplier.
  double Gap(double ln_flops, size_t draw) const;
  // ln L of A's (of_a) or B's frontier, one value a draw.
  std::vector<double> LnLosses(bool of_a, double ln_flops) const;

  // Weighted quantiles (1 - level) / 2 and (1 + level) / 2 of one value a draw; infinite values
  // count, NaN do not. NaN when fewer than 20 are left, or less than half of the weight: the rule
  // of EnoughResamples, where a law that has too few in either cohort has no draws at all.
  std::pair<double, double> Percentiles(const std::vector<double>& values, double level) const;
  // exp of the percentiles of `logs`, one value a draw.
  Interval IntervalOf(const std::vector<double>& logs, double level) const;
  // Weighted covariance over the draws in which both are finite.
  double Covariance(const std::vector<double>& x, const std::vector<double>& y) const;

 private:
  struct Draw {
    size_t law = 0, resample = 0;
    double weight = 0;
  };
  std::vector<LawPair> laws_;
  std::vector<Draw> draws_;
};

struct SignChange {
  double x = 0;
  bool rises = false;  // from below 0 to above
};

// Every x in [lo, hi] at which `f` changes its sign, ascending, found on a grid of 8 points a
// decade and refined: of two changes between neighbours on the grid neither is seen. Touching 0,
// being 0, and jumping between infinities are no change of sign.
std::vector<SignChange> SignChanges(const std::function<double(double)>& f, double lo, double hi);

}  // namespace fit
