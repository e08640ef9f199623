#include "worker/trainer/trial.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/trainer/init.h"
#include "worker/trainer/programs.h"

namespace worker {

void Trial::FillScoreBatch(int64_t first, int64_t rows, int32_t* tokens, int32_t* targets) const {
  const int64_t length = plan_.seq_len;
  for (int64_t r = 0; r < rows; ++r, tokens += length, targets += length) {
    if (first + r < dataset_->heldout_windows()) {
      dataset_->HeldoutWindow(first + r, tokens, targets);
    } else {
      std::fill_n(tokens, length, 0);
      std::fill_n(targets, length, -1);
    }
  }
}

StepResult Trial::MakeResult(double nats, double squares, std::vector<double> grad_norms,
                             int64_t step) const {
  const double targets = static_cast<double>(plan_.batch) * TargetsPerSequence(plan_);
  StepResult result;
  result.loss = nats / targets;
  result.z = squares / targets;
  result.lr_factor = recipes::ScheduleFactor(plan_.schedule, step);
  result.grad_norms = std::move(grad_norms);
  result.finite =
      std::isfinite(result.loss) && std::all_of(result.grad_norms.begin(), result.grad_norms.end(),
                                                [](double norm) { return std::isfinite(norm); });
  return result;
}

void Trial::FillHyper(int64_t step, float* hyper) const {
  const double factor = recipes::ScheduleFactor(plan_.schedule, step);
  hyper[0] = static_cast<float>(step + 1);
  for (size_t g = 0; g < plan_.optimizer.size(); ++g)
    hyper[1 + g] = static_cast<float>(plan_.optimizer[g].peak_lr * factor);
}

absl::Status Trial::CheckStep(const std::string& path) const {
  if (step_ <= plan_.steps) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("checkpoint '{}' is of step {}, the plan has {}", path, step_, plan_.steps));
}

absl::Status InitializeWeights(const recipes::Plan& plan, const Parameters& layout, int threads,
                               CpuParameters<float>& parameters) {
  for (const ParameterView& view : layout.views())
    RETURN_IF_ERROR(InitialValues(plan, view, threads, parameters.view(view)));
  return absl::OkStatus();
}

absl::Status CheckPhases(const recipes::Plan& plan) {
  if (plan.phases.size() == 1 && plan.phases[0].program == "train" &&
      plan.phases[0].steps == plan.steps)
    return absl::OkStatus();
  return absl::InvalidArgumentError("this trainer runs plans of one 'train' phase");
}

}  // namespace worker
