// sweep-worker-cuda: the native trainer on a GPU. `train` is started by `sweep-worker agent --cuda
// N`, `run` trains one plan by itself, `rate` says how fast it would. Apart from sweep-worker, so
// that a host without CUDA libraries runs that one, and no gRPC is in the process that trains.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "core/version.h"
#include "fmt/format.h"
#include "worker/trainer/measure_rate.h"
#include "worker/trainer/run_plan_options.h"
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
  CLI::App* run = worker::AddRun(app, &run_options);
  run->add_option("--gemm-table", run_options.gemm_table,
                  "file that pins the algorithms of matrix products; kept up to date");
  run->add_option("--device", run_options.cuda_device, "GPU, as CUDA counts");
  worker::MeasureRateOptions rate_options;
  CLI::App* rate = app.add_subcommand("rate", "how fast this GPU trains a plan, as JSON");
  rate->add_option("--plan", rate_options.plan_path, "file of `sweepctl show TRIAL --plan`")
      ->required();
  rate->add_option("--data", rate_options.data_dir, "prepared data folder")->required();
  rate->add_option("--copies", rate_options.copies, "trials side by side")
      ->check(CLI::Range(1, 256));
  rate->add_option("--seconds", rate_options.seconds, "of training that are timed");
  rate->add_option("--gemm-table", rate_options.gemm_table, "as in `run`");
  rate->add_option("--device", rate_options.device, "GPU, as CUDA counts");
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
  const absl::Status status =
      rate->parsed() ? worker::MeasureRate(rate_options) : worker::RunPlan(run_options);
  if (!status.ok())
    std::fprintf(stderr, "sweep-worker-cuda: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 65;
}
