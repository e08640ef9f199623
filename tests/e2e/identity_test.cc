// A plan's bytes from the recipe to the exported result: the same at every hop, and their SHA-256
// is the trial's id at every hop.
#include <stdlib.h>

#include <map>
#include <set>
#include <thread>

#include "core/file.h"
#include "core/hash.h"
#include "core/mutex.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/reader.h"
#include "recipes/plan.h"
#include "sweep/v1/results.pb.h"
#include "sweep/v1/trainer.pb.h"
#include "sweepctl/submission.h"
#include "tests/e2e/harness.h"
#include "worker/agent/agent.h"
#include "worker/protocol/framing.h"

namespace e2e {
namespace {

namespace v1 = ::sweep::v1;
using core::Json;

using Plans = std::map<std::string, std::string>;  // bytes by trial_id

// The real connection, with the leases that came over it kept.
class RecordingApi final : public worker::CoordinatorApi {
 public:
  RecordingApi(std::unique_ptr<worker::CoordinatorApi> real, core::Mutex* mu, Plans* leased)
      : real_(std::move(real)), mu_(mu), leased_(leased) {}
  absl::StatusOr<v1::RegisterResponse> Register(const v1::RegisterRequest& request) override {
    return real_->Register(request);
  }
  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request) override {
    auto response = real_->Acquire(request);
    core::MutexLock lock(mu_);
    if (response.ok())
      for (const v1::Lease& lease : response->leases()) (*leased_)[lease.trial_id()] = lease.plan();
    return response;
  }
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request) override {
    return real_->Heartbeat(request);
  }
  absl::StatusOr<v1::ReportResponse> Report(const v1::ReportRequest& request) override {
    return real_->Report(request);
  }
  absl::StatusOr<v1::PublishCheckpointResponse> PublishCheckpoint(
      const v1::PublishCheckpointRequest& request) override {
    return real_->PublishCheckpoint(request);
  }
  absl::StatusOr<v1::CompleteResponse> Complete(const v1::CompleteRequest& request) override {
    return real_->Complete(request);
  }
  void StopWaiting() override { real_->StopWaiting(); }

 private:
  const std::unique_ptr<worker::CoordinatorApi> real_;
  core::Mutex* const mu_;
  Plans* const leased_;
};

void ExpectTheSame(const std::string& hop, const Plans& plans, const Plans& recipe) {
  EXPECT_EQ(plans, recipe) << hop;
  for (const auto& [id, bytes] : plans) EXPECT_EQ(core::Sha256Hex(bytes), id) << hop;
}

std::set<std::string> Ids(const Plans& plans) {
  std::set<std::string> ids;
  for (const auto& [id, bytes] : plans) ids.insert(id);
  return ids;
}

// Every key of a JSON value, at any depth.
void CollectKeys(const Json& value, std::set<std::string>* keys) {
  if (!value.is_structured()) return;
  for (const auto& [key, inner] : value.items()) {
    if (value.is_object()) keys->insert(key);
    CollectKeys(inner, keys);
  }
}

TEST(PlanTest, TrialIdsAndEpochsAreKnownOnceTheDataArePreparedAndTheReasonBefore) {
  Sandbox box;
  const std::string path = box.SweepFile("early", "[1e11]", 2);
  const std::vector<std::string> plan = {"plan", path, "--data-root", box.text()};
  std::vector<std::string> json = plan;
  json.push_back("--json");
  const Json before = Json::parse(box.Sweepctl(json).out);
  EXPECT_EQ(before["data"]["prepared"], false);
  EXPECT_THAT(before["data"]["reason"].get<std::string>(),
              testing::HasSubstr("sweepctl data prepare " + path));
  EXPECT_TRUE(before["trials"][0]["trial_id"].is_null());
  EXPECT_TRUE(before["trials"][0]["source_epochs"]["text"].is_null());
  EXPECT_THAT(box.Sweepctl(plan).err, testing::HasSubstr("no trial ids and epochs: "));
  // Elsewhere there is no such text: that is the reason then.
  EXPECT_THAT(Json::parse(box.Sweepctl({"plan", path, "--json"}).out)["data"]["reason"],
              testing::HasSubstr("no file matches"));

  ASSERT_EQ(box.Launch(path, {"--detach", "--no-workers"}).code, 0);
  const Json after = Json::parse(box.Sweepctl(json).out);
  EXPECT_EQ(after["data"]["prepared"], true);
  EXPECT_TRUE(after["data"]["reason"].is_null());
  std::set<std::string> planned, stored;
  for (const Json& trial : after["trials"]) planned.insert(trial["trial_id"].get<std::string>());
  for (const Json& row : box.Rows("SELECT trial_id FROM trials"))
    stored.insert(row["trial_id"].get<std::string>());
  EXPECT_EQ(planned, stored);
  const worker::Manifest manifest =
      worker::ReadManifest(after["data"]["data_dir"].get<std::string>()).value();
  for (const Json& trial : after["trials"]) {
    const double epochs =
        trial["tokens"].get<double>() / static_cast<double>(manifest.sources[0].tokens);
    EXPECT_DOUBLE_EQ(trial["source_epochs"]["text"], epochs);
    EXPECT_DOUBLE_EQ(trial["epochs"], epochs);
  }
  const Result table = box.Sweepctl(plan);
  EXPECT_THAT(table.out, testing::HasSubstr(planned.begin()->substr(0, 8)));
  EXPECT_THAT(table.out, testing::HasSubstr("epochs, at most: text "));
}

TEST(IdentityTest, APlansBytesAreTheSameAndItsIdAtEveryHop) {
  Sandbox box;
  const std::string path = box.SweepFile("hops", "[1e11]", 2);

  // 1. The recipe.
  const Result prepared =
      box.Sweepctl({"data", "prepare", path, "--data-root", box.text(), "--json"});
  ASSERT_EQ(prepared.code, 0) << prepared.err;
  const auto file = sweeps::LoadSweepFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  sweepctl::SweepData data;
  data.data_dir = Json::parse(prepared.out)["data_dir"];
  data.report.manifest = worker::ReadManifest(data.data_dir).value();
  data.spec = sweepctl::DataSpecOf(*file, data.report.manifest);
  sweeps::ExpandOptions expand;
  expand.data = data.spec;
  const auto trials = sweeps::Expand(*file, expand);
  ASSERT_TRUE(trials.ok()) << trials.status();
  Plans recipe;
  for (const sweeps::PlannedTrial& trial : *trials)
    recipe[trial.trial_id] = recipes::PlanBytes(trial.plan).value();
  ASSERT_EQ(recipe.size(), 2u);
  ExpectTheSame("recipe", recipe, recipe);
  // What the attempt keeps is no part of it.
  std::set<std::string> keys;
  for (const auto& [id, bytes] : recipe) CollectKeys(Json::parse(bytes), &keys);
  EXPECT_TRUE(keys.count("init_seed") && keys.count("manifest_hash"));
  for (int i = 0; i < v1::Provenance::descriptor()->field_count(); ++i)
    EXPECT_EQ(keys.count(v1::Provenance::descriptor()->field(i)->name()), 0u);

  // 2. The launch request, over the wire format.
  const auto submission = sweepctl::SubmissionOf(*file, *trials, data, box.db());
  ASSERT_TRUE(submission.ok()) << submission.status();
  v1::SubmitSweepRequest request;
  ASSERT_TRUE(request.ParseFromString(submission->SerializeAsString()));
  Plans requested;
  for (const v1::TrialSpec& spec : request.trials()) requested[spec.trial_id()] = spec.plan();
  ExpectTheSame("launch request", requested, recipe);

  // 3. The store, after a launch by the real program.
  const Result launch = box.Launch(path, {"--detach", "--no-workers"});
  ASSERT_EQ(launch.code, 0) << launch.err;
  const auto reader = orchestrator::Reader::Open(box.db());
  ASSERT_TRUE(reader.ok()) << reader.status();
  Plans stored;
  for (const Json& row : box.Rows("SELECT trial_id FROM trials"))
    stored[row["trial_id"]] = (*reader)->Plan(row["trial_id"].get<std::string>()).value();
  ExpectTheSame("store", stored, recipe);

  // 4. The lease, and 5. the trainer's StartTrial, through a real agent and a real trainer.
  const std::string kept = box.dir() + "/to_trainer";
  setenv("TEE_FILE", kept.c_str(), 1);
  setenv("TEE_PROGRAM", SWEEP_WORKER_PROGRAM, 1);
  core::Mutex mu;
  Plans leased;
  const std::string coordinator = "file:" + orchestrator::LockPath(box.db());
  worker::AgentOptions options;
  options.coordinator = coordinator;
  options.threads = 2;
  options.work_dir = box.dir() + "/agent";
  options.program = SWEEP_SOURCE_DIR "/tests/e2e/tee_trainer.py";
  worker::Agent agent(options, std::make_unique<RecordingApi>(
                                   worker::ConnectToCoordinator(coordinator), &mu, &leased));
  std::thread running([&] { agent.Run(); });
  EXPECT_TRUE(Eventually(
      [&] { return box.Number("SELECT count(*) FROM trials WHERE state='COMPLETED'") == 2; }, 120))
      << box.Logs();
  agent.RequestStop();
  running.join();
  unsetenv("TEE_FILE");
  unsetenv("TEE_PROGRAM");
  {
    core::MutexLock lock(&mu);
    ExpectTheSame("lease", leased, recipe);
  }
  worker::FrameBuffer frames;
  frames.Append(core::ReadFile(kept).value());
  Plans started;
  while (true) {
    const auto frame = frames.Next();
    ASSERT_TRUE(frame.ok()) << frame.status();
    if (!frame->has_value()) break;
    v1::ToTrainer message;
    ASSERT_TRUE(message.ParseFromString(**frame));
    if (message.has_start()) started[message.start().trial_id()] = message.start().plan();
  }
  ExpectTheSame("StartTrial", started, recipe);

  // What it ran with is kept beside it.
  EXPECT_EQ(box.Number("SELECT count(*) FROM attempts WHERE microbatch_sequences>0 AND threads=2 "
                       "AND trainer='native-cpu'"),
            2);

  // 6. The checkpoint.
  Plans saved;
  for (const Json& row : box.Rows("SELECT trial_id, checkpoint_path FROM trials")) {
    saved[row["trial_id"]] =
        core::ReadFile(row["checkpoint_path"].get<std::string>() + "/plan.json").value_or("none");
  }
  ExpectTheSame("checkpoint", saved, recipe);

  // 7. What is shown and exported.
  Plans shown, shown_as_json;
  for (const auto& [id, bytes] : recipe) {
    shown[id] = box.Sweepctl({"show", id, "--plan"}).out;
    const Json json = Json::parse(box.Sweepctl({"show", id, "--json"}).out);
    shown_as_json[json["trial_id"]] = core::CanonicalJson(json["plan"]).value();
  }
  ExpectTheSame("show --plan", shown, recipe);
  ExpectTheSame("show --json", shown_as_json, recipe);
  std::set<std::string> exported;
  const Json rows = Json::parse(box.Sweepctl({"export", "--json"}).out);
  for (const Json& row : rows["rows"]) exported.insert(row["id"].get<std::string>());
  EXPECT_EQ(exported, Ids(recipe));
}

}  // namespace
}  // namespace e2e
