// sweep-worker: `agent` leases and reports, `run` trains one plan by itself, `inputs` writes what
// another trainer needs to repeat a plan, `train` is the native trainer, `exec` runs an outside
// trainer so that it dies with the agent. The last two are started by the agent, not by people.
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "core/file.h"
#include "core/machine.h"
#include "core/subprocess.h"
#include "core/version.h"
#include "fmt/format.h"
#include "worker/agent/agent.h"
#include "worker/runtime/cuda/device_probe.h"
#include "worker/trainer/run_plan_options.h"
#include "worker/trainer/train_options.h"
#include "worker/trainer/write_inputs.h"

namespace {

// Most trials at once on a GPU; the agent measures how many of them are worthwhile.
constexpr int kGpuSlots = 16;

// The kernel kills this process when the agent's thread that started it ends.
void DieWithParent() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) _exit(1);  // it has ended already
}

int RunAgent(const worker::AgentOptions& options) {
  // Blocked in every thread; one thread waits for them. Children start with an empty mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  worker::Agent agent(options);
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    const timespec interval = {0, 200'000'000};
    while (!done) {
      if (sigtimedwait(&signals, nullptr, &interval) > 0) agent.RequestStop();
    }
  });
  const int code = agent.Run();
  done = true;
  watcher.join();
  return code;
}

int Exec(char** argv) {
  DieWithParent();
  execvp(argv[0], argv);
  std::fprintf(stderr, "starting %s: %s; is it installed, and in PATH?\n", argv[0],
               std::strerror(errno));
  return 127;
}

}  // namespace

int main(int argc, char** argv) {
  core::ReportFileSizeLimit();
  // Before CLI11: everything after `exec --` belongs to the command.
  if (argc >= 4 && std::strcmp(argv[1], "exec") == 0 && std::strcmp(argv[2], "--") == 0)
    return Exec(argv + 3);
  CLI::App app{"sweep-worker: trains the trials of a sweepctl coordinator"};
  app.set_version_flag("--version",
                       fmt::format("sweep-worker {} ({})", core::Version(), core::Commit()));
  app.require_subcommand(1);
  worker::AgentOptions options;
  options.work_dir = "./sweep-worker";
  options.threads = core::ReadMachine().cores;
  CLI::App* agent = app.add_subcommand("agent", "lease trials and have them trained");
  agent
      ->add_option("--coordinator", options.coordinator,
                   "HOST:PORT, or file:PATH of the lock file beside the database")
      ->required();
  agent
      ->add_option("--slots", options.slots,
                   "trials at once; default: one, on a GPU as many as measurement finds worthwhile")
      ->check(CLI::Range(1, 1024));
  agent->add_option("--threads", options.threads, "CPU threads of all trials together")
      ->check(CLI::Range(1, 4096));
  agent->add_option(
      "--cuda", options.cuda_device,
      "train on this GPU, as CUDA counts, with sweep-worker-cuda beside this program");
  agent->add_option("--work-dir", options.work_dir, "logs and private files");
  agent->add_flag("--exit-when-drained", options.exit_when_drained,
                  "end when the coordinator has nothing left to do");
  agent->add_option("--checkpoint-interval-ms", options.checkpoint_interval_ms,
                    "time between checkpoints");
  agent->add_option("--stop-grace-ms", options.stop_grace_ms,
                    "time a trial gets to save when it is stopped");
  agent->add_option("--unreachable-ms", options.unreachable_ms,
                    "how long an idle agent waits for a coordinator that is away");
  CLI::App* train = app.add_subcommand("train", "the native trainer (started by the agent)");
  worker::TrainerOptions train_options;
  worker::AddTrainOptions(*train, &train_options);
  worker::RunPlanOptions run_options;
  CLI::App* run = worker::AddRun(app, &run_options);
  run->add_option("--threads", run_options.threads, "CPU threads; never changes the result")
      ->check(CLI::Range(1, 4096));
  worker::WriteInputsOptions inputs_options;
  CLI::App* inputs = app.add_subcommand(
      "inputs", "write a plan's initial weights and token sequences for another trainer");
  inputs->add_option("--plan", inputs_options.plan_path, "file of `sweepctl show TRIAL --plan`")
      ->required();
  inputs->add_option("--data", inputs_options.data_dir, "prepared data folder")->required();
  inputs->add_option("--out", inputs_options.out_dir, "folder for the two files")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (train->parsed()) {
    DieWithParent();
    return worker::TrainerMain(train_options);
  }
  if (run->parsed() || inputs->parsed()) {
    const absl::Status status =
        run->parsed() ? worker::RunPlan(run_options) : worker::WriteInputs(inputs_options);
    if (!status.ok())
      std::fprintf(stderr, "sweep-worker: %s\n", std::string(status.message()).c_str());
    return status.ok() ? 0 : 65;
  }
  if (options.cuda_device >= 0) {
    std::string why;
    const auto devices = worker::ProbeDevices(&why);
    if (options.cuda_device >= static_cast<int>(devices.size())) {
      std::fprintf(stderr, "sweep-worker: there is no GPU %d: %s\n", options.cuda_device,
                   devices.empty() ? why.c_str() : fmt::format("{} found", devices.size()).c_str());
      return 69;
    }
    options.device = "cuda: " + devices[options.cuda_device].name;
    options.cuda_program = core::SelfPath() + "-cuda";
    if (agent->count("--slots") == 0) {
      options.slots = kGpuSlots;
      options.measure_packing = true;
    }
  }
  return RunAgent(options);
}
