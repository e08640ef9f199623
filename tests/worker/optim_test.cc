#include <gtest/gtest.h>

#include <cmath>

#include "worker/optim/adam.h"
#include "worker/optim/clip.h"
#include "worker/runtime/cpu/cpu_program.h"

namespace worker {
namespace {

// One 2x2 matrix as its own group.
struct Fixture {
  explicit Fixture(bool adamh, double limit, double weight_decay) {
    const int block = layout.Declare("w", {{.name = "w", .role = "x", .rows = 2, .cols = 2}});
    const TensorId w =
        graph.Add({.name = "w", .dims = {2, 2}, .storage = Storage::kParam, .block = block});
    hyper = graph.Add(
        {.name = "hyper", .dims = {2}, .element = Element::kAccum, .storage = Storage::kInput});
    const TensorId clip = graph.Add(
        {.name = "clip", .dims = {2}, .element = Element::kAccum, .storage = Storage::kOutput});
    graph.Apply(std::make_unique<ClipOp>(std::vector<BlockRange>{{0, 0, 4}}, limit),
                {graph.GradOf(w)}, {clip});
    const AdamAttributes a{.views = {{0, 0, 4}},
                           .group = 0,
                           .beta1 = 0.9,
                           .beta2 = 0.9999,
                           .epsilon = 1.85e-8,
                           .weight_decay = weight_decay};
    const std::vector<TensorId> in = {clip, hyper, graph.GradOf(w)},
                                out = {w, graph.MomentOf(w, 1), graph.MomentOf(w, 2)};
    if (adamh)
      graph.Apply(std::make_unique<AdamHOp>(a), in, out);
    else
      graph.Apply(std::make_unique<AdamWOp>(a), in, out);
    parameters = std::make_unique<CpuParameters<double>>(layout);
    program = std::make_unique<CpuProgram<double>>(&graph, parameters.get(), &runtime);
  }
  void Step(double t, double lr, std::vector<double> g) {
    std::copy(g.begin(), g.end(), parameters->grad[0].data());
    program->Real(hyper)[0] = t;
    program->Real(hyper)[1] = lr;
    program->Run();
  }
  double* w() { return parameters->param[0].data(); }
  Graph graph;
  Parameters layout;
  TensorId hyper;
  CpuRuntime runtime{1};
  std::unique_ptr<CpuParameters<double>> parameters;
  std::unique_ptr<CpuProgram<double>> program;
};

TEST(AdamHTest, ReproducesTheDelphiMicroVector) {
  Fixture f(true, 0.1, 0);
  const std::vector<double> start = {.5, -1, .25, .75};
  std::copy(start.begin(), start.end(), f.w());
  f.Step(1, .0063, {.1, -.2, .3, .4});
  const double first[] = {0.4985522457599999, -1.0014427375792614, 0.24710699582080548,
                          0.7499974894716861};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(f.w()[i], first[i], 1e-15);
  f.Step(2, .0063, {-.2, .1, .05, .3});
  const double second[] = {0.5029195923632787, -1.0034924082577183, 0.24263307999043976,
                           0.7457908947423743};
  double norm = 0;
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(f.w()[i], second[i], 1e-15);
    norm += f.w()[i] * f.w()[i];
  }
  EXPECT_NEAR(std::sqrt(norm), 1.3693063937629153, 1e-15);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(f.parameters->grad[0].data()[i], 0) << "the gradient is consumed";
}

TEST(AdamWTest, FirstStepMovesBySignTimesLearningRateAndDecays) {
  Fixture f(false, 0, 0.5);
  const std::vector<double> start = {1, -2, 3, 4};
  std::copy(start.begin(), start.end(), f.w());
  f.Step(1, .01, {.1, -.2, .3, -.4});
  const double sign[] = {1, -1, 1, -1};
  for (int i = 0; i < 4; ++i)
    EXPECT_NEAR(f.w()[i], start[i] - .01 * (sign[i] + .5 * start[i]), 1e-8);
}

TEST(ClipTest, FactorIsTheLimitOverTheGroupNorm) {
  Fixture f(false, 0.1, 0);
  f.Step(1, 0, {3, 4, 0, 0});
  const TensorId clip = 3 - 1;
  EXPECT_DOUBLE_EQ(f.program->Real(clip)[0], 5);
  EXPECT_DOUBLE_EQ(f.program->Real(clip)[1], 0.02);
}

}  // namespace
}  // namespace worker
