// The default forecast: a weighted mixture of the laws that can be fitted, because which law is
// right out of range is not known in range.
//   weight_l proportional to 1 / (s0^2 + mean square of ln(actual / forecast) over l's rolling
//            forecasts with known outcomes),   s0 = 0.3 %
//   forecast = exp(sum weight_l ln L_l)
//   interval = quantiles of the mixture of the laws' predictive distributions, each a two-piece
//   normal
//            in ln L with its law's calibrated interval; where laws disagree the mixture is wide
// Before that, laws that compete for the same runs (surfaces: those with an AICc) are selected: see
// SelectLaws. Neither weights nor selection of a forecast ever saw its outcome: both are nested.
// **Source:** stacking of predictive distributions, Yao et al. 2018 (arXiv:1704.02030), with
// weights from squared errors because there are few rolling forecasts.
#pragma once

#include <string>
#include <vector>

#include "fit/backtest.h"
#include "fit/calibration.h"

namespace fit {

struct MixturePart {
  double weight = 1;  // > 0, any scale
  double loss = 0, lo = 0, hi = 0;
};

// The mixture's centre and its central interval at `level`. NaN ends when no part has an interval;
// parts without one are left out of the interval and stay in the centre. REQUIRES: parts not empty,
// intervals at this same level, losses > 0.
MixturePart Mixture(const std::vector<MixturePart>& parts, double level);

// What an average says of one run that its laws forecast, each calibrated with what is `known` of
// it: the mixture, whose interval covers that of the mixture's mean and the range over which the
// laws' asymptotes move it. REQUIRES: not empty.
struct AveragedLaw {
  std::string law;
  TestPoint test;
  std::vector<RollingForecasts> known;
};
MixturePart AverageOfTests(const std::vector<AveragedLaw>& laws, double level);

// A law that could join an average, and what is known about it by then.
struct Candidate {
  std::string law;
  double aicc = 0;  // of its fit; NaN for a law of other points than the surfaces' runs
  std::vector<RollingForecasts> known;
};

// The candidates that join, in their order. Those without an AICc always do. Of the surfaces, with
// at least 4 known forecasts for each: those whose root mean square error is at most 1.5 times the
// least; else: those whose AICc is at most 10 above the least. The numbers were set before any
// result.
std::vector<std::string> SelectLaws(const std::vector<Candidate>& candidates);

// By what SelectLaws tells surfaces apart.
enum class Selection { kHeldOut, kAicc };
Selection SelectedBy(const std::vector<Candidate>& candidates);

// What the average would have forecast at every cut at which two or more of `laws` did: the best
// run of each later budget, with the weights and the widening known at that cut. Rows of law
// "average".
std::vector<BacktestRow> AverageBacktest(const std::vector<BacktestRow>& rows,
                                         const std::vector<std::string>& laws, double level);

// Weight of a law by its rolling forecasts. With none, that of a law which errs by 1 %.
double StackingWeight(const std::vector<RollingForecasts>& known);

}  // namespace fit
