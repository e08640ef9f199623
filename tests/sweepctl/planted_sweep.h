// A database as a sweep leaves it: real plans of a recipe, losses of a planted surface, one failed
// attempt, and a registered forecast of every status.
#pragma once

#include <cmath>
#include <map>
#include <string>

#include "sweeps/expand.h"
#include "tests/orchestrator/fixtures.h"

namespace sweepctl {

namespace v1 = ::sweep::v1;
using orchestrator::StatusOf;  // for ASSERT_OK

constexpr char kSweepFile[] = R"(name: nano
recipe: delphi-nano
budgets: [1e11, 3e11, 1e12, 3e12]
points: 5
seq_len: 256
data:
  mix: {code: {paths: ["**/*.cc"]}}
  tokenizer: {sentencepiece: 512}
limits: {flops: 3.5e13}
forecast: {at: [1e13], register: true}
)";

inline double PlantedLoss(double params, double tokens) {
  return 1.5 + 80.0 / std::pow(params, 0.35) + 300.0 / std::pow(tokens, 0.37);
}

inline v1::TrialSpec SpecOf(const recipes::Plan& plan) {
  v1::TrialSpec spec;
  spec.set_plan(recipes::PlanBytes(plan).value());
  spec.set_trial_id(recipes::TrialId(plan).value());
  return spec;
}

class PlantedSweep {
 public:
  explicit PlantedSweep(const std::string& path)
      : file_(sweeps::ParseSweepFile(kSweepFile, "nano.yaml").value()),
        store_(orchestrator::Store::Open(path).value()) {
    data_ = sweeps::UnpreparedData(file_);
    for (recipes::DataSource& source : data_.sources) {
      source.manifest_hash = std::string(64, 'a');
      source.tokens = 1'000'000'000;
    }
    data_.tokenizer_hash = std::string(64, 'b');
    data_.eval_hash = std::string(64, 'c');
  }

  orchestrator::Store& store() { return *store_; }

  // The fit stage, submitted.
  void Submit() {
    v1::SubmitSweepRequest request;
    request.set_name("nano");
    request.set_sweep_file(kSweepFile);
    request.set_spec_json(core::CanonicalJson(sweeps::ResolvedSpec(file_)).value());
    request.set_data_dir("/prepared");
    request.set_checkpoint_root("/ckpt");
    request.mutable_retry()->set_failure(2);
    sweeps::ExpandOptions options;
    options.data = data_;
    const std::vector<sweeps::PlannedTrial> trials = sweeps::Expand(file_, options).value();
    for (const sweeps::PlannedTrial& trial : trials) *request.add_trials() = Remember(trial.plan);
    EXPECT_OK(store_->SubmitSweep(request, clock_.UnixMs()));
  }

  // Trains at most `count` pending trials; the first `failures` attempts fail at half their steps.
  void Train(int count, int failures = 0) {
    while (count > 0) {
      const auto leases = store_->AcquireLeases(orchestrator::AcquireOf("host-1", 1),
                                                orchestrator::kLeaseMs, clock_.UnixMs());
      ASSERT_OK(leases);
      if (leases->leases_size() == 0) return;
      const v1::Lease& lease = leases->leases(0);
      EXPECT_OK(
          store_->AppendReport(orchestrator::ReportOf("host-1", lease, 1, 30), clock_.UnixMs()));
      clock_.AdvanceMs(2000);
      const bool fails = failures-- > 0;
      EXPECT_OK(store_->CompleteAttempt(Completion(lease, fails), clock_.UnixMs()));
      if (!fails) --count;
    }
  }

  // A target of another seed, so that it is never a fit trial, with a registered forecast that is
  // `error` above its planted loss.
  std::string Register(const std::string& name, double budget, double error) {
    const auto* recipe = recipes::FindRecipe(file_.recipe).value();
    sweeps::ExpandOptions options;
    options.data = data_;
    recipes::Setting setting = sweeps::SettingOf(file_, options);
    setting.init_seed = 9;
    const recipes::Plan plan =
        sweeps::ChooseTarget(*recipe, budget, std::sqrt(budget) * 4, setting).value();
    v1::SubmitTargetRequest target;
    target.set_sweep("nano");
    *target.mutable_trial() = Remember(plan);
    EXPECT_OK(store_->SubmitTarget(target, clock_.UnixMs()));
    const double loss =
        PlantedLoss(static_cast<double>(plan.params), static_cast<double>(plan.tokens));
    EXPECT_OK(store_->RegisterForecast(
        orchestrator::ForecastOf("nano", name, target.trial(), budget, loss * (1 + error)),
        clock_.UnixMs()));
    return target.trial().trial_id();
  }

  void Cancel(const std::string& trial_id) {
    v1::ControlRequest request;
    request.set_sweep("nano");
    request.set_action(v1::ControlRequest::CANCEL);
    request.add_trial_ids(trial_id);
    EXPECT_OK(store_->Control(request, clock_.UnixMs()));
  }

 private:
  v1::TrialSpec Remember(const recipes::Plan& plan) {
    v1::TrialSpec spec = SpecOf(plan);
    plans_[spec.trial_id()] = plan;
    return spec;
  }

  v1::CompleteRequest Completion(const v1::Lease& lease, bool fails) {
    const recipes::Plan& plan = plans_.at(lease.trial_id());
    v1::CompleteRequest request = orchestrator::CompletionOf(
        "host-1", lease, fails ? v1::OUTCOME_FAILED : v1::OUTCOME_COMPLETED);
    request.set_step(fails ? plan.steps / 2 : plan.steps);
    if (fails) request.set_detail("the trainer was killed by signal 9 \xff");
    request.mutable_provenance()->set_trainer("native-cpu");
    request.mutable_provenance()->set_commit("abc123");
    if (fails) return request;
    v1::Evaluation* evaluation = request.mutable_final_evaluation();
    evaluation->set_eval_hash(plan.data.eval_hash);
    evaluation->set_step(plan.steps);
    // A little noise, a pure function of the trial.
    const double noise = 1 + 5e-4 * std::sin(static_cast<double>(plan.params));
    evaluation->set_sum_nats(
        1000 * noise *
        PlantedLoss(static_cast<double>(plan.params), static_cast<double>(plan.tokens)));
    return request;
  }

  const sweeps::SweepFile file_;
  const std::unique_ptr<orchestrator::Store> store_;
  recipes::DataSpec data_;
  core::FakeClock clock_;
  std::map<std::string, recipes::Plan> plans_;
};

}  // namespace sweepctl
