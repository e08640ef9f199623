// Command line of `run`, the same in both programs that have it.
#pragma once

#include "CLI/CLI.hpp"
#include "worker/trainer/run_plan.h"

namespace worker {

inline CLI::App* AddRun(CLI::App& app, RunPlanOptions* options) {
  CLI::App* run = app.add_subcommand("run", "train one plan here, without coordinator");
  run->add_option("--plan", options->plan_path, "file of `sweepctl show TRIAL --plan`")->required();
  run->add_option("--data", options->data_dir, "prepared data folder")->required();
  run->add_option("--out", options->out_dir, "folder for the final checkpoint");
  run->add_option("--resume-from", options->resume_from, "a checkpoint of this plan");
  run->add_flag("--losses", options->print_losses, "every step's training loss, too");
  return run;
}

}  // namespace worker
