#include "fit/deciding_run.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fit/forecast.h"
#include "fmt/format.h"

namespace fit {
namespace {

const double kDecade = std::log(10);

struct Candidate {
  bool of_a = false;
  double ln_flops = 0;
  int runs = 1;
  double after = 0;  // half-width
  double Cost() const { return runs * std::exp(ln_flops); }
};

// Half-widths of ln CM after n repetitions of a run: Var(q | run) of compare.h.
class Update {
 public:
  Update(const MultiplierDraws& draws, std::vector<double> q, double half_width)
      : draws_(draws),
        q_(std::move(q)),
        half_width_(half_width),
        variance_(draws.Covariance(q_, q_)) {}

  double After(const std::vector<double>& y, double scatter, int runs) const {
    const double cov = draws_.Covariance(q_, y);
    const double var = draws_.Covariance(y, y) + scatter * scatter / runs;
    if (!(var > 0) || !(variance_ > 0)) return half_width_;
    return half_width_ * std::sqrt(std::max(0.0, 1 - cov * cov / (var * variance_)));
  }

 private:
  const MultiplierDraws& draws_;
  const std::vector<double> q_;
  const double half_width_, variance_;
};

// Weighted over the laws.
double Scatter(const MultiplierDraws& draws, bool of_a, double ln_flops) {
  double scatter = 0;
  for (const LawPair& pair : draws.laws())
    scatter += pair.weight * (of_a ? pair.a : pair.b)->RunScatter(ln_flops);
  return scatter;
}

// The compute-optimal model at a run's budget, by the first law, without its known bias.
void Describe(const MultiplierDraws& draws, const Candidate& candidate, DecidingRun& run) {
  const LawPair& pair = draws.laws()[0];
  const FrontierCurve& curve = candidate.of_a ? *pair.a : *pair.b;
  run.run_flops = std::exp(candidate.ln_flops);
  run.runs = candidate.runs;
  run.half_width_after = candidate.after;
  if (const auto optimum = curve.Optimum(candidate.ln_flops)) {
    run.params = optimum->params / optimum->params_ratio;
    run.tokens = optimum->tokens / optimum->tokens_ratio;
  }
}

}  // namespace

DecidingRun FindDecidingRun(const MultiplierDraws& draws, double flops,
                            const std::pair<std::string, std::string>& names, double level) {
  DecidingRun run;
  run.flops = flops;
  run.level = level;
  const double x = std::log(flops), estimate = draws.LnMultiplier(x);
  const std::vector<double> q = draws.LnMultipliers(x);
  const auto [lo, hi] = draws.Percentiles(q, level);
  if (!std::isfinite(lo) || !std::isfinite(hi) || !std::isfinite(estimate)) {
    run.why_none = std::isnan(lo) ? "there is no interval to narrow"
                                  : "the interval is open: a loss is not reached at any compute";
    return run;
  }
  if (lo > 0 || hi < 0) {
    run.decided = true;
    return run;
  }
  run.half_width = std::max(estimate > 0 ? estimate - lo : hi - estimate, 0.0);
  const Update update(draws, q, run.half_width);
  Candidate cheapest, telling;
  telling.after = std::numeric_limits<double>::infinity();
  for (const bool of_a : {true, false}) {
    const FitSummary& fit = of_a ? draws.laws()[0].a->summary() : draws.laws()[0].b->summary();
    const double first = std::log(fit.smallest_flops), last = std::log(fit.largest_flops) + kDecade;
    for (double at = first; at < last + 1e-9; at += kDecade / 4) {
      const std::vector<double> y = draws.LnLosses(of_a, at);
      const double scatter = Scatter(draws, of_a, at);
      for (const int runs : {1, 2, 4, 8}) {
        const Candidate candidate{of_a, at, runs, update.After(y, scatter, runs)};
        if (runs == 1 && candidate.after < telling.after) telling = candidate;
        if (candidate.after <= kDecidingMargin * std::fabs(estimate) &&
            (!run.found || candidate.Cost() < cheapest.Cost())) {
          run.found = true;
          cheapest = candidate;
        }
      }
    }
  }
  const Candidate& chosen = run.found ? cheapest : telling;
  run.cohort = chosen.of_a ? names.first : names.second;
  Describe(draws, chosen, run);
  return run;
}

}  // namespace fit
