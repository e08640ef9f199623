#include "worker/trainer/trial.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "worker/trainer/init.h"

namespace worker {

int64_t ChooseMicrobatch(int64_t batch, int64_t seq_len) {
  for (int64_t m = std::min(batch, std::max<int64_t>(1, 4096 / seq_len)); m > 1; --m) {
    if (batch % m == 0) return m;
  }
  return 1;
}

absl::StatusOr<std::unique_ptr<CpuTrial>> CpuTrial::Create(std::string plan_bytes,
                                                           const Dataset* dataset, int threads,
                                                           int64_t memory_limit_bytes) {
  auto trial = std::unique_ptr<CpuTrial>(new CpuTrial(std::move(plan_bytes), threads));
  ASSIGN_OR_RETURN(trial->plan_, recipes::ParsePlan(trial->plan_bytes_));
  const recipes::Plan& plan = trial->plan_;
  if (plan.numerics != "f32") {
    return absl::InvalidArgumentError(
        fmt::format("the CPU trainer computes in f32; the plan asks for '{}'", plan.numerics));
  }
  if (plan.phases.size() != 1 || plan.phases[0].program != "train" ||
      plan.phases[0].steps != plan.steps) {
    return absl::InvalidArgumentError("this trainer runs plans of one 'train' phase");
  }
  trial->dataset_ = dataset;
  trial->microbatch_ = ChooseMicrobatch(plan.batch, plan.seq_len);
  ASSIGN_OR_RETURN(trial->step_graph_, BuildStep(plan, trial->microbatch_, true, &trial->layout_));
  ASSIGN_OR_RETURN(trial->score_graph_,
                   BuildStep(plan, ChooseMicrobatch(16, plan.seq_len), false, &trial->layout_));
  ASSIGN_OR_RETURN(trial->update_graph_, BuildUpdate(plan, trial->layout_));
  if (trial->layout_.total() != plan.params) {
    return absl::InvalidArgumentError(fmt::format("the model has {} parameters, the plan says {}",
                                                  trial->layout_.total(), plan.params));
  }
  const int64_t needed = trial->layout_.total() * 16 +
                         PlanMemory(trial->step_graph_->graph, 4, 4).arena_bytes +
                         PlanMemory(trial->score_graph_->graph, 4, 4).arena_bytes;
  if (memory_limit_bytes > 0 && needed > memory_limit_bytes) {
    return absl::ResourceExhaustedError(fmt::format(
        "the trial needs {} (weights, gradients, moments, activations of {} sequences) "
        "and may use {}",
        core::FormatBytes(needed), trial->microbatch_, core::FormatBytes(memory_limit_bytes)));
  }
  trial->parameters_ = std::make_unique<CpuParameters<float>>(trial->layout_);
  std::vector<double> values;
  for (const ParameterView& view : trial->layout_.views()) {
    RETURN_IF_ERROR(InitialValues(plan, view, &values));
    std::copy(values.begin(), values.end(), trial->parameters_->view(view));
  }
  trial->train_ = std::make_unique<CpuProgram<float>>(&trial->step_graph_->graph,
                                                      trial->parameters_.get(), &trial->runtime_);
  trial->update_ = std::make_unique<CpuProgram<float>>(&trial->update_graph_->graph,
                                                       trial->parameters_.get(), &trial->runtime_);
  trial->score_ = std::make_unique<CpuProgram<float>>(&trial->score_graph_->graph,
                                                      trial->parameters_.get(), &trial->runtime_);
  return trial;
}

StepResult CpuTrial::Step() {
  StepResult result;
  double nats = 0, squares = 0;
  for (int64_t first = 0; first < plan_.batch; first += microbatch_) {
    for (int64_t s = 0; s < microbatch_; ++s) {
      dataset_->TrainingSequence(step_ * plan_.batch + first + s,
                                 train_->Int(step_graph_->tokens) + s * plan_.seq_len,
                                 train_->Int(step_graph_->targets) + s * plan_.seq_len);
    }
    train_->Run();
    const float* loss = train_->Real(step_graph_->loss);
    nats += loss[0];
    squares += loss[1];
  }
  const double targets = static_cast<double>(plan_.batch) * TargetsPerSequence(plan_);
  result.loss = nats / targets;
  result.z = squares / targets;
  result.lr_factor = recipes::ScheduleFactor(plan_.schedule, step_);
  float* hyper = update_->Real(update_graph_->hyper);
  hyper[0] = static_cast<float>(step_ + 1);
  for (size_t g = 0; g < plan_.optimizer.size(); ++g) {
    hyper[1 + g] = static_cast<float>(plan_.optimizer[g].peak_lr * result.lr_factor);
  }
  update_->Run();
  result.finite = std::isfinite(result.loss);
  for (TensorId clip : update_graph_->clip) {
    result.grad_norms.push_back(update_->Real(clip)[0]);
    result.finite = result.finite && std::isfinite(result.grad_norms.back());
  }
  ++step_;
  return result;
}

HeldoutScore CpuTrial::Score() {
  HeldoutScore score;
  const int64_t rows = score_graph_->graph.tensor(score_graph_->tokens).dims[0],
                length = plan_.seq_len;
  for (int64_t first = 0; first < dataset_->heldout_windows(); first += rows) {
    for (int64_t r = 0; r < rows; ++r) {
      int32_t* tokens = score_->Int(score_graph_->tokens) + r * length;
      int32_t* targets = score_->Int(score_graph_->targets) + r * length;
      if (first + r < dataset_->heldout_windows()) {
        dataset_->HeldoutWindow(first + r, tokens, targets);
      } else {
        std::fill_n(tokens, length, 0);
        std::fill_n(targets, length, -1);
      }
    }
    score_->Run();
    const float* loss = score_->Real(score_graph_->loss);
    score.sum_nats += loss[0];
    score.scored_tokens += static_cast<int64_t>(std::llround(loss[2]));
  }
  score.scored_bytes = dataset_->scored_bytes();
  return score;
}

absl::StatusOr<CheckpointInfo> CpuTrial::Save(const std::string& parent) {
  return WriteCheckpoint(parent, step_, plan_bytes_, plan_, layout_, *parameters_);
}

absl::Status CpuTrial::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const int64_t step, ReadCheckpoint(path, plan_bytes_, layout_, *parameters_));
  if (step > plan_.steps) {
    return absl::DataLossError(
        fmt::format("checkpoint '{}' is of step {}, the plan has {}", path, step, plan_.steps));
  }
  step_ = step;
  for (auto& grad : parameters_->grad) std::fill_n(grad.data(), grad.size(), 0.0f);
  return absl::OkStatus();
}

int64_t CpuTrial::memory_bytes() const {
  return parameters_->bytes() + train_->arena_bytes() + update_->arena_bytes() +
         score_->arena_bytes() + runtime_.scratch_bytes();
}

}  // namespace worker
