// The two fits that a researcher waits for, beside scipy's in the same run: the certified global
// Chinchilla fit (64 starts and then restarts until a round of 24 finds nothing lower) and its
// 4,000-resample bootstrap. Every time stands beside its error, and the load beside both.
//   fit_bench CHINCHILLA_CSV [--peer SCRIPT]     SCRIPT grid CSV | SCRIPT boot CSV 4000 print
//                                                "seconds X" and, for grid, "objective X"
// Exits with 1, and says why, when a resample is not at its optimum, the objective is above the
// peer's, the peer failed, or a ratio is below what is promised: 400 for the fit, 100 for the
// bootstrap.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "fit/bootstrap.h"
#include "fit/chinchilla.h"
#include "fit/csv.h"
#include "fit/equation_fit.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace bench {
namespace {

constexpr double kFitRatio = 400, kBootstrapRatio = 100;

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

struct PeerRun {
  double seconds = 0, objective = 0;
};

std::optional<PeerRun> RunPeer(const std::string& script, const std::string& arguments) {
  const std::string command = fmt::format("python3 '{}' {}", script, arguments);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  char buffer[512];
  while (fgets(buffer, sizeof buffer, pipe.get()) != nullptr) text += buffer;
  const auto number_after = [&](const std::string& word) {
    const size_t at = text.find(word + " ");
    return at == std::string::npos ? std::nan("") : std::atof(text.c_str() + at + word.size());
  };
  const PeerRun run{number_after("seconds"), number_after("objective")};
  if (!std::isfinite(run.seconds)) return std::nullopt;
  return run;
}

int Run(const std::string& csv_path, const std::string& peer) {
  fit::CsvOptions options;
  options.where = {{"excluded_in_epoch_fit", "0"}};
  const auto csv = fit::ReadObservationsCsv(csv_path, options);
  if (!csv.ok()) {
    fmt::print(stderr, "{}\n", std::string(csv.status().message()));
    return 65;
  }
  const auto points = fit::SurfacePoints(csv->observations);
  const std::vector<double> ones(points.size(), 1);
  const fit::LossSpec loss{fit::LossKind::kHuber, 1e-3};
  const fit::SurfaceLaw& law = fit::ChinchillaLaw();

  auto started = std::chrono::steady_clock::now();
  const fit::EquationFit best =
      fit::FitGlobally(law, points, ones, loss, law.Starts(points, ones, 64));
  const double fit_s = Seconds(started);

  fit::BootstrapOptions bootstrap;
  bootstrap.resamples = 4000;
  bootstrap.threads = 2;
  started = std::chrono::steady_clock::now();
  const fit::BootstrapDraws draws = fit::RunBootstrap(
      bootstrap, best.theta.size(), [&](core::Rng& rng, int, std::vector<double>& row) {
        row = fit::Refit(law, points, fit::CaseWeights(rng, points.size()), loss, {best.theta});
        return !row.empty();
      });
  const double boot_s = Seconds(started);
  // Every eightieth resample again from 64 starts.
  int checked = 0, missed = 0;
  for (int i = 0; i < bootstrap.resamples; i += 80, ++checked) {
    core::Rng rng(bootstrap.seed, static_cast<uint64_t>(i));
    const auto weights = fit::CaseWeights(rng, points.size());
    const double own =
        fit::FitObjective(law, points, weights, loss, draws.Row(static_cast<size_t>(i)));
    const double global =
        fit::FitEquation(law, points, weights, loss, law.Starts(points, weights, 64)).objective;
    if (own > global * (1 + 1e-9)) ++missed;
  }
  const std::vector<double> alphas = draws.Column(3);
  double squares = 0;
  for (const double alpha : alphas) squares += std::pow(alpha - fit::Mean(alphas), 2);

  std::optional<PeerRun> grid, boot;
  if (!peer.empty()) {
    grid = RunPeer(peer, fmt::format("grid '{}'", csv_path));
    boot = RunPeer(peer, fmt::format("boot '{}' 4000", csv_path));
  }
  const auto row = [](const char* what, double ours, const std::optional<PeerRun>& other,
                      const std::string& error) {
    fmt::print("{:<28} {:>9.4f} s {:>10} {:>8}   {}\n", what, ours,
               other ? fmt::format("{:.2f} s", other->seconds) : "-",
               other ? fmt::format("{:.0f}x", other->seconds / ours) : "-", error);
  };
  double load = 0;
  getloadavg(&load, 1);
  fmt::print(
      "{} points, 2 threads for the bootstrap, 1 for the fit; peer: scipy; load average {:.1f}\n",
      points.size(), load);
  fmt::print("{:<28} {:>11} {:>10} {:>8}   error\n", "", "ours", "peer", "ratio");
  row("certified global fit", fit_s, grid,
      fmt::format("objective {:.13g}, {} of {} starts{}", best.objective, best.starts_at_best,
                  best.starts, grid ? fmt::format("; peer {:.13g}", grid->objective) : ""));
  row("bootstrap of 4000", boot_s, boot,
      fmt::format("se(alpha) {:.5f}; {} of {} resamples not at their optimum",
                  std::sqrt(squares / (static_cast<double>(alphas.size()) - 1)), missed, checked));

  std::vector<std::string> failures;
  if (missed > 0)
    failures.push_back(fmt::format("{} of {} resamples not at their optimum", missed, checked));
  if (!peer.empty() && (!grid || !boot)) failures.push_back("the peer failed: " + peer);
  if (grid && !(best.objective <= grid->objective * (1 + 1e-9)))
    failures.push_back(fmt::format("objective {:.13g} is not at or below the peer's {:.13g}",
                                   best.objective, grid->objective));
  if (grid && grid->seconds / fit_s < kFitRatio)
    failures.push_back(fmt::format("the fit is {:.0f} times as fast, not {:.0f}",
                                   grid->seconds / fit_s, kFitRatio));
  if (boot && boot->seconds / boot_s < kBootstrapRatio)
    failures.push_back(fmt::format("the bootstrap is {:.0f} times as fast, not {:.0f}",
                                   boot->seconds / boot_s, kBootstrapRatio));
  for (const std::string& failure : failures) fmt::print(stderr, "FAILED: {}\n", failure);
  return failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  if (argc == 2) return bench::Run(argv[1], "");
  if (argc == 4 && std::string(argv[2]) == "--peer") return bench::Run(argv[1], argv[3]);
  fmt::print(stderr, "usage: fit_bench CHINCHILLA_CSV [--peer SCRIPT]\n");
  return 2;
}
