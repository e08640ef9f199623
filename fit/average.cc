#include "fit/average.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/check.h"
#include "fit/stats.h"

namespace fit {
namespace {

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

struct Errors {
  double mean_square = 0;
  int count = 0;
};

Errors ErrorsOf(const std::vector<RollingForecasts>& known) {
  Errors errors;
  double sum = 0;
  for (const RollingForecasts& cut : known)
    for (const TestPoint& test : cut) {
      const double error = std::log(test.actual / test.predicted);
      if (!std::isfinite(error)) continue;
      sum += error * error;
      ++errors.count;
    }
  if (errors.count > 0) errors.mean_square = sum / errors.count;
  return errors;
}

// A forecast as an average sees it.
TestPoint ProfileAverageOf(const TestPoint& test) {
  if (test.averaged == nullptr) return test;
  TestPoint averaged = *test.averaged;
  averaged.reach = test.reach;
  averaged.target = test.target;
  return averaged;
}

bool IsAveraged(const std::vector<RollingForecasts>& known) {
  return !known.empty() && !known[0].empty() && known[0][0].averaged != nullptr;
}

// ln density at `actual` of a two-piece Student's t with 4 degrees of freedom.
double LogDensity(const TestPoint& test, const Calibration& calibration, double quantile) {
  Interval interval{test.lo, test.hi};
  calibration.Apply(test.predicted, test.reach, &interval);
  constexpr double kNarrowest = 1e-6;
  const double left = std::max(std::log(test.predicted / interval.lo), kNarrowest) / quantile;
  const double right = std::max(std::log(interval.hi / test.predicted), kNarrowest) / quantile;
  const double off = std::log(test.actual / test.predicted);
  const double z = off / (off < 0 ? left : right);
  return -std::log(0.5 * (left + right)) - 2.5 * std::log1p(z * z / 4);
}

}  // namespace

std::vector<RollingForecasts> ProfileAverages(const std::vector<RollingForecasts>& known) {
  std::vector<RollingForecasts> averages = known;
  for (RollingForecasts& cut : averages)
    for (TestPoint& test : cut) test = ProfileAverageOf(test);
  return averages;
}

Calibration CalibrationOf(std::string_view law, bool averaged,
                          const std::vector<RollingForecasts>& known, double level) {
  return averaged ? Calibration::OfAverages(law, known, level) : Calibration(law, known, level);
}

double PrecisionWeight(double loss, double lo, double hi) {
  // Without an interval a law counts as one that knows the loss to 10 %.
  constexpr double kUnknown = 0.1, kNarrowest = 1e-4;
  double half = 0.5 * std::log(std::max(hi, loss) / std::min(lo, loss));
  if (!std::isfinite(half)) half = kUnknown;
  half = std::max(half, kNarrowest);
  return 1 / (half * half);
}

void CoverAsymptote(double loss, const Interval& ends, Interval* mean, Interval* run) {
  if (!std::isfinite(run->lo) || !std::isfinite(run->hi)) return;
  const auto one_side = [&](int side, double end, double* mean_end, double* run_end) {
    const auto distance = [&](double value) {
      return std::isfinite(value) ? std::max(side * std::log(value / loss), 0.0) : 0;
    };
    const double inner = distance(*mean_end), outer = distance(*run_end);
    const double scatter = std::sqrt(std::max(outer * outer - inner * inner, 0.0));
    const double covered = std::max(inner, distance(end));
    if (covered > inner) *mean_end = end;
    const double reached = std::max(outer, std::hypot(covered, scatter));
    if (reached > outer) *run_end = loss * std::exp(side * reached);
  };
  one_side(-1, ends.lo, &mean->lo, &run->lo);
  one_side(+1, ends.hi, &mean->hi, &run->hi);
}

std::vector<double> ScoreWeights(const std::vector<std::string>& laws,
                                 const std::vector<std::vector<RollingForecasts>>& known) {
  SWEEP_CHECK(laws.size() == known.size());
  const double quantile = StudentTwoSided(kWeighingLevel, 4);
  // By cut and target: what every law said there.
  std::map<int64_t, std::map<size_t, std::vector<double>>> densities;
  constexpr double kSameCut = 1e6;
  for (size_t l = 0; l < laws.size(); ++l) {
    const Calibration blank = CalibrationOf(laws[l], IsAveraged(known[l]), {}, kWeighingLevel);
    for (const RollingForecasts& cut : ProfileAverages(known[l]))
      for (const TestPoint& test : cut) {
        const double density = LogDensity(test, blank, quantile);
        if (std::isfinite(density) && test.reach > 0)
          densities[std::llround(kSameCut * std::log(test.flops / test.reach))][test.target]
              .push_back(density);
      }
  }
  std::vector<double> scores(laws.size(), 0);
  double cuts = 0, first = 0, last = 0;  // with common targets
  for (const auto& [cut, targets] : densities) {
    std::vector<double> sums(laws.size(), 0);
    int common = 0;
    for (const auto& [actual, of_laws] : targets) {
      if (of_laws.size() != laws.size()) continue;
      ++common;
      for (size_t l = 0; l < laws.size(); ++l) sums[l] += of_laws[l];
    }
    if (common == 0) continue;
    last = static_cast<double>(cut) / kSameCut;
    if (cuts++ == 0) first = last;
    for (size_t l = 0; l < laws.size(); ++l) scores[l] += sums[l] / common;
  }
  const double apart = (last - first) / std::log(2.0) + 1;
  if (cuts > apart)
    for (double& score : scores) score *= apart / cuts;
  const double best = *std::max_element(scores.begin(), scores.end());
  for (double& score : scores) score = std::exp(score - best);
  return scores;
}

MixturePart Mixture(const std::vector<MixturePart>& parts, double level) {
  SWEEP_CHECK(!parts.empty());
  const double quantile = StudentTwoSided(level, 1e7);
  MixturePart mixture;
  mixture.lo = mixture.hi = std::numeric_limits<double>::quiet_NaN();
  struct Piece {
    double weight, centre, left, right;
  };
  std::vector<Piece> pieces;
  double total = 0, log_loss = 0, low = HUGE_VAL, high = -HUGE_VAL, with_interval = 0;
  for (const MixturePart& part : parts) {
    total += part.weight;
    log_loss += part.weight * std::log(part.loss);
    if (!std::isfinite(part.lo) || !std::isfinite(part.hi)) continue;
    const double centre = std::log(part.loss);
    const double left = std::max(centre - std::log(part.lo), 1e-12) / quantile;
    const double right = std::max(std::log(part.hi) - centre, 1e-12) / quantile;
    pieces.push_back({part.weight, centre, left, right});
    with_interval += part.weight;
    low = std::min(low, centre - 9 * left), high = std::max(high, centre + 9 * right);
  }
  mixture.weight = total;
  mixture.loss = std::exp(log_loss / total);
  if (pieces.empty()) return mixture;
  const auto at = [&](double probability) {
    double below = low, above = high;
    for (int i = 0; i < 200 && above - below > 1e-13; ++i) {
      const double x = 0.5 * (below + above);
      double sum = 0;
      for (const Piece& p : pieces)
        sum += p.weight * NormalCdf((x - p.centre) / (x < p.centre ? p.left : p.right));
      (sum / with_interval < probability ? below : above) = x;
    }
    return std::exp(0.5 * (below + above));
  };
  mixture.lo = std::min(at((1 - level) / 2), mixture.loss);
  mixture.hi = std::max(at((1 + level) / 2), mixture.loss);
  return mixture;
}

namespace {

// A member of an average, with its calibrated intervals.
struct Member {
  TestPoint test;
  Interval run, mean;
};

Member MemberOf(const AveragedLaw& law, double level) {
  const bool averaged = law.test.averaged != nullptr;
  const Calibration calibration =
      CalibrationOf(law.law, averaged, averaged ? ProfileAverages(law.known) : law.known, level);
  Member member;
  member.test = ProfileAverageOf(law.test);
  const TestPoint& test = member.test;
  member.run.lo = test.lo, member.run.hi = test.hi;
  member.mean.lo = test.mean_lo, member.mean.hi = test.mean_hi;
  calibration.Apply(test.predicted, test.reach, &member.run);
  calibration.Apply(test.predicted, test.reach, &member.mean);
  return member;
}

}  // namespace

std::vector<double> WeightsOf(const std::vector<AveragedLaw>& laws) {
  std::vector<std::string> names;
  std::vector<std::vector<RollingForecasts>> known;
  for (const AveragedLaw& law : laws) names.push_back(law.law), known.push_back(law.known);
  std::vector<double> weights = ScoreWeights(names, known);
  for (size_t l = 0; l < laws.size(); ++l) {
    const Member member = MemberOf(laws[l], kWeighingLevel);
    weights[l] *= PrecisionWeight(member.test.predicted, member.run.lo, member.run.hi);
  }
  return weights;
}

MixturePart AverageOfTests(const std::vector<AveragedLaw>& laws, const std::vector<double>& weights,
                           double level) {
  SWEEP_CHECK(laws.size() == weights.size());
  std::vector<MixturePart> runs, means;
  double total = 0, log_lo = 0, log_hi = 0;
  for (size_t l = 0; l < laws.size(); ++l) {
    const Member member = MemberOf(laws[l], level);
    runs.push_back({weights[l], member.test.predicted, member.run.lo, member.run.hi});
    means.push_back({weights[l], member.test.predicted, member.mean.lo, member.mean.hi});
    total += weights[l];
    log_lo += weights[l] * std::log(member.test.at_E_lo);
    log_hi += weights[l] * std::log(member.test.at_E_hi);
  }
  MixturePart mixture = Mixture(runs, level);
  if (!std::isfinite(mixture.lo)) return mixture;
  const MixturePart mean = Mixture(means, level);
  Interval inner{mean.lo, mean.hi}, outer{mixture.lo, mixture.hi};
  const double ends[] = {std::exp(log_lo / total), std::exp(log_hi / total)};
  CoverAsymptote(mixture.loss, {std::min(ends[0], ends[1]), std::max(ends[0], ends[1])}, &inner,
                 &outer);
  mixture.lo = outer.lo, mixture.hi = outer.hi;
  return mixture;
}

namespace {

// What `chosen` laws forecast at `cut`, by the run.
std::map<size_t, std::vector<AveragedLaw>> ByTarget(const std::vector<BacktestRow>& rows,
                                                    const std::vector<std::string>& chosen,
                                                    double cut) {
  std::map<size_t, std::vector<AveragedLaw>> by_target;
  for (const BacktestRow& row : rows) {
    if (row.cut_flops != cut || std::find(chosen.begin(), chosen.end(), row.law) == chosen.end())
      continue;
    const std::vector<RollingForecasts> known = KnownAt(rows, row.law, cut);
    for (const TestPoint& test : row.judged)
      by_target[test.target].push_back({row.law, test, known});
  }
  return by_target;
}

}  // namespace

std::vector<BacktestRow> AverageBacktest(const std::vector<BacktestRow>& rows,
                                         const std::vector<BacktestRow>& weighed,
                                         const std::vector<std::string>& laws, double level) {
  std::map<double, std::vector<const BacktestRow*>> cuts;
  for (const BacktestRow& row : rows)
    if (std::find(laws.begin(), laws.end(), row.law) != laws.end())
      cuts[row.cut_flops].push_back(&row);
  std::vector<BacktestRow> averages;
  for (auto& [cut, members] : cuts) {
    if (members.size() < 2 &&
        (members[0]->judged.empty() || members[0]->judged[0].averaged == nullptr))
      continue;
    BacktestRow average;
    average.law = "average";
    average.cut_flops = cut;
    std::vector<Candidate> candidates;
    for (const BacktestRow* member : members)
      candidates.push_back(
          {member->law, member->aicc, ProfileAverages(KnownAt(rows, member->law, cut))});
    average.chosen = SelectLaws(candidates);
    std::erase_if(members, [&](const BacktestRow* member) {
      return std::find(average.chosen.begin(), average.chosen.end(), member->law) ==
             average.chosen.end();
    });
    std::vector<double> errors;
    size_t inside = 0;
    bool intervals = true;
    auto weighed_parts = ByTarget(weighed, average.chosen, cut);
    for (const auto& [index, parts] : ByTarget(rows, average.chosen, cut)) {
      const TestPoint& target = parts[0].test;
      const MixturePart mixture = AverageOfTests(parts, WeightsOf(weighed_parts[index]), level);
      errors.push_back(mixture.loss / target.actual - 1);
      average.max_rel = std::max(average.max_rel, std::fabs(errors.back()));
      average.reach = std::max(average.reach, target.reach);
      intervals = intervals && std::isfinite(mixture.lo);
      inside += mixture.lo <= target.actual && target.actual <= mixture.hi;
      average.judged.push_back(
          {target.flops, target.actual, mixture.loss, mixture.lo, mixture.hi, target.reach});
      average.judged.back().target = index;
    }
    if (errors.empty()) continue;
    for (const BacktestRow* member : members)
      average.n_train = std::max(average.n_train, member->n_train);
    average.n_test = errors.size();
    average.rms_rel = RootMeanSquare(errors);
    average.bias_rel = Mean(errors);
    average.coverage_raw = std::numeric_limits<double>::quiet_NaN();
    average.coverage = intervals ? static_cast<double>(inside) / static_cast<double>(errors.size())
                                 : std::numeric_limits<double>::quiet_NaN();
    averages.push_back(std::move(average));
  }
  return averages;
}

double HeldOutError(const Candidate& candidate) {
  return std::sqrt(ErrorsOf(candidate.known).mean_square);
}

Selection SelectedBy(const std::vector<Candidate>& candidates) {
  constexpr int kEnough = 4;
  for (const Candidate& candidate : candidates)
    if (!std::isnan(candidate.aicc) && ErrorsOf(candidate.known).count < kEnough)
      return Selection::kAicc;
  return Selection::kHeldOut;
}

std::vector<std::string> SelectLaws(const std::vector<Candidate>& candidates) {
  constexpr double kWorse = 1.5, kNoSupport = 10;
  const bool held_out = SelectedBy(candidates) == Selection::kHeldOut;
  double least_square = HUGE_VAL, least_aicc = HUGE_VAL;
  for (const Candidate& candidate : candidates) {
    if (std::isnan(candidate.aicc)) continue;
    const Errors errors = ErrorsOf(candidate.known);
    least_square = std::min(least_square, errors.mean_square);
    least_aicc = std::min(least_aicc, candidate.aicc);
  }
  std::vector<std::string> selected;
  for (const Candidate& candidate : candidates) {
    const bool joins =
        std::isnan(candidate.aicc) ||
        (held_out ? ErrorsOf(candidate.known).mean_square <= kWorse * kWorse * least_square
                  : candidate.aicc - least_aicc <= kNoSupport || candidate.aicc == least_aicc);
    if (joins) selected.push_back(candidate.law);
  }
  return selected;
}

}  // namespace fit
