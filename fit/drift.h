// A forecast averaged over the profile of a law's constants, whose lack of fit drifts with compute.
//   L(x) = E + f(x) sum_j a_j exp(-g_j u_j(x)),   a_j > 0, 0 <= E < the lowest loss reached
//          frontier: u = ln X, f = F of the optimum (effective_compute.h), ln C and 1 where
//          C / (N D) does not bend;   surface: u_1 = ln N, u_2 = ln D, f = 1
//   (L - Lhat) / L0 = s (w + d),   L0 what another fit of the law judges the loss to be
//          w: independent, variance 1 - rho
//          d: a random walk in log2 C, variance rho a doubling, from one doubling below the first
//          run
// A fit that minimises squares takes residuals for independent noise. Real laws are a little wrong,
// and alike in neighbouring budgets, so the end of the curve says more about what comes next than
// its start does, and the error grows with the distance. Each (E, g, rho) is weighted by its
// profile likelihood over the a_j and the unknown s, the losses are kriged from it, and the
// forecast is the median of their mixture: no single E is chosen, however little the runs say about
// it.
//   weight  (RSS + nu0 s0^2)^(-(n - J + nu0) / 2) |V|^(-1/2) |X' V^-1 X / X' X|^(-1/2),
//           RSS = r' V^-1 r, J terms, X their columns; the last factor (restricted likelihood)
//           gives back what the terms take of the drift, and leaves shapes alike
// uniform in E and rho (five values); ln g uniform over [0.02, 2] times a weak prior, where one is
// given. s0, nu0: a scatter that is always possible, worth nu0 residuals, without which four
// budgets would believe that they lie on a curve exactly. Where the best law's residuals are
// smaller than s0, ln s0 moves to them as the n - 2 J - 1 degrees of freedom outnumber four.
// **Source:** discrepancy that is a process of its own, Kennedy and O'Hagan 2001, and
// Brynjarsdottir and O'Hagan 2014 for what goes wrong without it; the constants were set on the
// tuning half of bench/forecasts (its PROTOCOL.md).
#pragma once

#include <array>
#include <optional>
#include <vector>

namespace fit {

// A loss at compute C, and the logarithms whose powers the law sums (the second unused by
// frontiers).
struct DriftPoint {
  double log_flops = 0;
  std::array<double, 2> u{};
  double loss = 0;
  double factor = 1;  // f
  // The loss there by another fit of the same law: what residuals are relative to. 0: the measured
  // one, which lets a drift with many runs make residuals small by making every loss small.
  double judged = 0;
};

struct DriftOptions {
  int terms = 1;           // J, 1 or 2
  double scale = 0.005;    // s0, relative
  double worth = 2;        // nu0 > 0
  double lowest_loss = 0;  // what E lies below, LowestLoss (isoflop.h); 0: the lowest of the points
  double level = 0.9;      // of all intervals
  // Relative scatter of single runs where points are more than runs (minima of budgets).
  double run_scatter = 0;
  // Runs far off `judged` weigh less, as if their scatter were Student's t with 4 degrees: least
  // squares of its own would follow a run at the end of the design.
  bool weigh_runs = false;
  // Of every exponent: ln g normal about ln `usual_g` with this standard deviation; 0: no prior.
  double usual_g = 0, prior_spread = 0;
};

// What it says about one point. `lo`, `hi`: of a single run there; `mean_lo`, `mean_hi`: of the
// mean; `at_E_lo`, `at_E_hi`: of the shape at the end of E's profile or, where the range of E is
// that of the weight, the mean over the lowest and highest 1 - level of it.
struct DriftForecast {
  double loss = 0, lo = 0, hi = 0, mean_lo = 0, mean_hi = 0, at_E_lo = 0, at_E_hi = 0;
};

class DriftFit {
 public:
  // nullopt with fewer than terms + 2 points. Cost O(n) for each of some thousand shapes.
  // Deterministic. REQUIRES: losses > 0, all finite.
  static std::optional<DriftFit> Fit(std::vector<DriftPoint> points, const DriftOptions& options);

  // `at.loss` is not looked at. Thread-safe.
  DriftForecast At(const DriftPoint& at) const;

  // The range of E, and its median: the central share of its weight, united with its profile, the
  // values at which the best shape's likelihood, without the prior, is within Student's t at the
  // level of the best of all. The weight alone says little about E = 0: of a prior that is uniform
  // in E next to nothing lies there.
  double E_lo() const { return E_lo_; }
  double E_hi() const { return E_hi_; }
  double E() const { return E_; }
  // Mean share of the drift in a residual's variance, in [0, 1).
  double drift_share() const { return drift_share_; }

 private:
  // One value of rho: the filter that makes residuals independent.
  struct Filter {
    double rho = 0, log_det = 0;
    std::vector<double> gain, root;  // by point, in order of C
  };
  // One (E, g, rho) with its conditional a_j.
  struct Member {
    double weight = 0, E = 0;
    std::array<double, 2> g{}, a{};
    int filter = 0;
    double scale = 0;                 // s
    std::array<double, 3> inverse{};  // of the a_j's normal matrix: 11, 12, 22
    std::array<int, 2> shape{};       // columns of g among `columns_`
    // The shape's parabola RSS(E) = least + curvature (E - centre)^2, how its a_j fall with E, and
    // what is in its log weight beside RSS.
    double least = 0, curvature = 0, centre = 0, log_rest = 0;
    std::array<double, 2> falls{};
  };
  struct Grid {
    std::vector<double> log_g[2];
  };

  DriftFit(std::vector<DriftPoint> points, const DriftOptions& options);
  void MakeFilters(const std::vector<double>& rhos);
  std::vector<double> Whiten(const Filter& filter, std::vector<double> column) const;
  // Members of the whole grid that carry weight; the largest log weight is in `best`.
  std::vector<Member> Weigh(const Grid& grid, double keep, double* best);
  void LowerFloor();  // to what the residuals show; members must not drift
  Grid Zoomed(const Grid& grid, const std::vector<Member>& members, int points) const;
  void WeighRuns();
  void Summarise();
  // Extends the range of E to what its profile over all shapes allows.
  void ProfileAsymptote();
  double Fitted(const Member& member, const DriftPoint& at) const;

  std::vector<DriftPoint> points_;  // by rising C; u shifted so that the largest is 0
  DriftOptions options_;
  std::array<double, 2> shift_{};
  double first_ = 0, ceiling_ = 0, freedom_ = 0;
  double floor_ = 0;  // nu0 s0^2
  std::vector<double> run_weight_;
  std::vector<Filter> filters_;
  std::vector<std::vector<std::vector<double>>> columns_[2];  // whitened: [term][filter][g]
  // Whitened, by filter: 1 and the loss, relative to what is judged.
  std::vector<std::vector<double>> inverse_, measured_;
  std::vector<Member> members_;
  // Where the profile of E ends beyond the central weight.
  std::optional<Member> beyond_lo_, beyond_hi_;
  double E_ = 0, E_lo_ = 0, E_hi_ = 0, drift_share_ = 0;
};

}  // namespace fit
