// What a fit found, as text for people.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "core/units.h"
#include "fit/report.h"
#include "fit/two_step_report.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

// Fixed digits, unless the number is absurd.
std::string Fixed(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  return std::fabs(value) < 1e5 ? fmt::format("{:.{}f}", value, digits)
                                : fmt::format("{:.3g}", value);
}
std::string Loss(double value) { return Fixed(value, 4); }
std::string Constant(double value) {
  return std::isinf(value) ? "too large" : fmt::format("{:.6g}", value);
}

// Ends of a profile, of which either may be open.
std::string OpenRange(const Interval& interval) {
  return fmt::format("{} .. {}",
                     std::isfinite(interval.lo) ? Constant(interval.lo) : "no lower end",
                     std::isfinite(interval.hi) ? Constant(interval.hi) : "no upper end");
}

std::string Percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.0f} %", 100 * share) : "-";
}

// Without a direction there is no correlation.
std::string Correlation(double value) {
  return std::isfinite(value) ? fmt::format("{:.2f}", value) : "-";
}

// The two ends in `format`, or "-" where there is no interval.
template <typename Format>
std::string Range(const Interval& interval, const Format& format) {
  if (!std::isfinite(interval.lo) || !std::isfinite(interval.hi)) return "-";
  return fmt::format("{} .. {}", format(interval.lo), format(interval.hi));
}

// "90 % mean interval 2.1 .. 2.3", or "no 90 % mean interval".
template <typename Format>
std::string Described(const Interval& interval, const Format& format) {
  const std::string what =
      fmt::format("{:.10g} % {} interval", 100 * interval.level, Name(interval.kind));
  const std::string range = Range(interval, format);
  return range == "-" ? "no " + what : what + " " + range;
}

// Says each warning in full once; where it comes again, only its code.
class Warnings {
 public:
  void Append(const std::vector<Warning>& warnings, std::string& out) {
    std::vector<std::string> again;
    for (const Warning& w : warnings) {
      if (said_.insert(w.code + w.text).second)
        out += fmt::format("  ! {}: {}\n", w.code, w.text);
      else if (std::find(again.begin(), again.end(), w.code) == again.end())
        again.push_back(w.code);
    }
    if (!again.empty()) out += fmt::format("  ! as above: {}\n", fmt::join(again, ", "));
  }

 private:
  std::set<std::string> said_;
};

// As Cohort::Text(), with hashes cut to what tells them apart.
std::string CohortText(const Cohort& cohort) {
  Cohort shown = cohort;
  for (auto& [key, value] : shown.values) {
    const bool hash =
        value.size() == 64 && value.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (hash) value.resize(12);
  }
  return shown.Text();
}

// Where a frontier is not the plain power law of C.
void AppendCompute(const FrontierCompute& compute, std::string& out) {
  if (compute.sizes.has_value())
    out += fmt::format(
        "  k = C / (N D) bends, so optima are forecast by X = 6 N* D* instead of C: N* g^h = G "
        "X^alpha,\n  G {:.4g}, alpha {:.4g}, h {:.3g}; g = 1 + d ln k / d ln N, F = alpha "
        "g^(1-alpha) + (1-alpha) g^-alpha\n",
        std::exp(compute.sizes->log_G), compute.sizes->alpha, compute.sizes->h);
  if (compute.moved_rms > 0)
    out += fmt::format(
        "  runs moved to what C / (N D) as counted gives their budget: {:.2g} % of the loss "
        "(rms)\n",
        100 * compute.moved_rms);
}

void AppendLaw(const LawFit& fit, bool with_budgets, Warnings& warnings, std::string& out) {
  out += fmt::format("\n{}   {}\n", fit.law, fit.equation);
  out += fmt::format("  {} on {} residuals{}{}, n = {}, objective {:.10g}", fit.loss, fit.residual,
                     fit.delta > 0 ? fmt::format(", delta {:g}", fit.delta) : "",
                     fit.over != 1 ? fmt::format(", over-estimates weigh {:g}", fit.over) : "",
                     fit.n, fit.objective);
  if (std::isfinite(fit.aicc)) out += fmt::format(", AICc {:.2f}", fit.aicc);
  if (fit.starts > 1)
    out += fmt::format(
        ", {} of {} starts agree, cond {}", fit.starts_at_best, fit.starts,
        std::isfinite(fit.condition) ? fmt::format("{:.2g}", fit.condition) : "singular");
  constexpr double kWorse = 1e-6;
  if (fit.referee_objective.has_value())
    out += fmt::format(", Ceres {:.10g}{}", *fit.referee_objective,
                       *fit.referee_objective > fit.objective * (1 + kWorse) ? " (worse)" : "");
  out += fmt::format(", {:.2f} s\n", fit.elapsed_s);
  for (const auto& [name, value] : fit.params) {
    std::string range;
    for (const auto& [other, interval] : fit.intervals)
      if (other == name)
        range = fmt::format("{} ({})", Described(interval, Constant), interval.method);
    out +=
        fmt::format("  {:<8} {:>12}   {}\n", name,
                    std::isfinite(value) ? fmt::format("{:.7g}", value) : Constant(value), range);
    for (const auto& [other, interval] : fit.profiles)
      if (other == name)
        out +=
            fmt::format("  {:<8} {:>12}   {} ({})\n", "", "", OpenRange(interval), interval.method);
  }
  if (fit.compute.has_value()) AppendCompute(*fit.compute, out);
  if (fit.noise.has_value())
    out += fmt::format(
        "  runs weighted by their noise: sd of ln L {:.3g} at {} times (C/C0)^{:.3f} (se {:.3f}), "
        "from {} {}\n",
        std::exp(fit.noise->log_sd), core::FormatFlops(std::exp(fit.noise->log_flops)),
        fit.noise->gamma, fit.noise->gamma_se, fit.noise->n,
        fit.noise->repeats ? "repeated runs" : "residuals");
  if (!fit.weights.empty()) out += fmt::format("  {}\n", fit.weights);
  if (with_budgets && !fit.budgets.empty()) {
    const Interval& kind = fit.budgets[0].params;
    out += fmt::format(
        "  minima; in brackets {:.10g} % {} intervals{}\n  {:>9} {:>3} {:>7} {:<18} {:>7} {:<18} "
        "{:>7}  {:<18} {}\n",
        100 * kind.level, Name(kind.kind), kind.method.empty() ? "" : " (" + kind.method + ")",
        "budget", "n", "N*", "", "D*", "", "L*", "equally good N", "N* bias");
    std::vector<std::string> few;
    for (const BudgetOptimum& b : fit.budgets) {
      const IsoflopMinimum& m = b.minimum;
      if (m.status == MinimumStatus::kTooFewPoints) {
        few.push_back(fmt::format("{} ({})", core::FormatFlops(m.budget_flops), m.points));
        continue;
      }
      if (!m.ok()) {
        out += fmt::format("  {:>9} {:>3} refused: {}\n", core::FormatFlops(m.budget_flops),
                           m.points, m.reason);
        continue;
      }
      out += fmt::format(
          "  {:>9} {:>3} {:>7} {:<18} {:>7} {:<18} {:>7.4f}  {:<18} {}{}\n",
          core::FormatFlops(m.budget_flops), m.points, core::FormatCount(m.params),
          "[" + Range(b.params, core::FormatCount) + "]", core::FormatCount(m.tokens),
          "[" + Range(b.tokens, core::FormatCount) + "]", m.loss,
          core::FormatCount(m.flat_params_lo) + " .. " + core::FormatCount(m.flat_params_hi),
          std::isfinite(b.params_bias) ? fmt::format("{:+.1f} %", 100 * b.params_bias) : "-",
          IsOutside(m.params, b.params) || IsOutside(m.tokens, b.tokens)
              ? "  ! outside its own interval"
              : "");
    }
    if (!few.empty())
      out += fmt::format("  too few sizes for a minimum at {} budgets (runs): {}\n", few.size(),
                         fmt::join(few, ", "));
  }
  warnings.Append(fit.warnings, out);
}

// Laws of the same runs by AICc and by what they forecast from earlier cuts.
void AppendSelection(const FitSummary& summary, std::string& out) {
  double least = HUGE_VAL;
  int compared = 0;
  for (const LawFit& fit : summary.fits)
    if (std::isfinite(fit.aicc)) least = std::min(least, fit.aicc), ++compared;
  if (compared < 2) return;
  out +=
      "\nlaws of the same runs\n  law               constants       AICc   above least   held-out "
      "rms %\n";
  for (const LawFit& fit : summary.fits) {
    if (!std::isfinite(fit.aicc)) continue;
    double squares = 0;
    size_t tests = 0;
    for (const BacktestRow& row : summary.backtest)
      if (row.law == fit.law) {
        squares += row.rms_rel * row.rms_rel * static_cast<double>(row.n_test);
        tests += row.n_test;
      }
    out += fmt::format(
        "  {:<17} {:>9} {:>10.2f} {:>13.2f} {:>16}\n", fit.law, fit.constants, fit.aicc,
        fit.aicc - least,
        tests > 0 ? Fixed(100 * std::sqrt(squares / static_cast<double>(tests)), 3) : "-");
  }
  for (const BacktestRow& row : summary.backtest)
    if (row.law == "average")
      out += fmt::format("  average at {}: chosen before it scored: {}\n",
                         core::FormatFlops(row.cut_flops), fmt::join(row.chosen, ", "));
}

void AppendCoverage(const FitSummary& summary, std::string& out) {
  if (summary.coverage.empty()) return;
  out += "\nwhat intervals have held, by reach (here; * elsewhere)\n";
  std::string law;
  double reach = 0;
  bool elsewhere = false;
  for (const ReachCoverage& c : summary.coverage) {
    if (c.law != law) out += fmt::format("{}  {:<17}", law.empty() ? "" : "\n", c.law);
    if (c.law != law) reach = 0;
    law = c.law;
    elsewhere = elsewhere || !c.own;
    out += c.reach == reach ? ", " : fmt::format("  to {:g}: ", c.reach);
    reach = c.reach;
    out += fmt::format("{}{:.0f} % of {}", c.own ? "" : "*", 100 * c.coverage, c.forecasts);
  }
  out += "\n";
  if (elsewhere) out += fmt::format("  * {}\n", kBenchmarkSource);
}

// What calibration.h did to an interval, of its method.
std::string CalibrationText(const std::string& method) {
  for (const char* word : {", widened ", ", narrowed "})
    if (const size_t at = method.find(word); at != std::string::npos) return method.substr(at);
  return "";
}

// A sweep's own metric is its unit and its definition, "nats_per_token/1": of interest to the
// JSON. Any other stands as it is.
std::string MetricName(const std::string& metric) {
  if (metric.starts_with("nats_per_token/")) return "loss (nats per token)";
  if (metric.starts_with("bits_per_byte/")) return "loss (bits per byte)";
  return metric;
}

// "at 1e+23 FLOPs", or the run itself.
std::string Target(const Forecast& f, const std::string& input) {
  if (!(f.run_params > 0)) return fmt::format("at {} {}", core::FormatFlops(f.flops), input);
  return fmt::format("of N {}, D {} ({} {})", core::FormatCount(f.run_params),
                     core::FormatCount(f.run_tokens), core::FormatFlops(f.flops), input);
}

void AppendForecast(const Forecast& f, const std::string& input, Warnings& warnings,
                    std::string& out) {
  out += fmt::format("\nforecast {} by {}{}: {}{} {}, {}\n", Target(f, input), f.law,
                     f.primary ? " (primary)" : "", f.determined ? "" : "NOT DETERMINED; ",
                     MetricName(f.metric), Loss(f.loss), Described(f.interval, Loss));
  out += fmt::format("  method: {}\n", f.interval.method);
  for (const AverageMember& m : f.members)
    out +=
        fmt::format("  of it {:.0f} % {}{}: {}, {}{}\n", 100 * m.weight, m.law,
                    m.interval.method.find("averaged over its profile") == std::string::npos
                        ? ""
                        : ", averaged over its profile",
                    Loss(m.loss), Described(m.interval, Loss), CalibrationText(m.interval.method));
  if (f.run_params > 0)
    out += fmt::format("  {:+.2f} % against the loss of the optimum at its FLOPs\n",
                       100 * f.off_optimum);
  for (const auto& [law, why] : f.left_out) out += fmt::format("  without {}: {}\n", law, why);
  out += fmt::format("  an average run: {}{}\n", Described(f.mean_interval, Loss),
                     f.mean_interval.method == f.interval.method
                         ? ""
                         : fmt::format(" ({})", f.mean_interval.method));
  if (f.params > 0)
    out += fmt::format("  N* {}, {}; D* {}, {} ({})\n", core::FormatCount(f.params),
                       Described(f.params_interval, core::FormatCount), core::FormatCount(f.tokens),
                       Described(f.tokens_interval, core::FormatCount), f.params_interval.method);
  for (const AverageMember& m : f.members)
    if (m.params_ratio != 1 || m.tokens_ratio != 1)
      out += fmt::format(
          "    of {} without its curve's known bias: N* divided by {:.3f}, D* by {:.3f}; "
          "its own intervals of both hold either\n",
          m.law, m.params_ratio, m.tokens_ratio);
  if (f.flops_per_param_token > 0)
    out += fmt::format(
        "  C / (N D) there {:.3g}{}\n", f.flops_per_param_token,
        f.flops_extrapolated > 0
            ? fmt::format(", {:.3g} times beyond the largest model counted", f.flops_extrapolated)
            : "");
  if (f.flat_params_lo > 0)
    out +=
        fmt::format("  N within {:.3g} % of the optimum's loss{}: {} .. {}\n", 100 * f.within,
                    f.flat_by.empty() ? "" : fmt::format(" by {}", fmt::join(f.flat_by, " and ")),
                    core::FormatCount(f.flat_params_lo), core::FormatCount(f.flat_params_hi));
  if (f.joint.has_value())
    out += fmt::format(
        "  jointly ({:.10g} % mean region, {}, neither widened nor united with the range of E, so "
        "it "
        "may lie inside the intervals above): N* {} .. {}, D* {} .. {}, mean loss {} "
        ".. "
        "{}; correlation of N* and L* {}, D* and L* {}\n",
        100 * f.joint->level, f.joint->method, core::FormatCount(f.joint->params_lo),
        core::FormatCount(f.joint->params_hi), core::FormatCount(f.joint->tokens_lo),
        core::FormatCount(f.joint->tokens_hi), Loss(f.joint->loss_lo), Loss(f.joint->loss_hi),
        Correlation(f.joint->correlation_nl), Correlation(f.joint->correlation_dl));
  out += fmt::format("  reach {:.3g}, leverage {}\n", f.reach,
                     std::isfinite(f.leverage) ? fmt::format("{:.3g}", f.leverage) : "unknown");
  if (f.asymptote.has_value())
    out += fmt::format("  E, {} ({}), moves it from {} to {}\n", Described(f.asymptote->E, Loss),
                       f.asymptote->E.method, Loss(f.asymptote->loss_at_E_lo),
                       Loss(f.asymptote->loss_at_E_hi));
  warnings.Append(f.warnings, out);
}

// What a budget buys, where that is not plainly 6 N D.
void AppendFlops(const FitSummary& summary, std::string& out) {
  const FlopsRelation& r = summary.flops;
  if (summary.flops_source.empty() || (r.proportional() && std::fabs(r.limit / 6 - 1) < 1e-3))
    return;
  out += "C / (N D) " + summary.flops_source + ": ";
  if (r.proportional()) {
    out += fmt::format("{:.4g} at every size", r.limit);
  } else {
    out += fmt::format("{:.4g} at {} to {:.4g} at {} params, {:.3g} N^-{:.3g} {} {:.4g}",
                       r.PerParamToken(r.params_lo), core::FormatCount(r.params_lo),
                       r.PerParamToken(r.params_hi), core::FormatCount(r.params_hi),
                       std::fabs(r.slope), r.gamma, r.slope < 0 ? "below" : "above", r.limit);
  }
  if (r.samples > 0) out += fmt::format(", {:.2g} % rms over {}", 100 * r.scatter, r.samples);
  out += "\n";
}

}  // namespace

std::string FitText(const FitSummary& summary) {
  std::string out =
      summary.input == "FLOPs"
          ? fmt::format("{} observations, {}, largest budget {} FLOPs, spent {}\n",
                        summary.observations, Text(summary.grouping),
                        core::FormatFlops(summary.largest_flops),
                        summary.spent_flops > 0 ? core::FormatFlops(summary.spent_flops) + " FLOPs"
                                                : "unknown: a table of optima does not say")
          : fmt::format("{} observations, C is {}, largest {}\n", summary.observations,
                        summary.input, core::FormatFlops(summary.largest_flops));
  if (const std::string cohort = CohortText(summary.cohort); !cohort.empty())
    out += fmt::format("cohort: {}\n", cohort);
  AppendFlops(summary, out);
  Warnings warnings;
  warnings.Append(summary.warnings, out);
  for (const Forecast& f : summary.predictions)
    if (f.primary) AppendForecast(f, summary.input, warnings, out);
  // isoflop and frontier share their budgets, unless runs were moved: one table is enough.
  bool shown = false;
  for (const LawFit& fit : summary.fits) {
    const bool moved = fit.compute.has_value() && fit.compute->moved_rms > 0;
    AppendLaw(fit, !shown || moved, warnings, out);
    shown = shown || !fit.budgets.empty();
  }
  if (!summary.backtest.empty()) {
    out += fmt::format(
        "\nbacktest: fitted at or below the cut, scored above it\n  {:<11} {:>10} {:>6} "
        "{:>6} {:>7} {:>8} {:>8} {:>8} {:>9} {:>9}\n",
        "law", "cut", "train", "test", "reach", "rms %", "max %", "bias %", "coverage",
        "unwidened");
    for (const BacktestRow& r : summary.backtest)
      out += fmt::format("  {:<11} {:>10} {:>6} {:>6} {:>7} {:>8} {:>8} {:>8} {:>9} {:>9}\n", r.law,
                         core::FormatFlops(r.cut_flops), r.n_train, r.n_test,
                         std::isfinite(r.reach) ? fmt::format("{:.3g}", r.reach) : "-",
                         Fixed(100 * r.rms_rel, 3), Fixed(100 * r.max_rel, 3),
                         Fixed(100 * r.bias_rel, 3), Percent(r.coverage), Percent(r.coverage_raw));
  }
  AppendSelection(summary, out);
  AppendCoverage(summary, out);
  if (!summary.sensitivities.empty()) out += "\nwhat hangs on what: refits under a change\n";
  for (const Sensitivity& s : summary.sensitivities) {
    out += fmt::format("  {}, {}:", s.change, s.law);
    if (!s.not_applicable.empty()) {
      out += fmt::format(" not applicable: {}\n", s.not_applicable);
      continue;
    }
    if (!s.failed.empty()) {
      out += fmt::format(" cannot be fitted ({})\n", s.failed);
      continue;
    }
    if (s.flops > 0)
      out += fmt::format(" {} at {} instead of {} ({:+.2f} %)", Loss(s.loss),
                         core::FormatFlops(s.flops), Loss(s.loss_before),
                         100 * (s.loss / s.loss_before - 1));
    for (size_t i = 0; i < s.exponents.size(); ++i)
      out += fmt::format("{} {} {:.4g} (was {:.4g})", i > 0 || s.flops > 0 ? "," : "",
                         s.exponents[i].first, s.exponents[i].second, s.exponents_before[i].second);
    out += "\n";
  }
  for (const Forecast& f : summary.predictions)
    if (!f.primary) AppendForecast(f, summary.input, warnings, out);
  if (summary.two_step.has_value()) out += TwoStepText(*summary.two_step);
  return out;
}

}  // namespace fit
