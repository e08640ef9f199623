#include "fit/crossover.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace fit {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();
const double kDecade = std::log(10);

// The range of the trend, and what is looked at around it.
struct Search {
  double lo, hi;
  double first() const { return lo - kDecade; }
  double last() const { return hi + 2 * kDecade; }
  bool Inside(double x) const { return x >= lo && x <= hi; }
};

// All changes of sign, ascending.
std::vector<SignChange> AllOf(const std::function<double(double)>& f, const Search& search) {
  std::vector<SignChange> all;
  for (const auto& [from, to] :
       {std::pair{search.first(), search.lo}, {search.lo, search.hi}, {search.hi, search.last()}})
    for (const SignChange& change : SignChanges(f, from, to)) all.push_back(change);
  return all;
}

// The one that is named first: the lowest in the range, else above it, else below.
const SignChange* Foremost(const std::vector<SignChange>& all, const Search& search) {
  const auto from = [&](double x) {
    const auto it = std::find_if(all.begin(), all.end(),
                                 [&](const SignChange& change) { return change.x >= x; });
    return it == all.end() ? nullptr : &*it;
  };
  const SignChange* within = from(search.lo);
  return within != nullptr || all.empty() ? within : &all[0];
}

// Where a resample crosses as the fit does at `like`: 0 or infinity where it is on one side all
// along the search.
double CrossingLike(const SignChange& like, const std::vector<SignChange>& own, bool ends_above_0,
                    const Search& search) {
  std::vector<SignChange> alike;
  for (const SignChange& change : own)
    if (change.rises == like.rises) alike.push_back(change);
  if (const SignChange* same = Foremost(alike, search)) return same->x;
  // With only the other change, it has been on the far side from below the search on.
  if (!own.empty()) return -kInfinity;
  return ends_above_0 == like.rises ? -kInfinity : kInfinity;
}

}  // namespace

Crossover FindCrossover(const MultiplierDraws& draws, double lo, double hi,
                        const std::pair<std::string, std::string>& names, double level) {
  const Search search{lo, hi};
  const auto multiplier = [&](double x) { return draws.LnMultiplier(x); };
  const std::vector<SignChange> all = AllOf(multiplier, search);
  const SignChange* foremost = Foremost(all, search);
  const auto better = [&](bool b) { return b ? names.second : names.first; };
  Crossover crossover;
  crossover.lo_flops = std::exp(search.first());
  crossover.hi_flops = std::exp(search.last());
  for (const SignChange& change : all)
    crossover.all.push_back({std::exp(change.x), !search.Inside(change.x), 0, better(!change.rises),
                             better(change.rises)});
  // A resample's crossing belongs to the fit's that it is nearest to, if it goes the same way.
  const auto nearest = [&](const SignChange& own) {
    size_t best = 0;
    for (size_t k = 1; k < all.size(); ++k)
      if (std::fabs(all[k].x - own.x) < std::fabs(all[best].x - own.x)) best = k;
    return best;
  };
  std::vector<double> crossings;
  std::vector<bool> in_range(draws.size(), false);
  std::vector<std::vector<bool>> seen(all.size(), in_range);  // by the fit's crossing, then by draw
  for (size_t d = 0; d < draws.size(); ++d) {
    const auto gap = [&](double x) { return draws.Gap(x, d); };
    const std::vector<SignChange> own = AllOf(gap, search);
    for (const SignChange& change : own)
      if (!all.empty() && all[nearest(change)].rises == change.rises)
        seen[nearest(change)][d] = true;
    in_range[d] = std::any_of(own.begin(), own.end(),
                              [&](const SignChange& c) { return search.Inside(c.x); });
    if (foremost != nullptr)
      crossings.push_back(CrossingLike(*foremost, own, gap(search.last()) > 0, search));
  }
  crossover.share_in_range = draws.Share(in_range);
  for (size_t k = 0; k < all.size(); ++k) crossover.all[k].share = draws.Share(seen[k]);
  if (foremost == nullptr) {
    crossover.better_below = crossover.better_above = better(multiplier(hi) > 0);
    return crossover;
  }
  crossover.flops = std::exp(foremost->x);
  crossover.extrapolated = !search.Inside(foremost->x);
  crossover.better_below = better(!foremost->rises);
  crossover.better_above = better(foremost->rises);
  crossover.interval = draws.IntervalOf(crossings, level);
  return crossover;
}

}  // namespace fit
