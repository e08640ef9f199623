#include "fit/compare_report.h"

#include <cmath>

#include "core/units.h"
#include "fit/interval_json.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

using core::Json;

// Of a quantity above 0, so that 0 and infinity are open ends.
Json OpenIntervalJson(const Interval& interval) {
  Json json = IntervalJson(interval);
  json["open_lo"] = interval.lo == 0, json["open_hi"] = std::isinf(interval.hi);
  return json;
}

Json MultiplierJson(const Multiplier& m) {
  Json by_law = Json::object();
  for (const auto& [law, value] : m.by_law) by_law[law] = Number(value);
  return {{"budget_flops", m.flops},
          {"loss", Number(m.loss)},
          {"multiplier", Number(m.value)},
          {"interval", OpenIntervalJson(m.interval)},
          {"equivalent_flops", Number(m.equivalent_flops)},
          {"reach_a", Number(m.reach_a)},
          {"reach_b", Number(m.reach_b)},
          {"by_law", by_law},
          {"warnings", WarningsJson(m.warnings)}};
}

Json CrossoverJson(const Crossover& c) {
  return {{"flops", c.flops.has_value() ? Number(*c.flops) : Json(nullptr)},
          {"extrapolated", c.extrapolated},
          {"interval", c.flops.has_value() ? OpenIntervalJson(c.interval) : Json(nullptr)},
          {"share_in_range", c.share_in_range},
          {"searched_lo_flops", c.lo_flops},
          {"searched_hi_flops", c.hi_flops},
          {"better_below", c.better_below},
          {"better_above", c.better_above}};
}

Json CrossingsJson(const std::vector<Crossing>& crossings) {
  Json list = Json::array();
  for (const Crossing& c : crossings)
    list.push_back({{"flops", c.flops},
                    {"extrapolated", c.extrapolated},
                    {"share", c.share},
                    {"better_below", c.better_below},
                    {"better_above", c.better_above}});
  return list;
}

Json DecidingJson(const DecidingRun& run) {
  Json json = {{"budget_flops", run.flops}, {"decided", run.decided}, {"found", run.found}};
  if (!run.why_none.empty()) json["why_none"] = run.why_none;
  if (run.decided || !run.why_none.empty()) return json;
  json["cohort"] = run.cohort;
  json["run_flops"] = run.run_flops;
  json["params"] = Number(run.params);
  json["tokens"] = Number(run.tokens);
  json["runs"] = run.runs;
  json["half_width_ln"] = run.half_width;
  json["half_width_ln_after"] = run.half_width_after;
  json["level"] = run.level;
  json["kind"] = std::string(Name(IntervalKind::kMean));
  json["margin"] = kDecidingMargin;
  json["method"] = "linear-Gaussian update of the resamples, estimate kept";
  return json;
}

// "1.23", "0.0123", "more than any", "0".
std::string Times(double value) {
  if (std::isnan(value)) return "unknown";
  return std::isinf(value) ? "infinity" : fmt::format("{:.3g}", value);
}

std::string Flops(double value) {
  if (std::isnan(value)) return "unknown";
  return std::isinf(value) ? "infinity" : core::FormatFlops(value);
}

std::string Ends(const Interval& interval, std::string (*shown)(double)) {
  return fmt::format("[{}, {}] ({:.10g} % {})", shown(interval.lo), shown(interval.hi),
                     100 * interval.level, Name(interval.kind));
}

std::string NotComparableText(const Comparison& c) {
  std::string text = fmt::format("{} and {} are not comparable:\n", c.a, c.b);
  for (const std::string& reason : c.comparability.reasons) text += fmt::format("  - {}\n", reason);
  return text;
}

std::string CrossoverText(const Comparison& comparison) {
  const Crossover& c = comparison.crossover;
  const std::string share =
      fmt::format("{:.0f} % of the resamples, weighed as the laws, cross between {} and {}",
                  100 * c.share_in_range, core::FormatFlops(comparison.trend.lo_flops),
                  core::FormatFlops(comparison.trend.hi_flops));
  if (!c.flops.has_value())
    return fmt::format("crossover: none between {} and {}; {} is better all along; {}\n",
                       core::FormatFlops(c.lo_flops), core::FormatFlops(c.hi_flops), c.better_above,
                       share);
  if (c.interval.lo == 0 && std::isinf(c.interval.hi))
    return fmt::format(
        "crossover: not located; the fits cross at {}, and {:.10g} % of resamples "
        "leave no C out; {}\n",
        Flops(*c.flops), 100 * c.interval.level, share);
  std::string text = fmt::format("crossover: at {} {}{}: {} is better below, {} above; {}\n",
                                 Flops(*c.flops), Ends(c.interval, Flops),
                                 c.extrapolated ? ", extrapolated (none in the range fitted)" : "",
                                 c.better_below, c.better_above, share);
  if (c.all.size() < 2) return text;
  text += fmt::format("  {} crossings between {} and {}:\n", c.all.size(),
                      core::FormatFlops(c.lo_flops), core::FormatFlops(c.hi_flops));
  for (const Crossing& each : c.all)
    text += fmt::format(
        "    at {}{}: {} is better up to it, {} from there; so in {:.0f} % of the "
        "resamples, weighed as the laws\n",
        Flops(each.flops), each.extrapolated ? ", extrapolated" : "", each.better_below,
        each.better_above, 100 * each.share);
  return text;
}

std::string DecidingText(const Comparison& comparison) {
  const DecidingRun& run = comparison.deciding;
  const std::string at = core::FormatFlops(run.flops);
  if (!run.why_none.empty())
    return fmt::format("what would decide at {}: not known, {}\n", at, run.why_none);
  if (run.decided)
    return fmt::format("what would decide at {}: nothing more, the interval leaves 1 out\n", at);
  const std::string what = fmt::format(
      "{} compute-optimal run{} of {} at {} FLOPs ({} params, {} tokens), {} FLOPs in all",
      run.runs, run.runs == 1 ? "" : "s", run.cohort, core::FormatFlops(run.run_flops),
      core::FormatCount(run.params), core::FormatCount(run.tokens),
      core::FormatFlops(run.runs * run.run_flops));
  const std::string width =
      fmt::format("half-width of ln CM ({:.10g} % {}) {:.3g} -> {:.3g}{}", 100 * run.level,
                  Name(IntervalKind::kMean), run.half_width, run.half_width_after,
                  run.found ? ", which leaves 1 out by a tenth of the estimate or more" : "");
  return fmt::format(
      "what would decide at {}: {}{}; {}; linear-Gaussian estimate, if the multiplier "
      "stays where it is and the laws are right\n",
      at, run.found ? "" : "none of the runs looked at; the most telling single one is ", what,
      width);
}

}  // namespace

Json CompareJson(const Comparison& c) {
  Json differences = Json::array(), laws = Json::object(), multipliers = Json::array();
  for (const KeyDifference& d : c.comparability.differences)
    differences.push_back({{"key", d.key}, {"a", d.a}, {"b", d.b}});
  const bool comparable = c.comparability.reasons.empty();
  Json json = {{"a", c.a},
               {"b", c.b},
               {"comparable", comparable},
               {"reasons", c.comparability.reasons},
               {"differences", differences},
               {"factors", c.comparability.factors},
               {"warnings", WarningsJson(comparable ? c.warnings : c.comparability.warnings)}};
  if (!comparable) return json;
  for (const auto& [law, weight] : c.laws) laws[law] = weight;
  for (const Multiplier& m : c.multipliers) multipliers.push_back(MultiplierJson(m));
  json["laws"] = laws;
  json["multipliers"] = multipliers;
  json["trend"] = {{"factor_per_decade", Number(c.trend.factor)},
                   {"interval", OpenIntervalJson(c.trend.interval)},
                   {"lo_flops", c.trend.lo_flops},
                   {"hi_flops", c.trend.hi_flops}};
  json["crossover"] = CrossoverJson(c.crossover);
  json["crossovers"] = CrossingsJson(c.crossover.all);
  json["deciding_run"] = DecidingJson(c.deciding);
  return json;
}

std::string CompareText(const Comparison& c) {
  if (!c.comparability.reasons.empty()) return NotComparableText(c);
  std::string text = fmt::format("{} (A, {} runs) against {} (B, {} runs)", c.a,
                                 c.fit_a.observations, c.b, c.fit_b.observations);
  for (const KeyDifference& d : c.comparability.differences)
    text += fmt::format("\n  {:<16} {} | {}", d.key, d.a, d.b);
  text += "\nlaws:";
  for (const auto& [law, weight] : c.laws) text += fmt::format(" {} {:.2f}", law, weight);
  text += fmt::format(
      "\ncompute multiplier: how many times the compute of {} {} needs for the same loss\n", c.b,
      c.a);
  for (const Multiplier& m : c.multipliers) {
    text += fmt::format("  at {:<10} loss {:.4f}   CM {} {}   {} FLOPs of {}\n",
                        core::FormatFlops(m.flops), m.loss, Times(m.value), Ends(m.interval, Times),
                        Flops(m.equivalent_flops), c.a);
    if (m.by_law.size() > 1) {
      text += "    by law:";
      for (const auto& [law, value] : m.by_law) text += fmt::format(" {} {}", law, Times(value));
      text += "\n";
    }
    for (const Warning& w : m.warnings) text += fmt::format("    ! {}: {}\n", w.code, w.text);
  }
  if (!c.multipliers.empty()) text += fmt::format("  ({})\n", c.multipliers[0].interval.method);
  text += fmt::format("trend: CM x {} a decade {} between {} and {}\n", Times(c.trend.factor),
                      Ends(c.trend.interval, Times), core::FormatFlops(c.trend.lo_flops),
                      core::FormatFlops(c.trend.hi_flops));
  text += CrossoverText(c) + DecidingText(c);
  for (const Warning& w : c.warnings) text += fmt::format("! {}: {}\n", w.code, w.text);
  return text;
}

}  // namespace fit
