#include "fit/two_step_report.h"

#include <cmath>

#include "core/units.h"
#include "fit/interval_json.h"
#include "fmt/format.h"

namespace fit {
namespace {

using core::Json;

Json StepJson(const TwoStepStep& step) {
  Json params = Json::object(), intervals = Json::object();
  for (const auto& [name, value] : step.params) params[name] = Number(value);
  for (const auto& [name, interval] : step.intervals) intervals[name] = IntervalJson(interval);
  return {{"law", step.name},
          {"equation", step.equation},
          {"params", params},
          {"intervals", intervals},
          {"objective", Number(step.objective)},
          {"n", step.n},
          {"starts", step.starts},
          {"starts_at_best", step.starts_at_best}};
}

std::string Range(const Interval& interval) {
  if (!std::isfinite(interval.lo) || !std::isfinite(interval.hi)) return "no interval";
  return fmt::format("{:.10g} % {} interval {:.4f} .. {:.4f} ({})", 100 * interval.level,
                     Name(interval.kind), interval.lo, interval.hi, interval.method);
}

void AppendStep(const char* title, const TwoStepStep& step, std::string& out) {
  out += fmt::format("  {}: {}   {}, n = {}, objective {:.6g}, {} of {} starts agree\n", title,
                     step.name, step.equation, step.n, step.objective, step.starts_at_best,
                     step.starts);
  for (size_t i = 0; i < step.params.size(); ++i) {
    out += fmt::format("    {:<8} {:>12.6g}", step.params[i].first, step.params[i].second);
    const Interval& interval = step.intervals[i].second;
    if (std::isfinite(interval.lo))
      out += fmt::format("   {:.10g} % {} interval {:.5g} .. {:.5g} ({})", 100 * interval.level,
                         Name(interval.kind), interval.lo, interval.hi, interval.method);
    out += "\n";
  }
}

Json AsymptoteJson(const HardForecast& forecast) {
  if (!forecast.asymptote.has_value()) return nullptr;
  const AsymptoteSpan& span = *forecast.asymptote;
  const bool determined = forecast.abstains.empty();
  return {{"E", IntervalJson(span.E)},
          {"soft_at_E_lo", Number(span.loss_at_E_lo)},
          {"soft_at_E_hi", Number(span.loss_at_E_hi)},
          {"hard_at_E_lo", determined ? Number(forecast.hard_at_E_lo) : Json(nullptr)},
          {"hard_at_E_hi", determined ? Number(forecast.hard_at_E_hi) : Json(nullptr)}};
}

std::string ModelText(const TwoStepTarget& target) {
  std::string text = core::FormatFlops(target.flops) + " FLOPs";
  if (target.tokens > 0)
    text += fmt::format(" (N {}, D {})", core::FormatCount(target.params),
                        core::FormatCount(target.tokens));
  return text;
}

}  // namespace

Json TwoStepJson(const TwoStepSummary& summary) {
  Json json = {{"soft", StepJson(summary.soft)},
               {"hard", StepJson(summary.hard)},
               {"runs", summary.runs},
               {"soft_range", {summary.lowest_soft, summary.highest_soft}},
               {"scatter", Number(summary.scatter)},
               {"perfect_model", summary.perfect_model},
               {"chance", summary.chance.has_value() ? Json(*summary.chance) : Json(nullptr)},
               {"resamples", summary.resamples},
               {"resamples_failed", summary.resamples_failed},
               {"forecasts", Json::array()},
               {"backtest", Json::array()},
               {"warnings", WarningsJson(summary.warnings)}};
  for (const TwoStepForecast& f : summary.forecasts)
    json["forecasts"].push_back(
        {{"budget_flops", f.target.flops},
         {"params", f.target.params > 0 ? Json(f.target.params) : Json(nullptr)},
         {"tokens", f.target.tokens > 0 ? Json(f.target.tokens) : Json(nullptr)},
         {"reach", f.reach},
         {"soft", Number(f.at.soft)},
         {"soft_interval", IntervalJson(f.at.soft_interval)},
         {"soft_unwidened_interval", IntervalJson(f.at.soft_unwidened)},
         {"asymptote", AsymptoteJson(f.at)},
         {"determined", f.at.abstains.empty() && std::isfinite(f.at.interval.lo)},
         {"hard", f.at.abstains.empty() ? Number(f.at.hard) : Json(nullptr)},
         {"interval", f.at.abstains.empty() ? IntervalJson(f.at.interval) : Json(nullptr)},
         {"abstains", f.at.abstains.empty() ? Json(nullptr) : Json(f.at.abstains)},
         {"warnings", WarningsJson(f.warnings)}});
  for (const TwoStepBacktestRow& row : summary.backtest)
    json["backtest"].push_back({{"cut_flops", row.cut_flops},
                                {"reach", row.reach},
                                {"n_train", row.n_train},
                                {"n_test", row.n_test},
                                {"abstained", row.abstained},
                                {"rms", Number(row.rms)},
                                {"max", Number(row.max)},
                                {"bias", Number(row.bias)},
                                {"coverage", Number(row.coverage)}});
  return json;
}

std::string TwoStepText(const TwoStepSummary& summary) {
  std::string out = fmt::format("\ntwo-step   hard = {}(soft), soft = {}({})\n", summary.hard.name,
                                summary.soft.name, summary.soft.name == "compute" ? "C" : "N, D");
  AppendStep("step 1", summary.soft, out);
  AppendStep("step 2", summary.hard, out);
  out += fmt::format(
      "  {} runs, soft metric {:.4f} .. {:.4f}, scatter of the hard metric about the curve "
      "{:.4f}{}{}\n",
      summary.runs, summary.lowest_soft, summary.highest_soft, summary.scatter,
      summary.perfect_model ? ", with the pair of a perfect model" : "",
      summary.chance.has_value() ? fmt::format(", floor held at {:g}", *summary.chance) : "");
  for (const Warning& w : summary.warnings)
    if (w.code != kAbstains) out += fmt::format("  ! {}: {}\n", w.code, w.text);
  if (!summary.backtest.empty())
    out += fmt::format(
        "  backtest: fitted to runs at or below the cut; in points of the hard metric, of the "
        "tests "
        "that did not abstain\n"
        "  {:>10} {:>6} {:>6} {:>7} {:>10} {:>7} {:>7} {:>7} {:>9}\n",
        "cut", "train", "test", "reach", "abstained", "rms", "max", "bias", "coverage");
  const auto points = [](double share) {
    return std::isfinite(share) ? fmt::format("{:.2f}", 100 * share) : "-";
  };
  for (const TwoStepBacktestRow& r : summary.backtest)
    out += fmt::format("  {:>10} {:>6} {:>6} {:>7.3g} {:>10} {:>7} {:>7} {:>7} {:>9}\n",
                       core::FormatFlops(r.cut_flops), r.n_train, r.n_test, r.reach, r.abstained,
                       points(r.rms), points(r.max), points(r.bias),
                       std::isfinite(r.coverage) ? fmt::format("{:.0f} %", 100 * r.coverage) : "-");
  for (const TwoStepForecast& f : summary.forecasts) {
    out += fmt::format("  forecast at {}, reach {:.3g}: soft {:.4f}, {}\n", ModelText(f.target),
                       f.reach, f.at.soft, Range(f.at.soft_interval));
    if (f.at.abstains.empty())
      out += fmt::format("    hard {:.4f}, {}\n", f.at.hard, Range(f.at.interval));
    else
      out += fmt::format("    hard: not determined, {}\n", f.at.abstains);
    if (f.at.asymptote.has_value()) {
      const AsymptoteSpan& span = *f.at.asymptote;
      out += fmt::format(
          "    E of step 1, {:.10g} % {} interval {:.4f} .. {:.4f}, moves soft from {:.4f} to "
          "{:.4f}",
          100 * span.E.level, Name(span.E.kind), span.E.lo, span.E.hi, span.loss_at_E_lo,
          span.loss_at_E_hi);
      out += f.at.abstains.empty() ? fmt::format(", hard from {:.4f} to {:.4f}\n",
                                                 f.at.hard_at_E_lo, f.at.hard_at_E_hi)
                                   : "\n";
    }
    for (const Warning& w : f.warnings) out += fmt::format("    ! {}: {}\n", w.code, w.text);
  }
  return out;
}

}  // namespace fit
