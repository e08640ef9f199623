#include "worker/trainer/cpu_trial.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"

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
  RETURN_IF_ERROR(CheckPhases(plan));
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
  RETURN_IF_ERROR(InitializeWeights(plan, trial->layout_, threads, *trial->parameters_));
  trial->train_ = std::make_unique<CpuProgram<float>>(&trial->step_graph_->graph,
                                                      trial->parameters_.get(), &trial->runtime_);
  trial->update_ = std::make_unique<CpuProgram<float>>(&trial->update_graph_->graph,
                                                       trial->parameters_.get(), &trial->runtime_);
  trial->score_ = std::make_unique<CpuProgram<float>>(&trial->score_graph_->graph,
                                                      trial->parameters_.get(), &trial->runtime_);
  return trial;
}

StepResult CpuTrial::Step() {
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
  FillHyper(step_, update_->Real(update_graph_->hyper));
  update_->Run();
  std::vector<double> norms;
  for (TensorId clip : update_graph_->clip) norms.push_back(update_->Real(clip)[0]);
  StepResult result = MakeResult(nats, squares, std::move(norms), step_);
  ++step_;
  return result;
}

std::vector<StepResult> CpuTrial::Run(int64_t count) {
  std::vector<StepResult> results;
  while (count-- > 0) results.push_back(Step());
  return results;
}

HeldoutScore CpuTrial::Score() {
  HeldoutScore score;
  const int64_t rows = score_graph_->graph.tensor(score_graph_->tokens).dims[0];
  for (int64_t first = 0; first < dataset_->heldout_windows(); first += rows) {
    FillScoreBatch(first, rows, score_->Int(score_graph_->tokens),
                   score_->Int(score_graph_->targets));
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
  ASSIGN_OR_RETURN(step_, ReadCheckpoint(path, plan_bytes_, layout_, *parameters_));
  RETURN_IF_ERROR(CheckStep(path));
  for (auto& grad : parameters_->grad) std::fill_n(grad.data(), grad.size(), 0.0f);
  return absl::OkStatus();
}

int64_t CpuTrial::memory_bytes() const {
  return parameters_->bytes() + train_->arena_bytes() + update_->arena_bytes() +
         score_->arena_bytes() + runtime_.scratch_bytes();
}

}  // namespace worker
