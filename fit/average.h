// The default forecast: a weighted mixture of the laws that can be fitted, because which law is
// right out of range is not known in range.
//   weight_l proportional to exp(S_l) / w_l^2
//   S_l      sum over cuts of the mean ln density that l's rolling forecasts gave to what came,
//            Student's t with 4 degrees on their calibrated intervals, over the forecasts that all
//            laws of the average made; cuts closer than a factor of 2 in C share most of their
//            runs and count as one such factor does
//   w_l      half-width of l's own calibrated interval: who says that it does not know counts less
// Both at kWeighingLevel, whatever level is asked for: the forecast is one, its intervals are many.
//   forecast = exp(sum weight_l ln L_l)
//   interval = quantiles of the mixture of the laws' predictive distributions, each a two-piece
//   normal
//            in ln L with its law's calibrated interval; where laws disagree the mixture is wide
// Of a law that has one, its average over the profile (drift.h) is taken.
// Before that, laws that compete for the same runs (surfaces: those with an AICc) are selected: see
// SelectLaws. Neither weights nor selection of a forecast ever saw its outcome: both are nested.
// **Source:** prediction pools weighted by past predictive scores, Geweke and Amisano 2011, and
// pseudo-BMA of Yao et al. 2018 (arXiv:1704.02030); inverse variances, Bates and Granger 1969.
#pragma once

#include <string>
#include <vector>

#include "fit/backtest.h"
#include "fit/calibration.h"

namespace fit {

constexpr double kWeighingLevel = 0.9;

struct MixturePart {
  double weight = 1;  // > 0, any scale
  double loss = 0, lo = 0, hi = 0;
};

// The mixture's centre and its central interval at `level`. NaN ends when no part has an interval;
// parts without one are left out of the interval and stay in the centre. REQUIRES: parts not empty,
// intervals at this same level, losses > 0.
MixturePart Mixture(const std::vector<MixturePart>& parts, double level);

// `known` as an average sees it: of laws that have one, the profile's average.
std::vector<RollingForecasts> ProfileAverages(const std::vector<RollingForecasts>& known);

// A law's forecast of one run, and what is `known` of the law by then.
struct AveragedLaw {
  std::string law;
  TestPoint test;
  std::vector<RollingForecasts> known;
};

// exp(S_l) / w_l^2 of every law, with intervals of kWeighingLevel.
std::vector<double> WeightsOf(const std::vector<AveragedLaw>& laws);

// What an average says of one run that its laws forecast, each calibrated with what is known of
// it: the mixture, whose interval covers that of the mixture's mean and the range over which the
// laws' asymptotes move it. REQUIRES: not empty, a weight each.
MixturePart AverageOfTests(const std::vector<AveragedLaw>& laws, const std::vector<double>& weights,
                           double level);

// Makes `mean` cover `ends`, which is where the asymptote moves the forecast, and `run` reach as
// far beyond that as runs scatter: where `run` lay beyond `mean`, that in squares. NaN `run`s stay.
void CoverAsymptote(double loss, const Interval& ends, Interval* mean, Interval* run);

// exp(S_l) of every law, the largest 1. REQUIRES: sizes equal; intervals of kWeighingLevel.
std::vector<double> ScoreWeights(const std::vector<std::string>& laws,
                                 const std::vector<std::vector<RollingForecasts>>& known);

// The weight of a law whose calibrated interval, in ln L, reaches from lo to hi about `loss`.
double PrecisionWeight(double loss, double lo, double hi);

// Widens an interval of a forecast of `law`, of its profile's average or its own, by `known`, which
// is of the same kind as `averaged` says.
Calibration CalibrationOf(std::string_view law, bool averaged,
                          const std::vector<RollingForecasts>& known, double level);

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

// Root mean square of what is known of its errors, in ln L; 0 where nothing is.
double HeldOutError(const Candidate& candidate);

// By what SelectLaws tells surfaces apart.
enum class Selection { kHeldOut, kAicc };
Selection SelectedBy(const std::vector<Candidate>& candidates);

// What the average would have forecast at every cut at which two or more of `laws` did, or one with
// a profile average: the judged run of each later budget, with the weights and the widening known
// at that cut. `weighed`: the same rows with intervals of kWeighingLevel. Rows of law "average".
std::vector<BacktestRow> AverageBacktest(const std::vector<BacktestRow>& rows,
                                         const std::vector<BacktestRow>& weighed,
                                         const std::vector<std::string>& laws, double level);

}  // namespace fit
