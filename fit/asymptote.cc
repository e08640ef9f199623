#include "fit/asymptote.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/units.h"
#include "fit/average.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {

void UniteWithAsymptote(double loss, double loss_at_E_lo, double loss_at_E_hi,
                        const std::vector<double>& noise, Interval* mean, Interval* prediction) {
  const bool drawn = std::isfinite(mean->lo);
  mean->lo = std::min({drawn ? mean->lo : loss, loss_at_E_lo, loss_at_E_hi});
  mean->hi = std::max({drawn ? mean->hi : loss, loss_at_E_lo, loss_at_E_hi});
  mean->method = drawn ? mean->method + ", united with the range of E" : "range of E";
  if (noise.empty()) {
    prediction->lo = prediction->hi = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  if (!std::isfinite(prediction->lo)) prediction->lo = prediction->hi = loss;
  const double level = prediction->level;
  const auto both = [&](double end, double quantile) {
    return std::hypot(std::log(end / loss), Quantile(noise, quantile));
  };
  prediction->lo = std::min(prediction->lo, loss * std::exp(-both(mean->lo, (1 - level) / 2)));
  prediction->hi = std::max(prediction->hi, loss * std::exp(both(mean->hi, (1 + level) / 2)));
  prediction->method = mean->method + " + residuals";
}

std::optional<Warning> UnidentifiedAsymptote(const Forecast& forecast, const Interval& unwidened) {
  if (!forecast.asymptote.has_value()) return std::nullopt;
  const AsymptoteSpan& span = *forecast.asymptote;
  const double spread = std::fabs(span.loss_at_E_hi - span.loss_at_E_lo);
  const Interval& own = forecast.interval;
  const bool by_own = spread > 0.5 * (own.hi - own.lo);
  if (!by_own && spread <= 0.5 * (unwidened.hi - unwidened.lo)) return std::nullopt;
  const std::string against =
      !std::isfinite(unwidened.lo) || !std::isfinite(unwidened.hi) ? "; it has no interval"
      : by_own ? fmt::format(", more than half of its {:.10g} % {} interval", 100 * own.level,
                             Name(own.kind))
               : fmt::format(
                     ", more than half of its {:.10g} % {} interval before that was widened for "
                     "reach, {:.4f} .. {:.4f}",
                     100 * unwidened.level, Name(unwidened.kind), unwidened.lo, unwidened.hi);
  return Warn(
      kAsymptoteUnidentified,
      fmt::format("E between {:.4g} and {:.4g} ({:.10g} %) is not ruled out and moves the forecast "
                  "at {} from {:.4f} to {:.4f}{}",
                  span.E.lo, span.E.hi, 100 * span.E.level, core::FormatFlops(forecast.flops),
                  span.loss_at_E_lo, span.loss_at_E_hi, against));
}

void VaryPinnedAsymptote(double pinned_E, const Forecast& free, Forecast* forecast) {
  if (!free.asymptote.has_value()) return;
  const AsymptoteSpan& span = *free.asymptote;
  forecast->asymptote = span;
  Interval ends{std::min({span.loss_at_E_lo, span.loss_at_E_hi, free.loss}),
                std::max({span.loss_at_E_lo, span.loss_at_E_hi, free.loss})};
  const bool covers = std::isfinite(forecast->interval.lo) && std::isfinite(forecast->interval.hi);
  CoverAsymptote(forecast->loss, ends, &forecast->mean_interval, &forecast->interval);
  for (Interval* interval : {&forecast->mean_interval, &forecast->interval})
    if (covers) interval->method += ", united with what E the runs allow";
  const bool allowed = span.E.lo <= pinned_E && pinned_E <= span.E.hi;
  std::erase_if(forecast->warnings, [](const Warning& w) { return w.code == kAsymptotePinned; });
  forecast->warnings.push_back(Warn(
      kAsymptotePinned,
      fmt::format("E = {:.4g} was given{}; the runs themselves allow {:.4g} to {:.4g} and forecast "
                  "{:.4f}, {:.4f} to {:.4f} at the ends: {}",
                  pinned_E, allowed ? "" : ", which the runs reject", span.E.lo, span.E.hi,
                  free.loss, span.loss_at_E_lo, span.loss_at_E_hi,
                  covers ? "the interval covers that" : "there is no interval to cover that")));
}

}  // namespace fit
