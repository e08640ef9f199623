// A stand-in for the native trainer, with the same TrainerMain: it takes the training out and
// leaves the protocol in. The plan's "fake" field says how it behaves:
//   step_ms     time of a step (0)
//   crash_at    kills itself with SIGKILL at that step, unless it has resumed
//   crash_always  the same, resumed or not
//   end         "completed" (default), "diverged", "oom", "failed", "no_eval", "other_eval"
//   garbage_at  writes bytes that are no frame at that step
//   deaf        never answers a stop
// It writes a checkpoint every 10 steps and when it is asked to stop. The loss at step k is 10/k.
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/version.h"
#include "sweep/v1/trainer.pb.h"
#include "worker/protocol/framing.h"
#include "worker/trainer/listen.h"
#include "worker/trainer/run_plan.h"
#include "worker/trainer/trainer.h"
#include "worker/trainer/write_inputs.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;

void SendCheckpoint(FrameSocket& socket, const std::string& dir, int64_t step) {
  const std::string path = dir + "/step-" + std::to_string(step);
  std::filesystem::create_directories(path);
  (void)core::WriteFileAtomically(path + "/state", std::to_string(step));
  v1::FromTrainer message;
  message.mutable_checkpoint()->set_path(path);
  message.mutable_checkpoint()->set_step(step);
  message.mutable_checkpoint()->set_exact_resume(true);
  (void)socket.Write(message);
}

void Finish(FrameSocket& socket, v1::Outcome outcome, int64_t step,
            const std::string& detail = "") {
  v1::FromTrainer message;
  message.mutable_finished()->set_outcome(outcome);
  message.mutable_finished()->set_step(step);
  message.mutable_finished()->set_detail(detail);
  message.mutable_finished()->set_train_ms(5);
  (void)socket.Write(message);
}

// False at end-of-file.
bool RunTrial(int fd, FrameSocket& socket, const v1::StartTrial& start) {
  const core::Json plan = core::ParseJson(start.plan(), "plan").value();
  const core::Json fake = plan.value("fake", core::Json::object());
  const int64_t steps = plan["steps"].get<int64_t>();
  const int step_ms = fake.value("step_ms", 0);
  int64_t step = 0;
  if (!start.resume_from().empty())
    step = std::stoll(core::ReadFile(start.resume_from() + "/state").value());
  const bool resumed = step > 0;
  std::fprintf(stderr, "fake trainer: %s from step %lld\n", start.trial_id().c_str(),
               static_cast<long long>(step));
  while (step < steps) {
    v1::ToTrainer message;
    const absl::Status status = socket.Read(step_ms, &message);
    if (absl::IsOutOfRange(status)) return false;
    if (status.ok() && message.has_stop() && !fake.value("deaf", false)) {
      if (message.stop().save()) SendCheckpoint(socket, start.checkpoint_dir(), step);
      Finish(socket, v1::OUTCOME_PREEMPTED, step);
      return true;
    }
    ++step;
    if (step == fake.value("crash_at", -1) && (!resumed || fake.value("crash_always", false))) {
      std::fprintf(stderr, "fake trainer: about to crash\n");
      kill(getpid(), SIGKILL);
    }
    if (step == fake.value("garbage_at", -1)) {
      const std::string garbage(64, '\xff');
      (void)!write(fd, garbage.data(), garbage.size());
      pause();
    }
    v1::FromTrainer metric;
    metric.mutable_metric()->set_name("train_loss");
    metric.mutable_metric()->set_step(step);
    metric.mutable_metric()->set_value(10.0 / static_cast<double>(step));
    (void)socket.Write(metric);
    v1::FromTrainer progress;
    progress.mutable_progress()->set_step(step);
    progress.mutable_progress()->set_tokens_per_s(start.threads());
    (void)socket.Write(progress);
    if (step % 10 == 0) SendCheckpoint(socket, start.checkpoint_dir(), step);
  }
  const std::string end = fake.value("end", "completed");
  if (end == "completed" || end == "other_eval") {
    v1::FromTrainer message;
    v1::Evaluation* evaluation = message.mutable_evaluation();
    evaluation->set_eval_hash(end == "completed" ? "eval" : "another");
    evaluation->set_step(steps);
    evaluation->set_sum_nats(2000);
    evaluation->set_scored_tokens(1000);
    evaluation->set_scored_bytes(3000);
    (void)socket.Write(message);
  }
  Finish(socket,
         end == "diverged" ? v1::OUTCOME_DIVERGED
         : end == "oom"    ? v1::OUTCOME_OUT_OF_MEMORY
         : end == "failed" ? v1::OUTCOME_FAILED
                           : v1::OUTCOME_COMPLETED,
         steps, end == "failed" ? "the disk is on fire" : "");
  return true;
}

}  // namespace

int Serve(int fd) {
  FrameSocket socket(fd);
  v1::FromTrainer ready;
  ready.mutable_ready()->set_protocol_version(core::kProtocolVersion);
  ready.mutable_ready()->mutable_provenance()->set_trainer("fake");
  (void)socket.Write(ready);
  while (true) {
    v1::ToTrainer message;
    const absl::Status status = socket.Read(-1, &message);
    if (absl::IsDeadlineExceeded(status)) continue;
    if (!status.ok()) return 0;
    if (message.has_start() && !RunTrial(fd, socket, message.start())) return 0;
  }
}

}  // namespace worker

// main.cc names them; the fake trains no plan.
namespace worker {
absl::Status RunPlan(const RunPlanOptions&) {
  return absl::UnimplementedError("the fake trainer runs no plan");
}
absl::Status WriteInputs(const WriteInputsOptions&) {
  return absl::UnimplementedError("the fake trainer knows no plan");
}
int TrainerMain(const TrainerOptions& options) {
  if (options.connections == 0) return Serve(options.fd);
  return ServeConnections(options.fd, [](int fd) { (void)Serve(fd); });
}

}  // namespace worker
