#include "sweepctl/plan_design_report.h"

#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/plan_power.h"

namespace sweepctl {
namespace {

using core::Json;

std::string DesignLine(const DesignCandidate& design) {
  std::vector<std::string> budgets;
  for (const double budget : design.budgets) budgets.push_back(core::FormatFlops(budget));
  return fmt::format("budgets {}; {} candidates each, {} seed{}: {} runs, {} FLOPs",
                     fmt::join(budgets, ", "), design.points, design.seeds,
                     design.seeds == 1 ? "" : "s",
                     design.budgets.size() * static_cast<size_t>(design.points * design.seeds),
                     core::FormatFlops(design.flops));
}

Json CandidateJson(const std::optional<DesignCandidate>& design) {
  if (!design.has_value()) return Json();
  return {{"budgets", design->budgets},
          {"points", design->points},
          {"seeds", design->seeds},
          {"flops", design->flops},
          {"linear_half_width", design->linear_half_width}};
}

}  // namespace

Json DesignJson(const DesignAnswer& answer, const fit::Prior& prior, const fit::PowerOptions& power,
                const std::vector<std::string>& caveats, double width, double max_flops) {
  const auto simulated = [&](bool exists, const fit::Power& of) {
    return exists ? PowerJson(prior, of, power, caveats) : Json();
  };
  const std::optional<DesignCandidate>& enough =
      answer.design.has_value() ? answer.design : answer.beyond;
  const bool reached = answer.design.has_value() || answer.narrowest.has_value();
  return {{"target_width", width},
          {"max_flops", max_flops},
          {"considered", answer.considered},
          {"noise_floor", answer.floor},
          {"design", CandidateJson(answer.design)},
          {"power", simulated(answer.design.has_value(), answer.power)},
          {"reached_half_width", reached ? Json(answer.half_width) : Json()},
          {"needed_flops", enough.has_value() ? Json(enough->flops) : Json()},
          {"why", answer.design.has_value() ? Json() : Json(NoDesign(answer, width, max_flops))},
          {"narrowest", CandidateJson(answer.narrowest)},
          {"narrowest_power", simulated(answer.narrowest.has_value(), answer.narrowest_power)},
          {"beyond", CandidateJson(answer.beyond)}};
}

std::string NoDesign(const DesignAnswer& answer, double width, double max_flops) {
  std::string text = fmt::format("no design within {} FLOPs reaches a half-width of {:.3g} %",
                                 core::FormatFlops(max_flops), 100 * width);
  if (answer.narrowest.has_value())
    text += fmt::format("; the narrowest reaches {:.3g} % for {} FLOPs", 100 * answer.half_width,
                        core::FormatFlops(answer.narrowest->flops));
  else
    text += "; none within the limit promises an interval at all";
  if (width <= answer.floor)
    return text + fmt::format("; none can: the scatter of the target's own run alone is {:.2g} %",
                              100 * answer.floor);
  if (answer.beyond.has_value())
    return text + fmt::format("; it takes about {} FLOPs", core::FormatFlops(answer.beyond->flops));
  return text + "; none found below the target's own budget does";
}

std::string DesignText(const DesignAnswer& answer, const fit::Prior& prior,
                       const fit::PowerOptions& power, const std::vector<std::string>& caveats,
                       double width, double max_flops) {
  if (answer.design.has_value())
    return fmt::format(
               "cheapest found of {} designs for a half-width of {:g} % (ranked by linear theory, "
               "simulated where they come close):\n{}\n",
               answer.considered, 100 * width, DesignLine(*answer.design)) +
           PowerText(prior, answer.power, power, caveats);
  std::string text = fmt::format("no design within {} FLOPs reaches a half-width of {:g} %\n",
                                 core::FormatFlops(max_flops), 100 * width);
  if (width <= answer.floor)
    text += fmt::format(
        "none can: the scatter of the target's own run alone is a half-width of {:.2g} %\n",
        100 * answer.floor);
  else if (answer.beyond.has_value())
    text += fmt::format("it needs about {} FLOPs: {}\n", core::FormatFlops(answer.beyond->flops),
                        DesignLine(*answer.beyond));
  else
    text +=
        "none found below the target's own budget does: forecast nearer, lower the noise of single "
        "runs, or accept the width\n";
  if (answer.narrowest.has_value())
    text += fmt::format("the narrowest within the limit:\n{}\n", DesignLine(*answer.narrowest)) +
            PowerText(prior, answer.narrowest_power, power, caveats);
  return text;
}

}  // namespace sweepctl
