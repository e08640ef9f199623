// plan --next: which runs to add to a sweep that has finished runs, by how much each shrinks the
// forecast's interval for its FLOPs (fit/design.h), and the sweep file that trains them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/power.h"
#include "orchestrator/reader.h"
#include "sweepctl/plan_targets.h"
#include "sweepctl/power_input.h"
#include "sweeps/sweep_file.h"

namespace sweepctl {

struct NextOptions {
  std::optional<fit::Criterion> criterion;  // nullopt: whichever simulates narrower
  double max_flops = 0;                     // of all new runs together; > 0
  std::vector<double> targets;              // training FLOPs; empty: forecast.at of the sweep
  int max_runs = 24;
  fit::PowerOptions power;
};

struct NextRun {
  sweeps::ExplicitRun run;
  fit::PlannedRun planned;
  fit::ChosenRun chosen;
};

// One way to choose, and what it would print.
struct NextChoice {
  fit::Criterion criterion = fit::Criterion::kV;
  bool near = false;  // only sizes near each budget's optimum
  double limit = 0;   // FLOPs that it was allowed
  std::vector<NextRun> runs;
  fit::RunChoice choice;
  fit::Power power;  // simulated; empty without simulations
  // Of `power`: the geometric mean over targets of half the width of their prediction intervals at
  // PowerOptions::level; NaN without.
  double half_width = 0;
};

struct NextAnswer {
  std::string sweep;
  size_t known = 0, unfinished = 0;  // fit trials of the sweep
  fit::Prior prior;
  std::vector<NextChoice> choices;  // those tried, the best first
  fit::Power before;                // simulated; empty without simulations
  double half_width_before = 0;     // as in NextChoice
  sweeps::SweepFile file;  // the sweep's own, with the best choice's runs, under another name
  SweepFlops file_flops;   // what that file is allowed to cost, finished trials included
  std::vector<double> outcomes_known;  // forecast.at whose target is finished: no longer forecast
};

// Candidates: every candidate of the recipe at the sweep's budgets and at 1 and 3 times the powers
// of ten from its smallest budget to what max_flops pays for, below the smallest target; each with
// the next seed that its shape has not had. The law is the one through the sweep's finished runs,
// with its bootstrap refits and residuals, unless `args` names another prior or noise.
//
// Linear theory knows one law, and `fit` averages several: sizes far from a budget's optimum teach
// a surface most and spoil a parabola. So V- and D-optimal runs are chosen among all candidates and
// among those near the optimum (tokens within a factor of 2.7), each choice is simulated with the
// finished runs as they are, with the whole of max_flops, a third and a tenth of it. The cheapest
// of those within 3 % of the narrowest half-width is the answer, simulated anew for what is
// reported: money that buys no width is not spent. FAILED_PRECONDITION: too few finished runs, no
// target, nothing that helps within max_flops.
absl::StatusOr<NextAnswer> NextRuns(orchestrator::Reader& reader,
                                    const orchestrator::SweepInfo& info, const PowerArgs& args,
                                    const NextOptions& options);

// The table, with what it rests on; ends with a line end.
std::string NextText(const NextAnswer& answer, const NextOptions& options);
// {"sweep","known","unfinished","runs","flops","target_flops","limit_flops","choices",
// "linear_half_width_before","half_width_before","level","kind","half_widths","before","after"}.
// Half-widths are shares of the loss, of prediction intervals at "level", over the targets as
// "half_widths" says; those of "runs" and "linear_" ones by linear theory, others simulated.
core::Json NextJson(const NextAnswer& answer, const NextOptions& options);

}  // namespace sweepctl
