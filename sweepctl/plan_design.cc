#include "sweepctl/plan_design.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/status_macros.h"
#include "core/units.h"
#include "fit/stats.h"
#include "fmt/format.h"
#include "sweepctl/power_input.h"

namespace sweepctl {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// How far beyond the limit it is worth looking for what would do.
constexpr double kBeyond = 1000;
constexpr int kLinearDraws = 8;
constexpr double kStep = 1.1;  // in cost, after a design that fell short
constexpr size_t kFewestBudgets = 3, kMostBudgets = 7;
constexpr int kConfirm = 4;  // times the simulations of the search
constexpr uint64_t kOtherSeed = 1'000'000;

double TwoDigits(double value) {
  const double unit = std::pow(10, std::floor(std::log10(value)) - 1);
  return std::round(value / unit) * unit;
}

// The shapes that `file` would train at a budget; empty where the recipe has too few.
class Expansions {
 public:
  Expansions(const sweeps::SweepFile& file, const sweeps::ExpandOptions& expand)
      : file_(file), expand_(expand) {}

  const std::vector<fit::PlannedRun>& At(double budget, int64_t points) {
    const auto [at, fresh] = known_.try_emplace({budget, points});
    if (!fresh) return at->second;
    sweeps::SweepFile one = file_;
    one.budgets = {budget};
    one.points = points;
    one.seeds = 1;
    one.runs.clear();
    const auto trials = sweeps::Expand(one, expand_);
    if (trials.ok()) at->second = DesignOf(*trials);
    return at->second;
  }

 private:
  const sweeps::SweepFile& file_;
  const sweeps::ExpandOptions& expand_;
  std::map<std::pair<double, int64_t>, std::vector<fit::PlannedRun>> known_;
};

std::vector<double> Tops(double smallest_target, double max_flops) {
  std::vector<double> tops;
  const double most = std::min(0.999 * smallest_target, max_flops * kBeyond);
  for (int exponent = 9; exponent < 27; ++exponent)
    for (const double digit : {1., 1.5, 2., 3., 5., 7.}) {
      const double top = digit * std::pow(10, exponent);
      if (top <= most && top >= smallest_target * 1e-6) tops.push_back(top);
    }
  return tops;
}

std::vector<DesignCandidate> AllDesigns(Expansions& expansions, const std::vector<double>& tops) {
  std::vector<DesignCandidate> designs;
  for (const double top : tops)
    for (const double ratio : {2., std::sqrt(10.), 5., 10.})
      for (const int64_t points : {5, 6, 7, 8, 10, 12}) {
        std::vector<double> budgets;
        std::vector<fit::PlannedRun> runs;
        for (int count = 1; count <= static_cast<int>(kMostBudgets); ++count) {
          const double budget = count == 1 ? top : TwoDigits(top / std::pow(ratio, count - 1));
          const std::vector<fit::PlannedRun>& more = expansions.At(budget, points);
          if (static_cast<int64_t>(more.size()) < points) break;
          budgets.insert(budgets.begin(), budget);
          runs.insert(runs.begin(), more.begin(), more.end());
          if (count < static_cast<int>(kFewestBudgets)) continue;
          for (const int seeds : {1, 2, 3}) {
            DesignCandidate design;
            design.budgets = budgets;
            design.points = points;
            design.seeds = seeds;
            design.runs = runs;
            for (fit::PlannedRun& run : design.runs) {
              run.repeats = seeds;
              design.flops += seeds * run.flops;
            }
            designs.push_back(std::move(design));
          }
        }
      }
  return designs;
}

double Widest(const fit::Power& power) {
  double widest = 0;
  for (const fit::TargetPower& target : power.targets) {
    // Where some sweeps end without an interval, none is promised.
    if (!std::isfinite(target.half_width) || target.no_interval > 0.1) return kInfinity;
    widest = std::max(widest, target.half_width);
  }
  return 10 * power.failed > power.simulations ? kInfinity : widest;
}

// Of the designs with one number of budgets, those that no cheaper one beats in linear theory, by
// rising cost. Numbers of budgets are kept apart: a law through optima of budgets leaves E as wide
// as few degrees of freedom do, and linear theory does not know that.
std::vector<DesignCandidate> Front(const std::vector<DesignCandidate>& designs, size_t budgets) {
  constexpr double kBetter = 0.97;
  std::vector<DesignCandidate> front;
  for (const DesignCandidate& design : designs)
    if (design.budgets.size() == budgets && std::isfinite(design.linear_half_width) &&
        (front.empty() || design.linear_half_width < kBetter * front.back().linear_half_width))
      front.push_back(design);
  return front;
}

// Simulates the designs of one front, each at most once.
class Simulated {
 public:
  Simulated(const std::vector<DesignCandidate>& front, const fit::Prior& prior,
            const std::vector<fit::PowerTarget>& targets, const fit::PowerOptions& options)
      : front_(front), prior_(prior), targets_(targets), options_(options) {}

  double Width(size_t i) { return WidthIn(screened_, i, options_); }
  // What is chosen for its width among many was partly lucky: it is simulated anew.
  double ConfirmedWidth(size_t i) {
    fit::PowerOptions anew = options_;
    anew.simulations = kConfirm * options_.simulations;
    anew.seed = options_.seed + kOtherSeed;
    return WidthIn(confirmed_, i, anew);
  }
  const fit::Power& screened(size_t i) const { return screened_.at(i); }
  const fit::Power& confirmed(size_t i) const { return confirmed_.at(i); }

  // The number of designs that cost at most this.
  size_t Within(double flops) const {
    return static_cast<size_t>(
        std::partition_point(front_.begin(), front_.end(),
                             [&](const DesignCandidate& d) { return d.flops <= flops; }) -
        front_.begin());
  }

  // The first of [low, high) that reaches the width, taking widths to fall with cost; then onwards,
  // a tenth dearer each, over designs that fall short. `high` when none does, which the two dearest
  // decide.
  size_t FirstReaching(double width, size_t low, size_t high) {
    const size_t end = high;
    if (low == high) return end;
    if (Width(high - 1) > width && (high - low < 2 || Width(high - 2) > width)) return end;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (Width(middle) <= width)
        high = middle;
      else
        low = middle + 1;
    }
    while (low < end && (Width(low) > width || ConfirmedWidth(low) > width))
      low = std::max(low + 1, Within(kStep * front_[low].flops));
    return std::min(low, end);
  }

 private:
  using Results = std::map<size_t, fit::Power>;

  double WidthIn(Results& results, size_t i, const fit::PowerOptions& options) {
    if (const auto known = results.find(i); known != results.end()) return Widest(known->second);
    auto power = fit::SimulatePower(prior_, front_[i].runs, targets_, options);
    if (!power.ok()) return kInfinity;
    return Widest(results.emplace(i, *std::move(power)).first->second);
  }

  const std::vector<DesignCandidate>& front_;
  const fit::Prior& prior_;
  const std::vector<fit::PowerTarget>& targets_;
  const fit::PowerOptions& options_;
  Results screened_, confirmed_;
};

}  // namespace

sweeps::SweepFile FileOf(const sweeps::SweepFile& file, const DesignCandidate& design) {
  sweeps::SweepFile out = file;
  out.name = file.name.substr(0, 56) + "-design";
  out.budgets = design.budgets;
  out.points = design.points;
  out.seeds = design.seeds;
  out.runs.clear();
  return out;
}

absl::StatusOr<DesignAnswer> CheapestDesign(const sweeps::SweepFile& file,
                                            const sweeps::ExpandOptions& expand,
                                            const fit::Prior& prior,
                                            const std::vector<fit::PowerTarget>& targets,
                                            const fit::PowerOptions& options, double width,
                                            double max_flops) {
  DesignAnswer answer;
  answer.floor = fit::StudentTwoSided(options.level, 1e7) * prior.noise.Total();
  double smallest_target = kInfinity;
  for (const fit::PowerTarget& target : targets)
    smallest_target = std::min(smallest_target, target.flops);

  Expansions expansions(file, expand);
  std::vector<DesignCandidate> designs = AllDesigns(expansions, Tops(smallest_target, max_flops));
  answer.considered = designs.size();
  fit::Prior thin = prior;
  if (thin.draws.size() > kLinearDraws) thin.draws.resize(kLinearDraws);
  for (DesignCandidate& design : designs)
    for (const fit::PowerTarget& target : targets)
      design.linear_half_width = std::max(
          design.linear_half_width, fit::LinearHalfWidth(thin, design.runs, target, options.level));
  std::sort(designs.begin(), designs.end(), [](const auto& a, const auto& b) {
    return a.flops != b.flops ? a.flops < b.flops : a.linear_half_width < b.linear_half_width;
  });
  std::vector<std::vector<DesignCandidate>> fronts;
  for (size_t budgets = kMostBudgets; budgets >= kFewestBudgets; --budgets)
    if (auto front = Front(designs, budgets); !front.empty()) fronts.push_back(std::move(front));
  if (fronts.empty())
    return absl::FailedPreconditionError(
        fmt::format("recipe {} has no IsoFLOP design below {} FLOPs that determines the law",
                    file.recipe, core::FormatFlops(smallest_target)));
  std::vector<Simulated> simulated;
  for (const auto& front : fronts) simulated.emplace_back(front, prior, targets, options);

  for (size_t f = 0; f < fronts.size(); ++f) {
    // Only cheaper than what another number of budgets gave.
    const size_t end =
        simulated[f].Within(answer.design.has_value() ? 0.999 * answer.design->flops : max_flops);
    const size_t found = simulated[f].FirstReaching(width, 0, end);
    if (found == end) continue;
    answer.design = fronts[f][found];
    answer.power = simulated[f].confirmed(found);
    answer.half_width = Widest(answer.power);
  }
  if (answer.design.has_value()) return answer;
  for (size_t f = 0; f < fronts.size(); ++f) {
    const size_t end = simulated[f].Within(max_flops);
    for (size_t i = end; i-- > 0 && end - i <= 2;) {
      const double reached = simulated[f].Width(i);
      if (!std::isfinite(reached)) continue;
      if (answer.narrowest.has_value() && reached >= Widest(answer.narrowest_power)) continue;
      answer.narrowest = fronts[f][i];
      answer.narrowest_power = simulated[f].screened(i);
      answer.half_width = reached;
    }
  }
  if (width <= answer.floor) return answer;
  for (size_t f = 0; f < fronts.size(); ++f) {
    const size_t begin = simulated[f].Within(max_flops);
    const size_t end = simulated[f].Within(answer.beyond.has_value() ? 0.999 * answer.beyond->flops
                                                                     : kBeyond * max_flops);
    if (begin >= end) continue;
    const size_t enough = simulated[f].FirstReaching(width, begin, end);
    if (enough < end) answer.beyond = fronts[f][enough];
  }
  return answer;
}

}  // namespace sweepctl
