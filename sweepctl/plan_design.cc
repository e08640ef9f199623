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
      for (const int64_t points : {4, 5, 6, 7, 8, 10, 12}) {
        std::vector<double> budgets;
        std::vector<fit::PlannedRun> runs;
        for (int count = 1; count <= 7; ++count) {
          const double budget = count == 1 ? top : TwoDigits(top / std::pow(ratio, count - 1));
          const std::vector<fit::PlannedRun>& more = expansions.At(budget, points);
          if (static_cast<int64_t>(more.size()) < points) break;
          budgets.insert(budgets.begin(), budget);
          runs.insert(runs.begin(), more.begin(), more.end());
          if (count < 3) continue;
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
  // Only designs that no cheaper one beats.
  std::sort(designs.begin(), designs.end(), [](const auto& a, const auto& b) {
    return a.flops != b.flops ? a.flops < b.flops : a.linear_half_width < b.linear_half_width;
  });
  std::vector<DesignCandidate> best;
  for (DesignCandidate& design : designs)
    if (std::isfinite(design.linear_half_width) &&
        (best.empty() || design.linear_half_width < 0.98 * best.back().linear_half_width))
      best.push_back(std::move(design));
  if (best.empty())
    return absl::FailedPreconditionError(
        fmt::format("recipe {} has no IsoFLOP design below {} FLOPs that determines the law",
                    file.recipe, core::FormatFlops(smallest_target)));

  std::map<size_t, fit::Power> simulated, confirmed;
  const auto width_of = [&](size_t i) {
    if (const auto known = simulated.find(i); known != simulated.end())
      return Widest(known->second);
    auto power = fit::SimulatePower(prior, best[i].runs, targets, options);
    if (!power.ok()) return kInfinity;
    return Widest(simulated.emplace(i, *std::move(power)).first->second);
  };
  // What is chosen for its width among many was partly lucky: it is simulated anew.
  const auto confirmed_width = [&](size_t i) {
    fit::PowerOptions anew = options;
    anew.simulations = kConfirm * options.simulations;
    anew.seed = options.seed + kOtherSeed;
    auto power = fit::SimulatePower(prior, best[i].runs, targets, anew);
    if (!power.ok()) return kInfinity;
    return Widest(confirmed.emplace(i, *std::move(power)).first->second);
  };
  // The first of [low, high) that reaches the width, taking widths to fall with cost; then onwards
  // over designs that fall short.
  const auto first_reaching = [&](size_t low, size_t high) {
    const size_t end = high;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (width_of(middle) <= width)
        high = middle;
      else
        low = middle + 1;
    }
    while (low < end && (width_of(low) > width || confirmed_width(low) > width)) ++low;
    return low;
  };
  const auto limit = std::partition_point(
      best.begin(), best.end(), [&](const auto& design) { return design.flops <= max_flops; });
  const auto affordable = static_cast<size_t>(limit - best.begin());
  const size_t found = first_reaching(0, affordable);
  if (found < affordable) {
    answer.design = best[found];
    answer.power = confirmed.at(found);
    return answer;
  }
  for (size_t i = affordable; i-- > 0 && affordable - i <= 3;) {
    if (!std::isfinite(width_of(i))) continue;
    if (answer.narrowest.has_value() && width_of(i) >= Widest(answer.narrowest_power)) continue;
    answer.narrowest = best[i];
    answer.narrowest_power = simulated.at(i);
  }
  if (width > answer.floor) {
    const size_t enough = first_reaching(affordable, best.size());
    if (enough < best.size()) answer.beyond = best[enough];
  }
  return answer;
}

}  // namespace sweepctl
