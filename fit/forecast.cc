#include "fit/forecast.h"

#include <algorithm>
#include <cmath>

#include "core/units.h"
#include "fmt/format.h"

namespace fit {

namespace {

// Warnings about single budgets stay with the fit; those about the law as a whole go along with
// every number taken from it.
bool BearsOnForecast(const Warning& warning) {
  return warning.code != kEdgeMinimum && warning.code != kWrongCurvature &&
         warning.code != kTooFewPoints;
}

}  // namespace

std::string PrimaryLaw(const std::vector<const FittedLaw*>& laws) {
  constexpr size_t kGoodBudgets = 3;
  for (const FittedLaw* law : laws)
    if (law->fit().law == "frontier" && law->fit().n >= kGoodBudgets) return law->fit().law;
  for (const FittedLaw* law : laws)
    if (law->fit().law != "isoflop") return law->fit().law;
  return "";
}

std::vector<Forecast> ForecastAt(const std::vector<const FittedLaw*>& laws, double flops,
                                 const Scale& scale) {
  const std::string primary = PrimaryLaw(laws);
  std::vector<Forecast> forecasts;
  for (const FittedLaw* law : laws) {
    std::optional<Forecast> forecast = law->Predict(flops);
    if (!forecast.has_value()) continue;
    for (const Warning& warning : law->fit().warnings)
      if (BearsOnForecast(warning) && !Has(forecast->warnings, warning.code))
        forecast->warnings.push_back(warning);
    forecast->primary = forecast->law == primary;
    forecast->metric = scale.metric;
    forecast->reach = flops / scale.largest_flops;
    forecast->leverage = flops / scale.spent_flops;
    if (forecast->reach > 1 + 1e-9)
      forecast->warnings.push_back(Warn(
          kOutsideRange,
          fmt::format("{} is {:.3g} times the largest fitted budget {}", core::FormatFlops(flops),
                      forecast->reach, core::FormatFlops(scale.largest_flops))));
    if (flops < scale.smallest_flops * (1 - 1e-9))
      forecast->warnings.push_back(
          Warn(kOutsideRange,
               fmt::format("{} lies below the smallest fitted budget {}, by a factor of {:.3g}",
                           core::FormatFlops(flops), core::FormatFlops(scale.smallest_flops),
                           scale.smallest_flops / flops)));
    if (!std::isfinite(forecast->interval.lo) || !std::isfinite(forecast->interval.hi))
      forecast->warnings.push_back(
          Warn(kNoInterval, "too few resamples for an interval; raise --bootstrap"));
    forecasts.push_back(*std::move(forecast));
  }
  std::stable_partition(forecasts.begin(), forecasts.end(),
                        [](const Forecast& f) { return f.primary; });
  if (forecasts.empty() || !forecasts[0].primary) return forecasts;
  for (size_t i = 1; i < forecasts.size(); ++i) {
    const Interval& interval = forecasts[0].interval;
    if (!(forecasts[i].loss < interval.lo || forecasts[i].loss > interval.hi)) continue;
    const std::string text =
        fmt::format("at {} {} forecasts {:.4f}, outside the interval {:.4f} .. {:.4f} of {}",
                    core::FormatFlops(flops), forecasts[i].law, forecasts[i].loss, interval.lo,
                    interval.hi, forecasts[0].law);
    forecasts[0].warnings.push_back(Warn(kLawsDisagree, text));
    forecasts[i].warnings.push_back(Warn(kLawsDisagree, text));
  }
  return forecasts;
}

}  // namespace fit
