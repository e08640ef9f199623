// What the tests of orchestrator/ share: small plans, requests, a database in a folder of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "core/canonical_json.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/version.h"
#include "orchestrator/store/store.h"

namespace orchestrator {

#define ASSERT_OK(expr)                                  \
  do {                                                   \
    const absl::Status sweep_ok_ = StatusOf(expr);       \
    ASSERT_TRUE(sweep_ok_.ok()) << sweep_ok_.ToString(); \
  } while (false)
#define EXPECT_OK(expr)                                  \
  do {                                                   \
    const absl::Status sweep_ok_ = StatusOf(expr);       \
    EXPECT_TRUE(sweep_ok_.ok()) << sweep_ok_.ToString(); \
  } while (false)

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

constexpr int64_t kLeaseMs = 30'000;

// A folder that goes away with the test.
class TempDir {
 public:
  TempDir() {
    std::string pattern = testing::TempDir() + "sweep_XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A plan with the fields the store reads. Budget and seed make it different from others.
inline v1::TrialSpec MakeTrial(double budget_flops, int seed, int64_t params = 1000,
                               int64_t steps = 100) {
  const core::Json plan = {
      {"recipe", "delphi-nano"},
      {"recipe_version", "1"},
      {"budget", {{"kind", "training_flops"}, {"amount", budget_flops}}},
      {"model",
       {{"family", "transformer"}, {"config", {{"hidden_size", 64}, {"num_hidden_layers", 2}}}}},
      {"params", params},
      {"params_no_embedding", params / 2},
      {"tokens", steps * 8 * 64},
      {"seq_len", 64},
      {"batch", 8},
      {"steps", steps},
      {"recipe_flops", budget_flops},
      {"model_flops", budget_flops * 0.9},
      {"init_seed", seed},
      {"data_seed", 0},
      {"numerics", "f32"},
      {"clamps", core::Json::array({"batch_min"})},
      {"data",
       {{"sources", core::Json::array({{{"name", "code"}, {"weight", 1}, {"manifest_hash", "m"}}})},
        {"order_rule", "feistel-1"},
        {"tokenizer_hash", "tok"},
        {"eval_hash", "eval"},
        {"loss_definition", 1}}}};
  v1::TrialSpec spec;
  spec.set_plan(core::CanonicalJson(plan).value());
  spec.set_trial_id(core::Sha256Hex(spec.plan()));
  return spec;
}

inline v1::SubmitSweepRequest MakeSweep(const std::string& name, int trials,
                                        double first_budget = 1e12) {
  v1::SubmitSweepRequest request;
  request.set_name(name);
  request.set_sweep_file("name: " + name);
  request.set_spec_json("{\"name\":\"" + name + "\"}");
  request.set_data_dir("/data");
  request.set_checkpoint_root("/ckpt");
  request.mutable_retry()->set_failure(2);
  request.mutable_retry()->set_preemption(100);
  request.mutable_retry()->set_out_of_memory(1);
  for (int i = 0; i < trials; ++i) *request.add_trials() = MakeTrial(first_budget * (i + 1), i);
  return request;
}

inline v1::AcquireRequest AcquireOf(const std::string& worker, int max_trials) {
  v1::AcquireRequest request;
  request.set_worker_id(worker);
  request.set_max_trials(max_trials);
  return request;
}

inline v1::CompleteRequest CompletionOf(const std::string& worker, const v1::Lease& lease,
                                        v1::Outcome outcome, double loss = 3.0) {
  v1::CompleteRequest request;
  request.set_worker_id(worker);
  request.set_trial_id(lease.trial_id());
  request.set_epoch(lease.epoch());
  request.set_outcome(outcome);
  request.set_step(outcome == v1::OUTCOME_COMPLETED ? 100 : 40);
  request.set_train_ms(1000);
  if (outcome == v1::OUTCOME_COMPLETED) {
    v1::Evaluation* evaluation = request.mutable_final_evaluation();
    evaluation->set_eval_hash("eval");
    evaluation->set_step(100);
    evaluation->set_sum_nats(loss * 1000);
    evaluation->set_scored_tokens(1000);
    evaluation->set_scored_bytes(3000);
  }
  return request;
}

inline v1::ReportRequest ReportOf(const std::string& worker, const v1::Lease& lease, int64_t first,
                                  int64_t last) {
  v1::ReportRequest request;
  request.set_worker_id(worker);
  request.set_trial_id(lease.trial_id());
  request.set_epoch(lease.epoch());
  for (int64_t i = first; i <= last; ++i) {
    v1::MetricPoint* point = request.add_metrics();
    point->set_sequence(i);
    point->set_name("train_loss");
    point->set_step(i);
    point->set_value(5.0 / static_cast<double>(i));
    point->set_unix_ms(1'700'000'000'000 + i);
  }
  return request;
}

inline v1::PublishCheckpointRequest CheckpointOf(const std::string& worker, const v1::Lease& lease,
                                                 int64_t step) {
  v1::PublishCheckpointRequest request;
  request.set_worker_id(worker);
  request.set_trial_id(lease.trial_id());
  request.set_epoch(lease.epoch());
  request.mutable_checkpoint()->set_path("/ckpt/" + lease.trial_id() + "/e" +
                                         std::to_string(lease.epoch()) + "/step-" +
                                         std::to_string(step));
  request.mutable_checkpoint()->set_step(step);
  request.mutable_checkpoint()->set_exact_resume(true);
  return request;
}

inline v1::RegisterForecastRequest ForecastOf(const std::string& sweep, const std::string& name,
                                              const v1::TrialSpec& target, double budget_flops,
                                              double loss = 3.0) {
  v1::RegisterForecastRequest request;
  request.set_sweep(sweep);
  request.set_name(name);
  request.set_target_trial_id(target.trial_id());
  request.set_law("chinchilla");
  request.set_primary(true);
  request.set_budget_flops(budget_flops);
  request.set_metric("loss");
  request.set_loss(loss);
  request.set_interval_lo(loss - 0.1);
  request.set_interval_hi(loss + 0.1);
  request.set_interval_level(0.9);
  request.set_interval_kind("prediction");
  request.set_interval_method("bootstrap");
  request.set_cohort_json("{}");
  request.set_options_json("{\"delta\":0.001}");
  request.set_observations_json("[[1,2,3]]");
  request.set_code_version("test");
  return request;
}

// A store in a fresh file with a clock that stands still.
class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    auto store = Store::Open(Path());
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::string Path() const { return dir_.File("test.db"); }
  int64_t Now() const { return clock_.UnixMs(); }
  std::string State(const std::string& trial_id) {
    return *store_->db().Text("SELECT state FROM trials WHERE trial_id=?1", trial_id);
  }
  // One lease or a failed test.
  v1::Lease LeaseOne(const std::string& worker) {
    auto response = store_->AcquireLeases(AcquireOf(worker, 1), kLeaseMs, Now());
    EXPECT_TRUE(response.ok()) << response.status();
    if (!response.ok() || response->leases_size() != 1) {
      ADD_FAILURE() << "no lease for " << worker;
      return {};
    }
    return response->leases(0);
  }
  int64_t Count(const std::string& sql) { return *store_->db().Int(-1, sql); }

  TempDir dir_;
  core::FakeClock clock_;
  std::unique_ptr<Store> store_;
};

}  // namespace orchestrator
