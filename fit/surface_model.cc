#include "fit/surface_model.h"

#include <algorithm>
#include <limits>
#include <set>

#include "core/clock.h"
#include "fit/envelope.h"
#include "fit/surface_findings.h"
#include "fit/surface_forecast.h"
#include "fmt/format.h"

namespace fit {
namespace {

// What a curve in C is about: the lower envelope of the runs; rows of a curve, all of them.
std::vector<Observation> OnCurve(const std::vector<Observation>& rows, const LawOptions& options) {
  const auto runs = GroupRuns(rows, false);
  if (options.rows_are_curve || !runs.ok()) return rows;
  std::vector<Observation> lowest;
  for (const EnvelopePoint& point : LowerEnvelope(rows, *runs)) {
    Observation o;
    o.flops = o.budget_flops = point.flops;
    o.params = point.params, o.tokens = point.tokens, o.loss = point.loss;
    lowest.push_back(std::move(o));
  }
  return lowest;
}

class FittedSurface final : public FittedLaw {
 public:
  FittedSurface(SurfaceFit fit, LawFit findings)
      : surface_(std::move(fit)), fit_(std::move(findings)) {}

  const LawFit& fit() const override { return fit_; }
  std::optional<Forecast> Predict(const RunTarget& target) const override {
    if (target.params > 0 && surface_.law->in_compute()) return std::nullopt;
    return ForecastOf(surface_, target);
  }
  size_t resamples() const override { return surface_.draws.size(); }
  double FrontierLoss(double flops, std::optional<size_t> resample) const override {
    const Optimum optimum =
        OptimumOf(surface_, resample ? surface_.draws.Row(*resample) : surface_.theta, flops);
    return optimum.found ? optimum.loss : std::numeric_limits<double>::quiet_NaN();
  }
  std::vector<TestPoint> Test(const std::vector<Observation>& later) const override {
    std::vector<TestPoint> tests;
    for (const Observation& o :
         surface_.law->in_compute() ? OnCurve(later, surface_.options) : later)
      tests.push_back(TestOf(surface_, o));
    return tests;
  }
  std::optional<TestPoint> TestRun(const Observation& o) const override {
    return TestOf(surface_, o);
  }

 private:
  SurfaceFit surface_;
  LawFit fit_;
};

class SurfaceModel final : public Law {
 public:
  explicit SurfaceModel(const SurfaceLaw& law) : law_(law) {}
  std::string_view name() const override { return law_.name(); }
  bool in_compute() const override { return law_.in_compute(); }
  const SurfaceLaw* surface() const override { return law_.in_compute() ? nullptr : &law_; }
  size_t backtest_budgets(const LawOptions&) const override { return 3; }
  std::vector<std::string> constants() const override {
    std::vector<std::string> letters;
    for (const Coordinate& c : law_.coordinates())
      letters.push_back(c.name.starts_with("ln") ? c.name.substr(2) : c.name);
    return letters;
  }

  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& all,
                                                 const LawOptions& options) const override {
    const std::vector<Observation> observations = law_.in_compute() ? OnCurve(all, options) : all;
    for (const Coordinate& c : law_.coordinates()) {
      const bool log = c.name.starts_with("ln");
      const auto held = options.hold.find(log ? c.name.substr(2) : c.name);
      if (held != options.hold.end() && log && !(held->second > 0))
        return absl::InvalidArgumentError(fmt::format("{}: {} is held at {}, must be above 0",
                                                      law_.name(), held->first, held->second));
      if (held == options.hold.end()) continue;
      const double value = log ? std::log(held->second) : held->second;
      if (value < c.lower || value > c.upper)
        return absl::InvalidArgumentError(fmt::format(
            "{}: {} is held at {:g}, must lie in {:g} .. {:g}", law_.name(), held->first,
            held->second, log ? std::exp(c.lower) : c.lower, log ? std::exp(c.upper) : c.upper));
    }
    const bool repeats =
        std::any_of(observations.begin(), observations.end(), [](const Observation& o) {
          return o.unique_tokens > 0 && o.unique_tokens < o.tokens * (1 - 1e-9);
        });
    if (law_.knows_repetition() && !repeats)
      return absl::FailedPreconditionError(fmt::format(
          "{}: no run repeats its data (unique_tokens below tokens); --law chinchilla is the same "
          "law there",
          law_.name()));
    std::set<std::pair<double, double>> different;
    for (const Observation& o : observations)
      law_.in_compute() ? different.emplace(o.flops, 0) : different.emplace(o.params, o.tokens);
    if (different.size() <
        law_.coordinates().size() - std::min(law_.coordinates().size(), options.hold.size()))
      return absl::FailedPreconditionError(fmt::format(
          "{}: {} different {} for {} parameters; add runs", law_.name(), different.size(),
          law_.in_compute() ? "budgets" : "(params, tokens) pairs", law_.coordinates().size()));
    const int64_t started_ms = core::SystemClock().MonotonicMs();
    std::optional<SurfaceFit> surface = FitSurface(law_, options, observations);
    if (!surface.has_value())
      return absl::FailedPreconditionError(
          fmt::format("{}: no start gave a finite objective; check the data for extreme values{}",
                      law_.name(), MostExtreme(observations)));
    LawFit findings = FindingsOf(*surface);
    findings.elapsed_s = static_cast<double>(core::SystemClock().MonotonicMs() - started_ms) / 1e3;
    return std::make_unique<FittedSurface>(*std::move(surface), std::move(findings));
  }

 private:
  const SurfaceLaw& law_;
};

}  // namespace

std::unique_ptr<Law> MakeSurfaceModel(const SurfaceLaw& law) {
  return std::make_unique<SurfaceModel>(law);
}

}  // namespace fit
