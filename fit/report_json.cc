// What a fit found, as the JSON of DESIGN.md section 5.
#include <cmath>

#include "fit/interval_json.h"
#include "fit/report.h"
#include "fit/two_step_report.h"

namespace fit {
namespace {

using core::Json;

// With what is estimated: percentiles of refits need not hold it.
Json WithEstimate(const Interval& interval, double estimate) {
  Json json = IntervalJson(interval);
  json["estimate_outside_interval"] = IsOutside(estimate, interval);
  return json;
}

Json BudgetJson(const BudgetOptimum& b) {
  const IsoflopMinimum& m = b.minimum;
  Json json = {{"budget_flops", m.budget_flops},
               {"status", std::string(Text(m.status))},
               {"reason", m.reason},
               {"points", m.points},
               {"curvature", Number(m.curvature)}};
  if (!m.ok()) return json;
  json["params"] = m.params;
  json["tokens"] = m.tokens;
  json["loss"] = m.loss;
  json["flat_params"] = {m.flat_params_lo, m.flat_params_hi};
  json["flat_tokens"] = {m.flat_tokens_lo, m.flat_tokens_hi};
  json["intervals"] = {{"params", IntervalJson(b.params)},
                       {"tokens", IntervalJson(b.tokens)},
                       {"loss", IntervalJson(b.loss)}};
  json["share_without_minimum"] = b.share_without_minimum;
  json["known_bias"] = {{"params", Number(b.params_bias)},
                        {"tokens", Number(b.tokens_bias)},
                        {"loss", Number(b.loss_bias)}};
  return json;
}

Json NoiseJson(const NoiseModel& noise) {
  return {{"sd", std::exp(noise.log_sd)},
          {"at_flops", std::exp(noise.log_flops)},
          {"gamma", noise.gamma},
          {"gamma_se", noise.gamma_se},
          {"n", noise.n},
          {"repeats", noise.repeats}};
}

Json JointJson(const JointRegion& joint) {
  return {{"level", joint.level},
          {"kind", std::string(Name(joint.kind))},
          {"method", joint.method},
          {"draws", joint.draws},
          {"correlation_params_tokens", Number(joint.correlation_nd)},
          {"correlation_params_loss", Number(joint.correlation_nl)},
          {"correlation_tokens_loss", Number(joint.correlation_dl)},
          {"params", {joint.params_lo, joint.params_hi}},
          {"tokens", {joint.tokens_lo, joint.tokens_hi}},
          {"loss", {joint.loss_lo, joint.loss_hi}}};
}

Json FlopsJson(const FitSummary& summary) {
  if (summary.flops_source.empty()) return nullptr;
  const FlopsRelation& r = summary.flops;
  return {{"limit", r.limit},
          {"slope", r.slope},
          {"gamma", r.gamma},
          {"params", {Number(r.params_lo), Number(r.params_hi)}},
          {"samples", r.samples},
          {"scatter", r.scatter},
          {"source", summary.flops_source}};
}

Json ComputeJson(const FrontierCompute& compute) {
  Json json = {{"of", compute.sizes.has_value() ? "6 N* D*" : "C"},
               {"moved_rms", Number(compute.moved_rms)}};
  if (compute.sizes.has_value()) {
    json["G"] = Number(std::exp(compute.sizes->log_G));
    json["alpha"] = Number(compute.sizes->alpha);
    json["h"] = Number(compute.sizes->h);
  }
  return json;
}

Json LawJson(const LawFit& fit, const std::string& cohort) {
  Json params = Json::object(), intervals = Json::object(), budgets = Json::array();
  Json profiles = Json::object(), optima = Json::array();
  for (const auto& [name, interval] : fit.profiles) profiles[name] = IntervalJson(interval);
  for (const OtherOptimum& other : fit.other_optima) {
    Json values = Json::object();
    for (const auto& [name, value] : other.params) values[name] = Number(value);
    optima.push_back(
        {{"params", values}, {"objective", Number(other.objective)}, {"starts", other.starts}});
  }
  for (const auto& [name, value] : fit.params) params[name] = Number(value);
  for (const auto& [name, interval] : fit.intervals)
    for (const auto& [other, value] : fit.params)
      if (name == other) intervals[name] = WithEstimate(interval, value);
  for (const BudgetOptimum& b : fit.budgets) budgets.push_back(BudgetJson(b));
  return {{"law", fit.law},
          {"equation", fit.equation},
          {"loss", fit.loss},
          {"delta", fit.delta},
          {"over", fit.over},
          {"constants", fit.constants},
          {"aicc", Number(fit.aicc)},
          {"noise", fit.noise.has_value() ? NoiseJson(*fit.noise) : Json(nullptr)},
          {"weights", fit.weights.empty() ? Json(nullptr) : Json(fit.weights)},
          {"residual", fit.residual},
          {"params", params},
          {"objective", Number(fit.objective)},
          {"n", fit.n},
          {"starts", fit.starts},
          {"starts_at_best", fit.starts_at_best},
          {"condition", Number(fit.condition)},
          {"referee_objective",
           fit.referee_objective.has_value() ? Number(*fit.referee_objective) : Json(nullptr)},
          {"resamples", fit.resamples},
          {"resamples_failed", fit.resamples_failed},
          {"intervals", intervals},
          {"profiles", profiles},
          {"other_optima", optima},
          {"equal_optima", fit.equal_optima},
          {"compute", fit.compute.has_value() ? ComputeJson(*fit.compute) : Json(nullptr)},
          {"budgets", budgets},
          {"cohort", cohort},
          {"warnings", WarningsJson(fit.warnings)},
          {"elapsed_s", fit.elapsed_s}};
}

Json ForecastJson(const Forecast& f) {
  Json asymptote = nullptr;
  if (f.asymptote.has_value())
    asymptote = {{"E_lo", Number(f.asymptote->E.lo)},
                 {"E_hi", Number(f.asymptote->E.hi)},
                 {"level", f.asymptote->E.level},
                 {"kind", std::string(Name(f.asymptote->E.kind))},
                 {"method", f.asymptote->E.method},
                 {"loss_at_E_lo", Number(f.asymptote->loss_at_E_lo)},
                 {"loss_at_E_hi", Number(f.asymptote->loss_at_E_hi)}};
  Json weights = Json::object(), members = Json::array();
  for (const AverageMember& m : f.members) {
    weights[m.law] = m.weight;
    members.push_back(
        {{"law", m.law},
         {"weight", m.weight},
         {"loss", Number(m.loss)},
         {"interval", WithEstimate(m.interval, m.loss)},
         {"mean_interval", WithEstimate(m.mean_interval, m.loss)},
         {"known_bias",
          {{"params", Number(m.params_ratio - 1)}, {"tokens", Number(m.tokens_ratio - 1)}}}});
  }
  Json left_out = Json::array();
  for (const auto& [law, why] : f.left_out) left_out.push_back({{"law", law}, {"why", why}});
  return {{"law", f.law},
          {"primary", f.primary},
          {"weights", weights},
          {"members", members},
          {"left_out", left_out},
          {"budget_flops", f.flops},
          {"run", f.run_params > 0 ? Json({{"params", f.run_params},
                                           {"tokens", f.run_tokens},
                                           {"off_optimum", Number(f.off_optimum)}})
                                   : Json(nullptr)},
          {"metric", f.metric},
          {"loss", Number(f.loss)},
          {"interval", WithEstimate(f.interval, f.loss)},
          {"mean_interval", WithEstimate(f.mean_interval, f.loss)},
          {"unwidened_interval", WithEstimate(f.unwidened, f.loss)},
          {"params", f.params > 0 ? Number(f.params) : Json(nullptr)},
          {"tokens", f.tokens > 0 ? Number(f.tokens) : Json(nullptr)},
          {"params_interval", WithEstimate(f.params_interval, f.params)},
          {"tokens_interval", WithEstimate(f.tokens_interval, f.tokens)},
          {"flops_per_param_token",
           f.flops_per_param_token > 0 ? Number(f.flops_per_param_token) : Json(nullptr)},
          {"flops_extrapolated", f.flops_extrapolated},
          {"joint", f.joint.has_value() ? JointJson(*f.joint) : Json(nullptr)},
          {"within", f.within},
          {"flat_params",
           f.flat_params_lo > 0 ? Json({f.flat_params_lo, f.flat_params_hi}) : Json(nullptr)},
          {"flat_by", f.flat_by},
          {"determined", f.determined},
          {"reach", f.reach},
          {"leverage", Number(f.leverage)},
          {"asymptote", asymptote},
          {"warnings", WarningsJson(f.warnings)}};
}

}  // namespace

Json FitJson(const FitSummary& summary) {
  const std::string cohort = summary.cohort.Text();
  Json json = {{"fits", Json::array()},
               {"predictions", Json::array()},
               {"backtest", Json::array()},
               {"warnings", WarningsJson(summary.warnings)},
               {"excluded", Json::array()},
               {"observations", summary.observations},
               {"budgets_by", std::string(Text(summary.grouping))},
               {"smallest_flops", summary.smallest_flops},
               {"largest_flops", summary.largest_flops},
               {"flops_relation", FlopsJson(summary)},
               {"registration",
                {{"blocked", !summary.registration_blocked.empty()},
                 {"reasons", summary.registration_blocked}}},
               {"spent_flops", summary.spent_flops > 0 ? Json(summary.spent_flops) : Json()},
               {"elapsed_s", summary.elapsed_s}};
  for (const LawFit& fit : summary.fits) json["fits"].push_back(LawJson(fit, cohort));
  for (const Forecast& f : summary.predictions) json["predictions"].push_back(ForecastJson(f));
  for (const BacktestRow& row : summary.backtest)
    json["backtest"].push_back({{"law", row.law},
                                {"cut_flops", row.cut_flops},
                                {"n_train", row.n_train},
                                {"n_test", row.n_test},
                                {"rms_rel", Number(row.rms_rel)},
                                {"max_rel", Number(row.max_rel)},
                                {"bias_rel", Number(row.bias_rel)},
                                {"coverage", Number(row.coverage)},
                                {"coverage_raw", Number(row.coverage_raw)},
                                {"aicc", Number(row.aicc)},
                                {"chosen", row.chosen},
                                {"reach", Number(row.reach)}});
  json["coverage_by_reach"] = Json::array();
  for (const ReachCoverage& c : summary.coverage)
    json["coverage_by_reach"].push_back(
        {{"law", c.law},
         {"reach", c.reach},
         {"coverage", c.coverage},
         {"forecasts", c.forecasts},
         {"source", c.own ? std::string("backtest") : std::string(kBenchmarkSource)}});
  json["sensitivities"] = Json::array();
  for (const Sensitivity& s : summary.sensitivities) {
    Json now = Json::object(), before = Json::object();
    for (const auto& [name, value] : s.exponents) now[name] = Number(value);
    for (const auto& [name, value] : s.exponents_before) before[name] = Number(value);
    json["sensitivities"].push_back({{"change", s.change},
                                     {"law", s.law},
                                     {"budget_flops", s.flops},
                                     {"loss", Number(s.loss)},
                                     {"loss_before", Number(s.loss_before)},
                                     {"exponents", now},
                                     {"exponents_before", before},
                                     {"not_applicable", s.not_applicable},
                                     {"failed", s.failed}});
  }
  if (summary.two_step.has_value()) json["two_step"] = TwoStepJson(*summary.two_step);
  for (const Exclusion& e : summary.excluded)
    json["excluded"].push_back({{"reason", e.reason}, {"count", e.count}});
  return json;
}

}  // namespace fit
