#include "sweeps/estimate.h"

#include <algorithm>
#include <limits>

#include "recipes/transformer_shape.h"

namespace sweeps {

double EstimateMemoryBytes(const recipes::Plan& plan) {
  const bool mixed = plan.numerics == "bf16-mixed";
  const double width_bytes = mixed ? 2 : 4;
  double bytes = static_cast<double>(plan.params) * (mixed ? 18 : 16);
  const auto shape = recipes::ShapeOf(plan.model);
  if (!shape.ok()) return bytes;
  const int64_t sequences =
      std::clamp<int64_t>(16384 / plan.seq_len, 1, std::max<int64_t>(1, plan.batch));
  const double tokens = static_cast<double>(sequences * plan.seq_len);
  const double attention = static_cast<double>(shape->heads * shape->head_dim);
  const double per_layer =
      4 * static_cast<double>(shape->hidden) + 4 * attention + 3 * static_cast<double>(shape->ffn);
  bytes += tokens * width_bytes * per_layer * static_cast<double>(shape->layers);
  bytes += std::min(tokens, 1024.0) * 4 * static_cast<double>(shape->vocab);
  return bytes;
}

std::vector<double> EpochsOfSources(const recipes::Plan& plan) {
  double total = 0;
  for (const recipes::DataSource& source : plan.data.sources) total += source.weight;
  std::vector<double> epochs;
  for (const recipes::DataSource& source : plan.data.sources) {
    epochs.push_back(source.tokens > 0 ? static_cast<double>(plan.tokens) * source.weight / total /
                                             static_cast<double>(source.tokens)
                                       : std::numeric_limits<double>::quiet_NaN());
  }
  return epochs;
}

Cost EstimateCost(const std::vector<const recipes::Plan*>& plans, double model_flops_per_second,
                  double dollars_per_hour) {
  Cost cost;
  for (const recipes::Plan* plan : plans) {
    cost.recipe_flops += plan->recipe_flops;
    cost.model_flops += plan->model_flops;
    cost.tokens += plan->tokens;
  }
  if (model_flops_per_second > 0) {
    cost.seconds = cost.model_flops / model_flops_per_second;
    cost.dollars = cost.seconds / 3600 * dollars_per_hour;
  }
  return cost;
}

}  // namespace sweeps
