#include "worker/trainer/programs.h"

#include <algorithm>
#include <map>

#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/graph/autodiff.h"
#include "worker/graph/recompute.h"
#include "worker/models/model.h"
#include "worker/ops/head_loss.h"
#include "worker/optim/adam.h"
#include "worker/optim/clip.h"

namespace worker {

absl::StatusOr<std::unique_ptr<StepProgram>> BuildStep(const recipes::Plan& plan, int64_t sequences,
                                                       bool training, Parameters* parameters,
                                                       bool recompute) {
  auto program = std::make_unique<StepProgram>();
  Graph& graph = program->graph;
  const Dims dims = {sequences, plan.seq_len};
  program->tokens = graph.Add(
      {.name = "tokens", .dims = dims, .element = Element::kInt, .storage = Storage::kInput});
  program->targets = graph.Add(
      {.name = "targets", .dims = dims, .element = Element::kInt, .storage = Storage::kInput});
  ModelBuilder builder(graph, *parameters, program->tokens);
  ASSIGN_OR_RETURN(const ModelOutputs model,
                   BuildModel(plan.model.family, plan.model.config, builder));
  const double scale = 1.0 / (static_cast<double>(plan.batch) * TargetsPerSequence(plan));
  program->loss = HeadLoss(graph, model.hidden, model.head, program->targets, model.vocab, training,
                           scale, plan.z_loss_weight);
  program->forward_matmul_flops = graph.MatmulFlops();
  program->first_backward = graph.nodes().size();
  if (training) {
    const size_t first_backward = Differentiate(graph, program->loss);
    if (recompute) RecomputeCheap(graph, first_backward);
    // The head makes its two gradient products in the forward.
    program->forward_matmul_flops -=
        4.0 * NumElements(graph.tensor(model.hidden).dims) * model.vocab;
  }
  return program;
}

absl::StatusOr<std::unique_ptr<UpdateProgram>> BuildUpdate(const recipes::Plan& plan,
                                                           const Parameters& parameters) {
  auto program = std::make_unique<UpdateProgram>();
  Graph& graph = program->graph;
  const int groups = static_cast<int>(plan.optimizer.size());
  program->hyper = graph.Add({.name = "hyper",
                              .dims = {1 + groups},
                              .element = Element::kAccum,
                              .storage = Storage::kInput});

  std::vector<TensorId> blocks;
  for (size_t i = 0; i < parameters.blocks().size(); ++i) {
    blocks.push_back(graph.Add({.name = parameters.blocks()[i].name,
                                .dims = {parameters.blocks()[i].elements},
                                .storage = Storage::kParam,
                                .block = static_cast<int>(i)}));
  }
  std::vector<std::vector<const ParameterView*>> members(groups);
  for (const ParameterView& view : parameters.views()) {
    int found = -1;
    for (int g = 0; g < groups; ++g) {
      const auto& roles = plan.optimizer[g].roles;
      if (std::find(roles.begin(), roles.end(), view.role) == roles.end()) continue;
      if (found >= 0) {
        return absl::InvalidArgumentError(
            fmt::format("optimizer groups '{}' and '{}' both claim role '{}'",
                        plan.optimizer[found].name, plan.optimizer[g].name, view.role));
      }
      found = g;
    }
    if (found < 0) {
      return absl::InvalidArgumentError(fmt::format(
          "no optimizer group claims role '{}' of parameter '{}'", view.role, view.name));
    }
    members[found].push_back(&view);
  }
  for (int g = 0; g < groups; ++g) {
    const recipes::OptimizerGroup& group = plan.optimizer[g];
    std::vector<BlockRange> views;
    std::vector<TensorId> group_blocks, grads;
    for (const ParameterView* view : members[g]) {
      const TensorId block = blocks[view->block];
      const auto at = std::find(group_blocks.begin(), group_blocks.end(), block);
      views.push_back(
          {static_cast<int>(at - group_blocks.begin()), view->offset, view->elements()});
      if (at == group_blocks.end()) group_blocks.push_back(block);
    }
    for (TensorId block : group_blocks) grads.push_back(graph.GradOf(block));
    program->clip.push_back(graph.Add({.name = "clip." + group.name,
                                       .dims = {2},
                                       .element = Element::kAccum,
                                       .storage = Storage::kOutput}));
    graph.Apply(std::make_unique<ClipOp>(views, group.clip_norm), grads, {program->clip[g]});
    const AdamAttributes attributes{.views = views,
                                    .group = g,
                                    .beta1 = group.beta1,
                                    .beta2 = group.beta2,
                                    .epsilon = group.epsilon,
                                    .weight_decay = group.weight_decay};
    std::vector<TensorId> inputs = {program->clip[g], program->hyper}, outputs;
    inputs.insert(inputs.end(), grads.begin(), grads.end());
    for (TensorId block : group_blocks) {
      outputs.push_back(block);
      outputs.push_back(graph.MomentOf(block, 1));
      outputs.push_back(graph.MomentOf(block, 2));
    }
    if (group.algorithm == "adamh") {
      graph.Apply(std::make_unique<AdamHOp>(attributes), inputs, outputs);
    } else if (group.algorithm == "adamw") {
      graph.Apply(std::make_unique<AdamWOp>(attributes), inputs, outputs);
    } else {
      return absl::InvalidArgumentError(fmt::format(
          "optimizer group '{}' asks for algorithm '{}'; this trainer knows adamh and adamw",
          group.name, group.algorithm));
    }
  }
  return program;
}

}  // namespace worker
