#include "fit/noise_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "fit/stats.h"

namespace fit {
namespace {

constexpr size_t kFewest = 8, kFewestFlops = 3;
constexpr double kMeanLogOfNormal = -0.6351814227;  // of ln|z|, z standard normal

struct Scatter {
  std::vector<double> log_flops, log_size;
};

// Runs of equal C, N and D against their mean.
Scatter OfRepeats(const std::vector<Observation>& observations) {
  std::map<std::tuple<double, double, double>, std::vector<double>> groups;
  for (const Observation& o : observations)
    groups[{o.flops, o.params, o.tokens}].push_back(std::log(o.loss));
  Scatter scatter;
  std::set<double> flops;
  for (const auto& [key, logs] : groups) {
    const auto m = static_cast<double>(logs.size());
    if (m < 2) continue;
    for (const double value : logs) {
      const double r = (value - Mean(logs)) * std::sqrt(m / (m - 1));
      if (r == 0) continue;
      flops.insert(std::get<0>(key));
      scatter.log_flops.push_back(std::log(std::get<0>(key)));
      scatter.log_size.push_back(std::log(std::fabs(r)));
    }
  }
  if (scatter.log_size.size() < kFewest || flops.size() < kFewestFlops) return {};
  return scatter;
}

}  // namespace

double NoiseModel::Sd(double flops) const {
  const double held = std::clamp(flops, smallest_flops, largest_flops);
  return std::exp(log_sd + gamma * (std::log(held) - log_flops));
}

std::optional<NoiseModel> FitNoiseModel(const std::vector<Observation>& observations,
                                        const std::vector<double>& residuals) {
  NoiseModel model;
  Scatter scatter = OfRepeats(observations);
  model.repeats = !scatter.log_size.empty();
  model.smallest_flops = HUGE_VAL;
  for (size_t i = 0; i < observations.size(); ++i) {
    model.smallest_flops = std::min(model.smallest_flops, observations[i].flops);
    model.largest_flops = std::max(model.largest_flops, observations[i].flops);
    if (model.repeats || residuals[i] == 0) continue;
    scatter.log_flops.push_back(std::log(observations[i].flops));
    scatter.log_size.push_back(std::log(std::fabs(residuals[i])));
  }
  model.n = scatter.log_size.size();
  if (model.n < kFewest) return std::nullopt;
  const double n = static_cast<double>(model.n);
  const double x0 = Mean(scatter.log_flops), y0 = Mean(scatter.log_size);
  double xx = 0, xy = 0, rest = 0;
  for (size_t i = 0; i < model.n; ++i) {
    xx += std::pow(scatter.log_flops[i] - x0, 2);
    xy += (scatter.log_flops[i] - x0) * (scatter.log_size[i] - y0);
  }
  if (!(xx > 1e-12)) return std::nullopt;
  model.gamma = xy / xx;
  for (size_t i = 0; i < model.n; ++i)
    rest += std::pow(scatter.log_size[i] - y0 - model.gamma * (scatter.log_flops[i] - x0), 2);
  model.gamma_se = std::sqrt(rest / (n - 2) / xx);
  model.log_flops = x0;
  model.log_sd = y0 - kMeanLogOfNormal;
  return model;
}

std::vector<double> NoiseWeights(const NoiseModel& model,
                                 const std::vector<Observation>& observations, LossKind loss) {
  std::vector<double> weights;
  for (const Observation& o : observations)
    weights.push_back(std::pow(model.Sd(o.flops), loss == LossKind::kL2 ? -2 : -1));
  const double mean = Mean(weights);
  for (double& weight : weights) weight /= mean;
  return weights;
}

}  // namespace fit
