// sweep-worker-cuda: the native trainer on a GPU. `train` is started by the agent (sweep-worker
// agent
// --cuda N), `run` trains one plan by itself. Apart from sweep-worker, so that a host without CUDA
// libraries runs that one, and no gRPC is in the process that trains.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "core/version.h"
#include "fmt/format.h"
#include "worker/trainer/run_plan.h"
#include "worker/trainer/train_options.h"

int main(int argc, char** argv) {
  CLI::App app{"sweep-worker-cuda: trains plans on a GPU"};
  app.set_version_flag("--version",
                       fmt::format("sweep-worker-cuda {} ({})", core::Version(), core::Commit()));
  app.require_subcommand(1);
  worker::TrainerOptions train_options;
  train_options.cuda_device = 0;
  CLI::App* train = app.add_subcommand("train", "the native trainer (started by the agent)");
  worker::AddTrainOptions(*train, &train_options);
  worker::RunPlanOptions run_options;
  run_options.cuda_device = 0;
  CLI::App* run = app.add_subcommand("run", "train one plan here, without coordinator");
  run->add_option("--plan", run_options.plan_path, "file of `sweepctl show TRIAL --plan`")
      ->required();
  run->add_option("--data", run_options.data_dir, "prepared data folder")->required();
  run->add_option("--out", run_options.out_dir, "folder for the final checkpoint");
  run->add_option("--resume-from", run_options.resume_from, "a checkpoint of this plan");
  run->add_option("--gemm-table", run_options.gemm_table,
                  "file that pins the algorithms of matrix products; kept up to date");
  run->add_option("--device", run_options.cuda_device, "GPU, as CUDA counts");
  run->add_flag("--losses", run_options.print_losses, "every step's training loss, too");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (train->parsed()) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == 1) return 1;
    return worker::TrainerMain(train_options);
  }
  const absl::Status status = worker::RunPlan(run_options);
  if (!status.ok())
    std::fprintf(stderr, "sweep-worker-cuda: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 65;
}
