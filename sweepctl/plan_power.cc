#include "sweepctl/plan_power.h"

#include <cmath>

#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/table.h"

namespace sweepctl {
namespace {

using core::Json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

std::string Percent(double share) {
  if (!std::isfinite(share)) return "none";
  return share < 0.0995 ? fmt::format("{:.2g} %", 100 * share)
                        : fmt::format("{:.0f} %", 100 * share);
}

std::string Chance(double share, double error) {
  if (share < 0.005) return "< 1 %";
  if (!std::isfinite(error)) return fmt::format("{:.0f} % +- -", 100 * share);  // of one sweep
  return fmt::format("{:.0f} +- {:.0f} %", 100 * share, std::ceil(100 * error));
}

std::string HowOften(double share, int simulations) {
  return fmt::format("{:.0f} of {}", share * simulations, simulations);
}

}  // namespace

std::string PriorLine(const fit::Prior& prior) {
  std::string constants;
  for (const auto& [letter, value] : prior.law->Report(prior.draws.front()))
    constants += fmt::format("{}{} {:.4g}", constants.empty() ? "" : ", ", letter, value);
  if (prior.draws.size() > 1) constants += fmt::format("; {} draws", prior.draws.size());
  return fmt::format("prior {}: {} ({}); {}", prior.name, prior.law->equation(), constants,
                     prior.source);
}

std::string NoiseLine(const fit::Prior& prior) {
  return fmt::format("noise of ln L: {:.2g} % a run{}; {}", 100 * prior.noise.Total(),
                     prior.noise.seed > 0
                         ? fmt::format(", of it {:.2g} % the seed's", 100 * prior.noise.seed)
                         : "",
                     prior.noise_source);
}

Json PowerJson(const fit::Prior& prior, const fit::Power& power, const fit::PowerOptions& options,
               const std::vector<std::string>& caveats) {
  Json params = Json::object(), targets = Json::array();
  for (const auto& [letter, value] : prior.law->Report(prior.draws.front())) params[letter] = value;
  for (const fit::TargetPower& target : power.targets)
    targets.push_back(
        {{"budget_flops", target.flops},
         {"reach", target.reach},
         {"law", target.law},
         {"loss", target.loss},
         {"half_width", Number(target.half_width)},
         {"half_width_range", {Number(target.half_width_lo), Number(target.half_width_hi)}},
         {"error", Number(target.error)},
         {"close", options.close},
         {"chance_close", target.close},
         {"chance_close_se", Number(target.close_se)},
         {"covered", target.covered},
         {"asymptote_within", options.E_within},
         {"asymptote_identified", target.identified},
         {"asymptote_half_range", Number(target.E_half_range)},
         {"asymptote_warned", target.E_warned},
         {"no_interval", target.no_interval}});
  return {
      {"prior",
       {{"name", prior.name},
        {"law", std::string(prior.law->name())},
        {"params", params},
        {"draws", prior.draws.size()},
        {"source", prior.source}}},
      {"noise",
       {{"shape", prior.noise.shape}, {"seed", prior.noise.seed}, {"source", prior.noise_source}}},
      {"simulations", power.simulations},
      {"failed", power.failed},
      {"level", power.level},
      {"kind", "prediction"},
      {"method", power.method},
      {"condition", Number(power.condition)},
      {"caveats", caveats},
      {"targets", targets}};
}

std::string PowerText(const fit::Prior& prior, const fit::Power& power,
                      const fit::PowerOptions& options, const std::vector<std::string>& caveats) {
  std::string text = fmt::format(
      "\nexpected forecast, if the prior is true: {:g} % prediction intervals as `fit` would print "
      "them\n({}; half-widths: their median and where 4 of 5 fall)\n{}\n{}\n"
      "E: half of its {:g} % range over the range's middle, the median; identified: {:g} % or "
      "less; "
      "`fit` warns (asymptote-unidentified) where E alone moves the forecast by more than half of "
      "its interval\n",
      100 * power.level, power.method, PriorLine(prior), NoiseLine(prior), 100 * power.level,
      100 * options.E_within);
  Table table({{"target", "target"},
               {"reach", "reach"},
               {"half_width", "half-width"},
               {"range", "4 of 5 sweeps"},
               {"error", fmt::format("{:g} % of errors", 100 * power.level)},
               {"close", fmt::format("|error| < {:g} %", 100 * options.close)},
               {"covered", "outcomes inside"},
               {"asymptote", "E"},
               {"identified", "E identified"},
               {"warned", "fit warns of E"},
               {"law", "law", true}});
  for (const fit::TargetPower& t : power.targets)
    table.AddRow(
        {{t.flops, core::FormatFlops(t.flops)},
         {t.reach, fmt::format("{:.3g}", t.reach)},
         {Number(t.half_width), Percent(t.half_width)},
         {Json(), fmt::format("{} .. {}", Percent(t.half_width_lo), Percent(t.half_width_hi))},
         {Number(t.error), "< " + Percent(t.error)},
         {t.close, Chance(t.close, t.close_se)},
         {t.covered, HowOften(t.covered, power.simulations - power.failed)},
         {Number(t.E_half_range),
          std::isfinite(t.E_half_range) ? fmt::format("+- {}", Percent(t.E_half_range)) : "none"},
         {t.identified, HowOften(t.identified, power.simulations - power.failed)},
         {t.E_warned, HowOften(t.E_warned, power.simulations - power.failed)},
         {t.law, ""}});
  text += table.Text(false);
  if (power.failed > 0)
    text += fmt::format("  ! {} of {} simulated sweeps could not be fitted\n", power.failed,
                        power.simulations);
  for (const fit::TargetPower& t : power.targets)
    if (t.no_interval > 0)
      text += fmt::format("  ! at {} {} of the sweeps would have no interval\n",
                          core::FormatFlops(t.flops), Percent(t.no_interval));
  constexpr double kTolerated = 0.1;
  for (const fit::TargetPower& t : power.targets)
    if (t.covered < power.level - kTolerated - t.no_interval)
      text += fmt::format(
          "  ! at {} only {:.0f} % of the outcomes would lie inside the interval: forecasts miss "
          "by "
          "more than the noise\n",
          core::FormatFlops(t.flops), 100 * t.covered);
  for (const std::string& caveat : caveats) text += "  ! " + caveat + "\n";
  return text;
}

}  // namespace sweepctl
