// The command line of `fit`: its options as typed, and what they ask of fit.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/fit.h"

namespace CLI {
class App;
}

namespace sweepctl {

struct FitArgs {
  std::string sweep, csv, metric, n_convention = "params";
  std::vector<std::string> columns, where, laws = {"default"}, predict, allow_mixed;
  std::vector<std::string> hold;
  std::string loss = "huber", residual = "log", delta, pinned_E, level, unique_tokens;
  std::string input, experiment, soft, hard, curve = "sigmoid", chance, soft_by = "params-tokens";
  std::vector<std::string> models;
  bool checkpoints = false, optima = false, no_perfect_model = false, beyond_middle = false,
       weigh_budgets = false;
  std::string isoflop_curve = "parabola";
  int isoflop_window = 0;
  std::string asymmetry, within;
  bool noise_by_flops = false;
  bool no_exponent_prior = false;
  int resamples = fit::BootstrapOptions().resamples;
  uint64_t seed = 0;
  bool assume_6nd = false, include_targets = false, no_backtest = false;
  bool do_register = false;
  std::vector<std::string> given;  // options of the command line
};

// Declares them. `args` must outlive the verb.
void AddFitOptions(CLI::App* verb, FitArgs* args);

// How to fit; the rows to fit are chosen by the caller. A UsageError names the option.
absl::StatusOr<fit::FitOptions> OptionsOf(const FitArgs& args);

// A registration is by the default estimator, so that nobody searches for a pleasant one.
absl::Status CheckRegister(const FitArgs& args);

}  // namespace sweepctl
