#include "worker/trainer/trainer.h"

#include <dnnl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/machine.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "core/version.h"
#include "fmt/format.h"
#include "sweep/v1/trainer.pb.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/protocol/framing.h"
#include "worker/trainer/cpu_trial.h"
#include "worker/trainer/cuda_trial.h"
#include "worker/trainer/listen.h"

namespace worker {
namespace {

using sweep::v1::FromTrainer;
using sweep::v1::Outcome;
using sweep::v1::StartTrial;
using sweep::v1::ToTrainer;

constexpr int64_t kDefaultCheckpointMs = 60'000;
constexpr int64_t kProgressMs = 1'000;
constexpr int64_t kMetricPoints = 200;
constexpr int kDiskPollMs = 2'000;
constexpr int64_t kDiskPatienceMs = 3'600'000;

int64_t PeakResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

int64_t ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// What every connection of the process shares.
struct Process {
  TrainerOptions options;
  CudaIdentity cuda;
  std::unique_ptr<DeviceMemory> memory;  // of the GPU
};

void FillProvenance(const Process& process, sweep::v1::Provenance* p) {
  p->set_commit(std::string(core::Commit()));
  p->set_trainer_version(std::string(core::Version()));
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  p->set_host(host);
  if (process.options.cuda_device < 0) {
    p->set_trainer("native-cpu");
    p->set_device("cpu: " + CpuModel());
    const dnnl_version_t* v = dnnl_version();
    p->set_libraries_json(fmt::format("{{\"onednn\":\"{}.{}.{}\"}}", v->major, v->minor, v->patch));
    p->set_packing("alone");
    return;
  }
  p->set_trainer("native-cuda");
  p->set_device("cuda: " + process.cuda.device);
  p->set_libraries_json(process.cuda.libraries_json);
  p->set_packing(
      process.options.connections <= 1
          ? "alone"
          : fmt::format("streams and batched graphs, {} slots", process.options.connections));
}

// Every byte of a data folder is verified once a process; whoever comes meanwhile waits for it.
absl::StatusOr<std::unique_ptr<Dataset>> OpenVerified(const std::string& data_dir,
                                                      const recipes::Plan& plan) {
  static core::Mutex* mu = new core::Mutex();
  static auto* verified = new std::set<std::string>();
  core::MutexLock lock(mu);
  ASSIGN_OR_RETURN(auto dataset, Dataset::Open(data_dir, plan, verified->count(data_dir) == 0));
  verified->insert(data_dir);
  return dataset;
}

// Serves one connection.
class Trainer {
 public:
  Trainer(Process& process, int fd) : process_(process), socket_(fd) {}

  int Serve() {
    FromTrainer ready;
    ready.mutable_ready()->set_protocol_version(core::kProtocolVersion);
    FillProvenance(process_, ready.mutable_ready()->mutable_provenance());
    if (!Send(ready)) return 0;
    while (true) {
      ToTrainer message;
      const absl::Status status = socket_.Read(-1, &message);
      if (absl::IsDeadlineExceeded(status)) continue;
      if (absl::IsOutOfRange(status)) return 0;
      if (!status.ok()) {
        std::fprintf(stderr, "trainer: %s\n", std::string(status.message()).c_str());
        return 76;
      }
      if (message.has_start()) {
        if (!RunTrial(message.start())) return 0;
      }
      // A stop without a running trial has nothing to stop.
    }
  }

 private:
  bool Send(const FromTrainer& message) { return socket_.Write(message).ok(); }

  // False when the agent is gone.
  bool RunTrial(const StartTrial& start) {
    const int64_t began = core::SystemClock().MonotonicMs();
    FromTrainer message;
    sweep::v1::Finished* finished = message.mutable_finished();
    train_ms_ = 0;
    stopped_ = false;
    const absl::Status status = Train(start, finished);
    if (gone_) return false;
    if (stopped_ && absl::IsCancelled(status)) {
      finished->set_outcome(Outcome::OUTCOME_PREEMPTED);
      finished->set_detail(std::string(status.message()));
    } else if (!status.ok()) {
      finished->set_outcome(absl::IsResourceExhausted(status) && out_of_memory_
                                ? Outcome::OUTCOME_OUT_OF_MEMORY
                                : Outcome::OUTCOME_FAILED);
      finished->set_detail(std::string(status.message()));
    }
    finished->set_train_ms(train_ms_);
    finished->set_total_ms(core::SystemClock().MonotonicMs() - began);
    finished->set_peak_resident_bytes(PeakResidentBytes());
    return Send(message);
  }

  absl::Status Train(const StartTrial& start, sweep::v1::Finished* finished) {
    out_of_memory_ = false;
    if (core::Sha256Hex(start.plan()) != start.trial_id()) {
      return absl::DataLossError(
          fmt::format("the plan's SHA-256 is {}..., not its trial_id {}...; it changed on the way",
                      core::Sha256Hex(start.plan()).substr(0, 12), start.trial_id().substr(0, 12)));
    }
    ASSIGN_OR_RETURN(const recipes::Plan plan, recipes::ParsePlan(start.plan()));
    ASSIGN_OR_RETURN(const auto dataset, OpenVerified(start.data_dir(), plan));
    out_of_memory_ = true;
    ASSIGN_OR_RETURN(auto trial, Create(start, dataset.get()));
    out_of_memory_ = false;
    finished->set_microbatch_sequences(trial->microbatch());
    finished->set_algorithm_table_hash(CudaAlgorithmTableHash());
    if (!start.resume_from().empty()) RETURN_IF_ERROR(Resume(start, dataset.get(), &trial));

    const int64_t metric_every = start.metric_every_steps() > 0
                                     ? start.metric_every_steps()
                                     : std::max<int64_t>(1, plan.steps / kMetricPoints);
    const int64_t checkpoint_ms =
        start.checkpoint_interval_ms() > 0 ? start.checkpoint_interval_ms() : kDefaultCheckpointMs;
    const double loss_limit = 10 * std::log(plan.model.config.value("vocab_size", 2.0));
    int64_t last_checkpoint_ms = core::SystemClock().MonotonicMs(),
            last_progress_ms = last_checkpoint_ms;
    int64_t last_progress_step = trial->step();
    while (trial->step() < plan.steps) {
      int64_t count = std::min(trial->StepsAtOnce(), plan.steps - trial->step());
      if (const int64_t every = start.checkpoint_every_steps(); every > 0)
        count = std::min(count, every - trial->step() % every);
      const int64_t before = core::SystemClock().MonotonicMs();
      const std::vector<StepResult> results = trial->Run(count);
      const int64_t now = core::SystemClock().MonotonicMs();
      train_ms_ += now - before;
      for (int64_t i = 0; i < count; ++i) {
        const StepResult& result = results[i];
        const int64_t done = trial->step() - count + i + 1;
        finished->set_step(done);
        if (!result.finite || result.loss > loss_limit) {
          finished->set_outcome(Outcome::OUTCOME_DIVERGED);
          finished->set_detail(fmt::format(
              "loss {} and gradient norm {} at step {}", result.loss,
              *std::max_element(result.grad_norms.begin(), result.grad_norms.end()), done));
          return absl::OkStatus();
        }
        if (done % metric_every == 0 || done == plan.steps) SendMetrics(plan, done, result);
      }
      const int64_t step = trial->step();
      if (now - last_progress_ms >= kProgressMs) {
        FromTrainer message;
        message.mutable_progress()->set_step(step);
        message.mutable_progress()->set_tokens_per_s(1000.0 * (step - last_progress_step) *
                                                     plan.batch * plan.seq_len /
                                                     static_cast<double>(now - last_progress_ms));
        message.mutable_progress()->set_resident_bytes(ResidentBytes());
        Send(message);
        last_progress_ms = now;
        last_progress_step = step;
      }
      const bool by_steps =
          start.checkpoint_every_steps() > 0 && step % start.checkpoint_every_steps() == 0;
      if (step < plan.steps && (by_steps || now - last_checkpoint_ms >= checkpoint_ms)) {
        const absl::Status saved = SaveAndTell(*trial, start);
        // Without room on the disk training goes on; the next checkpoint may find some.
        if (!absl::IsResourceExhausted(saved)) RETURN_IF_ERROR(saved);
        if (!saved.ok()) Warn(saved);
        last_checkpoint_ms = core::SystemClock().MonotonicMs();
      }
      ToTrainer command;
      const absl::Status status = socket_.Read(0, &command);
      if (absl::IsOutOfRange(status)) {
        gone_ = true;
        return absl::OkStatus();
      }
      if (status.ok() && command.has_stop()) {
        if (command.stop().save()) RETURN_IF_ERROR(SaveAndTell(*trial, start));
        finished->set_outcome(command.stop().save() ? Outcome::OUTCOME_PREEMPTED
                                                    : Outcome::OUTCOME_CANCELLED);
        finished->set_detail("stopped on request");
        return absl::OkStatus();
      }
    }
    const HeldoutScore score = trial->Score();
    if (!std::isfinite(score.sum_nats)) {
      finished->set_outcome(Outcome::OUTCOME_DIVERGED);
      finished->set_detail("the final held-out loss is not finite");
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(SaveFinal(*trial, start));
    if (gone_) return absl::OkStatus();
    FromTrainer message;
    message.mutable_evaluation()->set_eval_hash(plan.data.eval_hash);
    message.mutable_evaluation()->set_step(trial->step());
    message.mutable_evaluation()->set_sum_nats(score.sum_nats);
    message.mutable_evaluation()->set_scored_tokens(score.scored_tokens);
    message.mutable_evaluation()->set_scored_bytes(score.scored_bytes);
    Send(message);
    finished->set_step(trial->step());
    finished->set_outcome(Outcome::OUTCOME_COMPLETED);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Trial>> Create(const StartTrial& start, const Dataset* dataset) {
    if (process_.options.cuda_device >= 0) {
      auto trial = CreateCudaTrial(start.plan(), dataset,
                                   {.device = process_.options.cuda_device,
                                    .memory = process_.memory.get(),
                                    .give_up = [this] { return AskedToStop(); }});
      if (trial.ok() && !process_.options.gemm_table.empty()) {
        const absl::Status saved = SaveCudaAlgorithms(process_.options.gemm_table);
        if (!saved.ok()) Warn(saved);
      }
      return trial;
    }
    ASSIGN_OR_RETURN(auto trial, CpuTrial::Create(start.plan(), dataset, start.threads(),
                                                  core::ReadMachine().available_bytes));
    return trial;
  }

  // A damaged or missing checkpoint costs time, never the trial: then from an earlier one, or from
  // the start. Exact either way.
  absl::Status Resume(const StartTrial& start, const Dataset* dataset,
                      std::unique_ptr<Trial>* trial) {
    std::vector<std::string> candidates = OtherCheckpoints(start.resume_from());
    candidates.insert(candidates.begin(), start.resume_from());
    for (const std::string& path : candidates) {
      const absl::Status loaded = (*trial)->Load(path);
      if (loaded.ok() && path != start.resume_from())
        std::fprintf(stderr, "trainer: going on from '%s'\n", path.c_str());
      if (!absl::IsDataLoss(loaded) && !absl::IsNotFound(loaded)) return loaded;
      Warn(loaded);
      trial->reset();
      ASSIGN_OR_RETURN(*trial, Create(start, dataset));
    }
    std::fputs("trainer: training starts over\n", stderr);
    return absl::OkStatus();
  }

  // While there is no trial yet.
  bool AskedToStop() {
    ToTrainer command;
    const absl::Status heard = socket_.Read(0, &command);
    gone_ = gone_ || absl::IsOutOfRange(heard);
    stopped_ = stopped_ || (heard.ok() && command.has_stop());
    return gone_ || stopped_;
  }

  // All the work is done: a full disk is waited for, unless the agent wants the trial to stop.
  absl::Status SaveFinal(Trial& trial, const StartTrial& start) {
    const int64_t until = core::SystemClock().MonotonicMs() + kDiskPatienceMs;
    while (true) {
      const absl::Status saved = SaveAndTell(trial, start);
      if (!absl::IsResourceExhausted(saved)) return saved;
      Warn(saved);
      ToTrainer command;
      const absl::Status heard = socket_.Read(kDiskPollMs, &command);
      gone_ = absl::IsOutOfRange(heard);
      if (gone_) return absl::OkStatus();
      if ((heard.ok() && command.has_stop()) || core::SystemClock().MonotonicMs() >= until) {
        return saved;
      }
    }
  }

  static void Warn(const absl::Status& status) {
    std::fprintf(stderr, "trainer: %s\n", std::string(status.message()).c_str());
  }

  absl::Status SaveAndTell(Trial& trial, const StartTrial& start) {
    ASSIGN_OR_RETURN(const CheckpointInfo info, trial.Save(start.checkpoint_dir()));
    FromTrainer message;
    message.mutable_checkpoint()->set_path(info.path);
    message.mutable_checkpoint()->set_step(info.step);
    message.mutable_checkpoint()->set_manifest_hash(info.manifest_hash);
    message.mutable_checkpoint()->set_exact_resume(true);
    Send(message);
    return absl::OkStatus();
  }

  void SendMetrics(const recipes::Plan& plan, int64_t step, const StepResult& result) {
    auto send = [&](const std::string& name, double value) {
      FromTrainer message;
      message.mutable_metric()->set_name(name);
      message.mutable_metric()->set_step(step);
      message.mutable_metric()->set_value(value);
      message.mutable_metric()->set_unix_ms(core::SystemClock().UnixMs());
      Send(message);
    };
    send("train_loss", result.loss);
    send("lr_factor", result.lr_factor);
    for (size_t g = 0; g < result.grad_norms.size(); ++g)
      send("grad_norm." + plan.optimizer[g].name, result.grad_norms[g]);
  }

  Process& process_;
  FrameSocket socket_;
  bool gone_ = false, stopped_ = false, out_of_memory_ = false;
  int64_t train_ms_ = 0;
};

}  // namespace

int TrainerMain(const TrainerOptions& options) {
  // Agents start trainers as /proc/self/exe, which ps would call "exe".
  prctl(PR_SET_NAME, options.cuda_device >= 0 ? "sweep-worker-cu" : "sweep-worker");
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::fprintf(
        stderr,
        "sweep-worker: this CPU (%s) lacks AVX2 or FMA, which the CPU trainer is compiled for\n",
        CpuModel().c_str());
    return 70;
  }
  Process process;
  process.options = options;
  if (options.cuda_device >= 0) {
    process.cuda = IdentifyCuda(options.cuda_device);
    if (process.cuda.device.empty()) {
      std::fprintf(stderr, "sweep-worker: no GPU to train on: %s\n", process.cuda.why_none.c_str());
      return 70;
    }
    if (!options.gemm_table.empty()) {
      const absl::Status pinned = PinCudaAlgorithms(options.gemm_table);
      if (!pinned.ok()) {
        std::fprintf(stderr, "sweep-worker: %s\n", std::string(pinned.message()).c_str());
        return 70;
      }
    }
    // What a driver keeps back and fragmentation eats.
    process.memory = std::make_unique<DeviceMemory>(
        static_cast<int64_t>(0.94 * static_cast<double>(process.cuda.free_bytes)));
  }
  if (options.connections == 0) return Trainer(process, options.fd).Serve();
  return ServeConnections(options.fd, [&process](int fd) { (void)Trainer(process, fd).Serve(); });
}

}  // namespace worker
