// Gradients of every op and of whole models, in f64, by directional central differences: over 8
// random directions a tensor, |g.d - fd| relative to max(|g.d|, |g|/sqrt(n)) below 1e-6.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/rng.h"
#include "tests/worker/test_plan.h"
#include "worker/graph/autodiff.h"
#include "worker/ops/add.h"
#include "worker/ops/add_rms_norm.h"
#include "worker/ops/attention.h"
#include "worker/ops/embedding.h"
#include "worker/ops/head_loss.h"
#include "worker/ops/linear.h"
#include "worker/ops/qk_norm_rope.h"
#include "worker/ops/swiglu.h"
#include "worker/runtime/cpu/cpu_program.h"
#include "worker/trainer/init.h"
#include "worker/trainer/programs.h"

namespace worker {

// Copies a parameter into an activation, so that the gradient of any op input can be checked.
class FromParameterOp : public Op {
 public:
  explicit FromParameterOp(bool backward) : backward_(backward) {}
  const char* Name() const override { return "from_parameter"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId>) const override {
    graph.Apply(std::make_unique<FromParameterOp>(true), {grad_out[0]},
                {graph.GradOf(node.inputs[0])});
  }
  void RunCuda(const CudaExec&) const override {}
  void Run(const CpuExec<float>& exec) const override { RunCpu(exec); }
  void Run(const CpuExec<double>& exec) const override { RunCpu(exec); }
  template <typename T>
  void RunCpu(const CpuExec<T>& exec) const {
    for (int64_t i = 0; i < NumElements(exec.OutDims(0)); ++i) {
      exec.Out(0)[i] = (backward_ ? exec.Out(0)[i] : T(0)) + exec.In(0)[i];
    }
  }

 private:
  bool backward_;
};

// loss = sum over its inputs of <c, input> with fixed pseudo-random c; its backward writes c.
class FunctionalOp : public Op {
 public:
  FunctionalOp(int count, bool backward) : count_(count), backward_(backward) {}
  const char* Name() const override { return "functional"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId>,
                std::span<TensorId> grad_in) const override {
    std::vector<TensorId> coefficients;
    for (int i = 0; i < count_; ++i) {
      grad_in[i] = graph.Activation("c", graph.tensor(node.inputs[i]).dims);
      coefficients.push_back(grad_in[i]);
    }
    graph.Apply(std::make_unique<FunctionalOp>(count_, true), {}, coefficients);
  }
  void RunCuda(const CudaExec&) const override {}
  void Run(const CpuExec<float>& exec) const override { RunCpu(exec); }
  void Run(const CpuExec<double>& exec) const override { RunCpu(exec); }
  template <typename T>
  void RunCpu(const CpuExec<T>& exec) const {
    core::Rng rng(99);
    T sum = 0;
    for (int k = 0; k < count_; ++k) {
      const int64_t n = NumElements(backward_ ? exec.OutDims(k) : exec.InDims(k));
      for (int64_t i = 0; i < n; ++i) {
        const T c = static_cast<T>(rng.Normal());
        if (backward_)
          exec.Out(k)[i] = c;
        else
          sum += c * exec.In(k)[i];
      }
    }
    if (!backward_) exec.Out(0)[0] = sum;
  }

 private:
  int count_;
  bool backward_;
};

// Compares the gradients that `program` leaves in `parameters` with differences of `loss`.
void CheckGradients(const Parameters& layout, CpuParameters<double>& parameters,
                    const std::function<void()>& run, const std::function<double()>& loss) {
  for (auto& g : parameters.grad) std::fill_n(g.data(), g.size(), 0.0);
  run();
  std::vector<std::vector<double>> grads;
  for (auto& g : parameters.grad) grads.emplace_back(g.data(), g.data() + g.size());
  core::Rng rng(7);
  for (const ParameterView& view : layout.views()) {
    double* p = parameters.view(view);
    const double* g = grads[view.block].data() + view.offset;
    const int64_t n = view.elements();
    double norm = 0;
    for (int64_t i = 0; i < n; ++i) norm += g[i] * g[i];
    norm = std::sqrt(norm);
    EXPECT_GT(norm, 0) << view.name << " has no gradient at all";
    const std::vector<double> saved(p, p + n);
    for (int direction = 0; direction < 8; ++direction) {
      std::vector<double> d(n);
      double length = 0;
      for (double& x : d) {
        x = rng.Normal();
        length += x * x;
      }
      double dot = 0;
      for (int64_t i = 0; i < n; ++i) {
        d[i] /= std::sqrt(length);
        dot += g[i] * d[i];
      }
      // Fourth-order central difference.
      const double h = 2e-4;
      auto at = [&](double step) {
        for (int64_t i = 0; i < n; ++i) p[i] = saved[i] + step * d[i];
        run();
        return loss();
      };
      const double fd = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      std::copy(saved.begin(), saved.end(), p);
      EXPECT_LT(std::fabs(dot - fd) / std::max(std::fabs(dot), norm / std::sqrt(double(n))), 1e-6)
          << view.name << " direction " << direction << ": analytic " << dot << ", difference "
          << fd;
    }
  }
}

// Runs one op: every listed input is a random parameter; all outputs are reduced by a random
// functional.
class OpChecker {
 public:
  TensorId Input(const std::string& name, Dims dims, double scale = 1) {
    const int block =
        layout_.Declare(name, {{.name = name, .role = "x", .rows = NumElements(dims)}});
    scales_.push_back(scale);
    const TensorId param =
        graph.Add({.name = name, .dims = dims, .storage = Storage::kParam, .block = block});
    const TensorId x = graph.Activation(name + ".value", dims);
    graph.Apply(std::make_unique<FromParameterOp>(false), {param}, {x});
    return x;
  }
  TensorId Weight(const std::string& name, Dims dims) {
    const int block =
        layout_.Declare(name, {{.name = name, .role = "x", .rows = NumElements(dims)}});
    scales_.push_back(1);
    return graph.Add({.name = name, .dims = dims, .storage = Storage::kParam, .block = block});
  }
  void Check(std::vector<TensorId> outputs,
             const std::function<void(CpuProgram<double>&)>& fill = {}) {
    const TensorId loss = graph.Add(
        {.name = "loss", .dims = {1}, .element = Element::kAccum, .storage = Storage::kOutput});
    const int count = static_cast<int>(outputs.size());
    graph.Apply(std::make_unique<FunctionalOp>(count, false), outputs, {loss});
    Differentiate(graph, loss);
    Run(loss, fill);
  }
  void Run(
      TensorId loss, const std::function<void(CpuProgram<double>&)>& fill,
      const std::function<double(const double*)>& value = [](const double* l) { return l[0]; }) {
    CpuParameters<double> parameters(layout_);
    core::Rng rng(3);
    for (size_t b = 0; b < parameters.param.size(); ++b) {
      for (int64_t i = 0; i < parameters.param[b].size(); ++i)
        parameters.param[b].data()[i] = scales_[b] * rng.Normal();
    }
    for (int threads : {1, 2}) {
      CpuRuntime runtime(threads);
      CpuProgram<double> program(&graph, &parameters, &runtime);
      if (fill) fill(program);
      CheckGradients(
          layout_, parameters, [&] { program.Run(); }, [&] { return value(program.Real(loss)); });
    }
  }
  Graph graph;

 private:
  Parameters layout_;
  std::vector<double> scales_;
};

TEST(GradientTest, Linear) {
  OpChecker c;
  c.Check({Linear(c.graph, c.Input("x", {3, 5, 7}), c.Weight("w", {11, 7}), 11)});
}

TEST(GradientTest, SwiGlu) {
  OpChecker c;
  c.Check({SwiGlu(c.graph, c.Input("x", {2, 3, 10}, 2))});
}

TEST(GradientTest, AddRmsNormWithAndWithoutDeltaAndScale) {
  for (double scale : {1.0, 0.3}) {
    OpChecker c;
    const TensorId x = c.Input("x", {2, 65, 9}), delta = c.Input("delta", {2, 65, 9});
    const auto out = AddRmsNorm(c.graph, x, delta, c.Weight("g", {9}), 1e-5, scale);
    c.Check({out.sum, out.y});
  }
  OpChecker c;
  c.Check(
      {AddRmsNorm(c.graph, c.Input("x", {2, 150, 9}), kNoTensor, c.Weight("g", {9}), 1e-5, 1).y});
}

TEST(GradientTest, QkNormRopeWithAndWithoutNorm) {
  for (bool norm : {true, false}) {
    OpChecker c;
    const AttentionShape shape{4, 2, 6};
    Tensor cosine{.name = "cos", .dims = {5, 3}, .storage = Storage::kConst};
    Tensor sine = cosine;
    for (int i = 0; i < 15; ++i) {
      cosine.constant.push_back(std::cos(0.3 * i));
      sine.constant.push_back(std::sin(0.3 * i));
    }
    const TensorId cos_id = c.graph.Add(cosine), sin_id = c.graph.Add(sine);
    const TensorId qkv = c.Input("qkv", {3, 5, shape.qkv_width()});
    const TensorId gq = norm ? c.Weight("gq", {6}) : kNoTensor,
                   gk = norm ? c.Weight("gk", {6}) : kNoTensor;
    const auto heads = QkNormRope(c.graph, qkv, gq, gk, cos_id, sin_id, shape, 1e-5);
    c.Check({heads.q, heads.k, Attention(c.graph, heads.q, heads.k, heads.v, shape)});
  }
}

TEST(GradientTest, AttentionWithGroupedHeadsAndRaggedLength) {
  for (int64_t length : {1, 7, 70, 131}) {
    OpChecker c;
    const AttentionShape shape{4, 2, 6};
    const TensorId q = c.Input("q", {2, length, 4, 6}), k = c.Input("k", {2, length, 2, 6});
    const TensorId v = c.Input("v", {2, length, 2, 6});
    if (length == 1) continue;  // one position: q and k have no influence
    c.Check({Attention(c.graph, q, k, v, shape)});
  }
}

TEST(GradientTest, EmbeddingWithRepeatedTokens) {
  OpChecker c;
  const TensorId tokens = c.graph.Add(
      {.name = "tokens", .dims = {2, 9}, .element = Element::kInt, .storage = Storage::kInput});
  c.Check({Embedding(c.graph, tokens, c.Weight("table", {5, 4}), 4)},
          [&](CpuProgram<double>& program) {
            for (int i = 0; i < 18; ++i) program.Int(tokens)[i] = (i * i) % 5;
          });
}

TEST(GradientTest, TensorUsedTwiceGetsTheSum) {
  OpChecker c;
  const TensorId x = c.Input("x", {4, 6});
  const TensorId sum = c.graph.Activation("sum", {4, 6});
  const TensorId half = SwiGlu(c.graph, x), again = SwiGlu(c.graph, x);
  (void)sum;
  c.Check({half, again, x});
}

TEST(GradientTest, HeadLossWithMaskedTargetsAndZLoss) {
  OpChecker c;
  const TensorId targets = c.graph.Add(
      {.name = "targets", .dims = {2, 21}, .element = Element::kInt, .storage = Storage::kInput});
  const double z = 0.01, scale = 0.2;
  const TensorId loss = HeadLoss(c.graph, c.Input("x", {2, 21, 6}), c.Weight("w", {17, 6}), targets,
                                 17, true, scale, z);
  Differentiate(c.graph, loss);
  c.Run(
      loss,
      [&](CpuProgram<double>& program) {
        for (int i = 0; i < 42; ++i) program.Int(targets)[i] = i % 7 == 6 ? -1 : (i * 5) % 17;
      },
      [&](const double* l) { return scale * (l[0] + z * l[1]); });
}

void CheckModel(recipes::Plan plan) {
  Parameters layout;
  auto step = BuildStep(plan, 3, true, &layout);
  ASSERT_TRUE(step.ok()) << step.status();
  CpuParameters<double> parameters(layout);
  core::Rng rng(5);
  for (const ParameterView& view : layout.views()) {
    std::vector<double> values(view.elements());
    ASSERT_TRUE(InitialValues(plan, view, 1, values.data()).ok());
    // Perturbed, so that gains are not all one and no gradient is zero by symmetry.
    for (int64_t i = 0; i < view.elements(); ++i)
      parameters.view(view)[i] = values[i] + 0.1 * rng.Normal();
  }
  CpuRuntime runtime(2);
  CpuProgram<double> program(&(*step)->graph, &parameters, &runtime);
  const int64_t n = 3 * plan.seq_len, vocab = plan.model.config["vocab_size"];
  for (int64_t i = 0; i < n; ++i) {
    program.Int((*step)->tokens)[i] = static_cast<int32_t>(rng.Below(vocab));
    program.Int((*step)->targets)[i] =
        i % plan.seq_len == plan.seq_len - 1 ? -1 : static_cast<int32_t>(rng.Below(vocab));
  }
  const double scale = 1.0 / (plan.batch * TargetsPerSequence(plan));
  const double* loss = program.Real((*step)->loss);
  CheckGradients(
      layout, parameters, [&] { program.Run(); },
      [&] { return scale * (loss[0] + plan.z_loss_weight * loss[1]); });
}

// The kernels that train run in f32 with vectorised functions the f64 checks never see.
TEST(PrecisionTest, SinglePrecisionLossAndGradientsAgreeWithDouble) {
  recipes::Plan plan = SmallPlan(24, 2, 4, 2, 8, 40, 61, 70);
  Parameters layout;
  auto step = BuildStep(plan, 3, true, &layout);
  ASSERT_TRUE(step.ok());
  CpuParameters<double> wide(layout);
  CpuParameters<float> narrow(layout);
  core::Rng rng(5);
  for (const ParameterView& view : layout.views()) {
    std::vector<double> values(view.elements());
    ASSERT_TRUE(InitialValues(plan, view, 1, values.data()).ok());
    for (int64_t i = 0; i < view.elements(); ++i) {
      narrow.view(view)[i] = static_cast<float>(values[i] + 0.1 * rng.Normal());
      wide.view(view)[i] = narrow.view(view)[i];
    }
  }
  CpuRuntime runtime(2);
  CpuProgram<double> exact(&(*step)->graph, &wide, &runtime);
  CpuProgram<float> fast(&(*step)->graph, &narrow, &runtime);
  for (int64_t i = 0; i < 3 * plan.seq_len; ++i) {
    const auto token = static_cast<int32_t>(rng.Below(61)),
               target = static_cast<int32_t>(rng.Below(61));
    exact.Int((*step)->tokens)[i] = fast.Int((*step)->tokens)[i] = token;
    exact.Int((*step)->targets)[i] = fast.Int((*step)->targets)[i] = target;
  }
  exact.Run();
  fast.Run();
  const double loss = exact.Real((*step)->loss)[0];
  EXPECT_NEAR(fast.Real((*step)->loss)[0] / loss, 1, 1e-6);
  for (const ParameterView& view : layout.views()) {
    const double* e = wide.grad[view.block].data() + view.offset;
    const float* f = narrow.grad[view.block].data() + view.offset;
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < view.elements(); ++i) {
      difference += (e[i] - f[i]) * (e[i] - f[i]);
      norm += e[i] * e[i];
    }
    EXPECT_LT(std::sqrt(difference / norm), 2e-5) << view.name;
  }
}

TEST(GradientTest, WholeModelUntiedGroupedQuery) { CheckModel(SmallPlan()); }

TEST(GradientTest, WholeModelTiedScaledResidualNoQkNorm) {
  recipes::Plan plan = SmallPlan(8, 3, 2, 2, 4, 12, 19, 67);
  plan.model.config["tie_word_embeddings"] = true;
  plan.model.config["residual_multiplier"] = 0.4;
  plan.model.config["qk_norm"] = false;
  plan.model.config["rope_scaling"] = {{"factor", 8.0},
                                       {"low_freq_factor", 1.0},
                                       {"high_freq_factor", 4.0},
                                       {"original_max_position_embeddings", 32}};
  CheckModel(plan);
}

}  // namespace worker
