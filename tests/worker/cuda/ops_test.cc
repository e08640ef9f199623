// Every CUDA op against its CPU specification in f64, on ragged shapes. Needs a GPU.
#include <tuple>

#include "tests/worker/cuda/parity.h"
#include "worker/ops/add.h"
#include "worker/ops/add_rms_norm.h"
#include "worker/ops/attention.h"
#include "worker/ops/embedding.h"
#include "worker/ops/head_loss.h"
#include "worker/ops/linear.h"
#include "worker/ops/qk_norm_rope.h"
#include "worker/ops/swiglu.h"
#include "worker/optim/adam.h"
#include "worker/optim/clip.h"

namespace worker {
namespace {

// (sequences, length, channels)
using Shape = std::tuple<int64_t, int64_t, int64_t>;
class ByShape : public testing::TestWithParam<Shape> {
 protected:
  int64_t b() const { return std::get<0>(GetParam()); }
  int64_t t() const { return std::get<1>(GetParam()); }
  int64_t c() const { return std::get<2>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(CudaOps, ByShape,
                         testing::Values(Shape{1, 7, 16}, Shape{3, 37, 48}, Shape{2, 129, 80},
                                         Shape{4, 64, 128}, Shape{1, 1000, 256}, Shape{2, 50, 416},
                                         Shape{2, 96, 1024}, Shape{1, 33, 2048}));

TEST_P(ByShape, Add) {
  Parity p;
  const Dims d = {b(), t(), c()};
  p.graph.Apply(std::make_unique<AddOp>(), {p.Input("a", d), p.Input("b", d)}, {p.Output("y", d)});
  p.Check();
}

TEST_P(ByShape, LinearAndItsBackward) {
  Parity p;
  const int64_t n = c() * 2 + 8;
  const TensorId x = p.Input("x", {b(), t(), c()}), dy = p.Input("dy", {b(), t(), n});
  const TensorId w = p.Param("w", n, c(), 0.1);
  p.graph.Apply(std::make_unique<LinearOp>(), {x, w}, {p.Output("y", {b(), t(), n})});
  p.graph.Apply(std::make_unique<LinearBackwardInputOp>(), {dy, w},
                {p.Output("dx", {b(), t(), c()})});
  p.graph.Apply(std::make_unique<LinearBackwardWeightOp>(), {dy, x}, {p.graph.GradOf(w)});
  p.Check();
}

TEST_P(ByShape, AddRmsNormWithDelta) {
  Parity p;
  const Dims d = {b(), t(), c()};
  const TensorId gain = p.Param("gain", c(), 1, 0.1, 1);
  p.graph.Apply(
      std::make_unique<AddRmsNormOp>(1e-5, 0.7), {p.Input("x", d), p.Input("delta", d), gain},
      {p.Output("sum", d), p.Output("y", d), p.Output("rstd", {b() * t()}, Element::kAccum)});
  p.graph.Apply(
      std::make_unique<AddRmsNormBackwardOp>(0.7),
      {p.Input("s", d), gain, p.Positive("r", {b() * t()}), p.Input("dy", d), p.Input("dsum", d)},
      {p.Output("dx", d), p.Output("ddelta", d), p.graph.GradOf(gain)});
  p.Check();
}

TEST_P(ByShape, AddRmsNormAlone) {
  Parity p;
  const Dims d = {b(), t(), c()};
  const TensorId gain = p.Param("gain", c(), 1, 0.1, 1);
  p.graph.Apply(std::make_unique<AddRmsNormOp>(1e-5, 1), {p.Input("x", d), kNoTensor, gain},
                {kNoTensor, p.Output("y", d), p.Output("rstd", {b() * t()}, Element::kAccum)});
  p.graph.Apply(std::make_unique<AddRmsNormBackwardOp>(1),
                {p.Input("s", d), gain, p.Positive("r", {b() * t()}), p.Input("dy", d), kNoTensor},
                {p.Output("dx", d), kNoTensor, p.graph.GradOf(gain)});
  p.Check();
}

TEST_P(ByShape, SwiGluAndItsBackward) {
  Parity p;
  const Dims wide = {b(), t(), 2 * c()}, d = {b(), t(), c()};
  const TensorId gate_up = p.Input("gate_up", wide);
  p.graph.Apply(std::make_unique<SwiGluOp>(), {gate_up}, {p.Output("y", d)});
  p.graph.Apply(std::make_unique<SwiGluBackwardOp>(), {gate_up, p.Input("dy", d)},
                {p.Output("dgate_up", wide)});
  p.Check();
}

TEST_P(ByShape, EmbeddingAndItsBackward) {
  Parity p;
  const int64_t vocab = 24;  // many tokens share a row
  const TensorId tokens = p.Ints("tokens", {b(), t()}, vocab),
                 table = p.Param("table", vocab, c(), 1);
  p.graph.Apply(std::make_unique<EmbeddingOp>(), {tokens, table}, {p.Output("x", {b(), t(), c()})});
  // As large as gradients of a mean over a batch are.
  p.graph.Apply(std::make_unique<EmbeddingBackwardOp>(),
                {tokens, p.Input("dx", {b(), t(), c()}, 1e-6)}, {p.graph.GradOf(table)});
  p.Check();
}

class HeadLossByVocab : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {};
INSTANTIATE_TEST_SUITE_P(CudaOps, HeadLossByVocab,
                         testing::Values(Shape{70, 16, 512}, Shape{300, 80, 1000},
                                         Shape{257, 128, 512}, Shape{512, 128, 4096},
                                         Shape{1000, 128, 4136}, Shape{300, 256, 4096},
                                         Shape{130, 512, 8192}, Shape{64, 128, 128256},
                                         // Rows of logits that are padded.
                                         Shape{70, 16, 257}, Shape{512, 128, 1003},
                                         Shape{130, 512, 8191},
                                         // Enough rows for the fused strategy.
                                         Shape{6150, 128, 1000}, Shape{7003, 128, 4100},
                                         Shape{6150, 128, 257}, Shape{10241, 256, 520}));

TEST_P(HeadLossByVocab, TrainsAndScores) {
  const auto [rows, channels, vocab] = GetParam();
  Parity p;
  const TensorId x = p.Input("x", {1, rows, channels});
  const TensorId w = p.Param("w", vocab, channels, 1.5 / std::sqrt(channels));
  const TensorId targets = p.Ints("targets", {1, rows}, vocab, 0.1);
  const double scale = 1.0 / static_cast<double>(rows);
  p.graph.Apply(std::make_unique<HeadLossOp>(vocab, true, scale, 1e-3), {x, w, targets},
                {p.Output("loss", {3}, Element::kAccum), p.Output("dx", {1, rows, channels}),
                 p.graph.GradOf(w)});
  p.graph.Apply(std::make_unique<HeadLossOp>(vocab, false, scale, 1e-3), {x, w, targets},
                {p.Output("score", {3}, Element::kAccum), kNoTensor, kNoTensor});
  p.Check();
}

// (sequences, length, heads, kv_heads, head_dim)
using HeadsShape = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>;
class ByHeads : public testing::TestWithParam<HeadsShape> {};
INSTANTIATE_TEST_SUITE_P(CudaOps, ByHeads,
                         testing::Values(HeadsShape{2, 128, 1, 1, 128}, HeadsShape{3, 96, 4, 2, 64},
                                         HeadsShape{2, 200, 3, 3, 32}, HeadsShape{2, 72, 1, 1, 40},
                                         HeadsShape{1, 64, 2, 1, 56}, HeadsShape{2, 64, 3, 3, 16},
                                         HeadsShape{1, 256, 8, 2, 128},
                                         HeadsShape{2, 512, 4, 4, 64},
                                         // More items of attention than the device has blocks.
                                         HeadsShape{9, 300, 8, 4, 128},
                                         HeadsShape{12, 260, 8, 8, 64},
                                         HeadsShape{8, 400, 6, 2, 32}));

TEST_P(ByHeads, QkNormRopeAndItsBackward) {
  const auto [b, t, heads, kv, d] = GetParam();
  const AttentionShape shape{heads, kv, d};
  Parity p;
  const Dims qkv = {b, t, shape.qkv_width()}, q = {b, t, heads, d}, k = {b, t, kv, d};
  const TensorId q_gain = p.Param("q_gain", d, 1, 0.1, 1), k_gain = p.Param("k_gain", d, 1, 0.1, 1);
  const TensorId cosine = p.Const("cos", {t, d / 2}), sine = p.Const("sin", {t, d / 2});
  const TensorId in = p.Input("qkv", qkv);
  const int64_t v_at = (heads + kv) * d;
  p.graph.Apply(std::make_unique<QkNormRopeOp>(shape, 1e-5), {in, q_gain, k_gain, cosine, sine},
                {p.Output("q", q), p.Output("k", k), p.graph.View("v", in, k, v_at),
                 p.Output("rstd", {b, t, heads + kv}, Element::kAccum)});
  const TensorId dqkv = p.Output("dqkv", qkv);
  p.OnlyColumns(dqkv, shape.qkv_width(), 0, v_at);
  p.graph.Apply(std::make_unique<QkNormRopeBackwardOp>(shape),
                {in, q_gain, k_gain, cosine, sine, p.Positive("r", {b, t, heads + kv}),
                 p.Input("dq", q), p.Input("dk", k), p.graph.View("dv", dqkv, k, v_at)},
                {dqkv, p.graph.GradOf(q_gain), p.graph.GradOf(k_gain)});
  p.Check();
}

TEST_P(ByHeads, QkNormRopeWithoutNorm) {
  const auto [b, t, heads, kv, d] = GetParam();
  const AttentionShape shape{heads, kv, d};
  Parity p;
  const Dims qkv = {b, t, shape.qkv_width()}, q = {b, t, heads, d}, k = {b, t, kv, d};
  const TensorId cosine = p.Const("cos", {t, d / 2}), sine = p.Const("sin", {t, d / 2});
  const TensorId in = p.Input("qkv", qkv);
  const int64_t v_at = (heads + kv) * d;
  p.graph.Apply(std::make_unique<QkNormRopeOp>(shape, 1e-5),
                {in, kNoTensor, kNoTensor, cosine, sine},
                {p.Output("q", q), p.Output("k", k), p.graph.View("v", in, k, v_at), kNoTensor});
  const TensorId dqkv = p.Output("dqkv", qkv);
  p.OnlyColumns(dqkv, shape.qkv_width(), 0, v_at);
  p.graph.Apply(std::make_unique<QkNormRopeBackwardOp>(shape),
                {in, kNoTensor, kNoTensor, cosine, sine, kNoTensor, p.Input("dq", q),
                 p.Input("dk", k), p.graph.View("dv", dqkv, k, v_at)},
                {dqkv, kNoTensor, kNoTensor});
  p.Check();
}

// v and its gradient by themselves, and as the last columns of qkv and its gradient.
TEST_P(ByHeads, AttentionAndItsBackward) {
  const auto [b, t, heads, kv, d] = GetParam();
  const AttentionShape shape{heads, kv, d};
  for (const bool view : {false, true}) {
    Parity p;
    const Dims qd = {b, t, heads, d}, kd = {b, t, kv, d}, od = {b, t, heads * d},
               qkv = {b, t, shape.qkv_width()};
    const int64_t v_at = (heads + kv) * d;
    const TensorId q = p.Input("q", qd), k = p.Input("k", kd);
    TensorId v, dv;
    if (view) {
      v = p.graph.View("v", p.Input("qkv", qkv), kd, v_at);
      const TensorId dqkv = p.Output("dqkv", qkv);
      p.OnlyColumns(dqkv, shape.qkv_width(), v_at, shape.qkv_width());
      dv = p.graph.View("dv", dqkv, kd, v_at);
    } else {
      v = p.Input("v", kd);
      dv = p.Output("dv", kd);
    }
    const TensorId o = p.Output("o", od), lse = p.Output("lse", {b, heads, t}, Element::kAccum);
    p.graph.Apply(std::make_unique<AttentionOp>(shape), {q, k, v}, {o, lse});
    p.graph.Apply(std::make_unique<AttentionBackwardOp>(shape),
                  {q, k, v, o, lse, p.Input("do", od)},
                  {p.Output("dq", qd), p.Output("dk", kd), dv});
    p.Check();
  }
}

// Two views in one block and one in another; hyper and gradients come from inputs.
TEST(CudaOptimTest, ThreeStepsOfAdamWAndAdamHMatchTheSpecification) {
  for (bool adamh : {false, true}) {
    Graph graph;
    Parameters layout;
    const int64_t cols = 72;
    const int first = layout.Declare("ab", {{.name = "a", .role = "x", .rows = 100, .cols = cols},
                                            {.name = "b", .role = "x", .rows = 33, .cols = cols}});
    const int second = layout.Declare("c", {{.name = "c", .role = "x", .rows = 7, .cols = cols}});
    std::vector<TensorId> blocks;
    for (int b : {first, second}) {
      blocks.push_back(graph.Add({.name = layout.blocks()[b].name,
                                  .dims = {layout.blocks()[b].elements},
                                  .storage = Storage::kParam,
                                  .block = b}));
    }
    const TensorId hyper = graph.Add(
        {.name = "hyper", .dims = {2}, .element = Element::kAccum, .storage = Storage::kInput});
    const TensorId clip = graph.Add(
        {.name = "clip", .dims = {2}, .element = Element::kAccum, .storage = Storage::kOutput});
    const std::vector<BlockRange> views = {
        {0, 0, 100 * cols}, {0, 100 * cols, 33 * cols}, {1, 0, 7 * cols}};
    std::vector<TensorId> grads, outputs, inputs = {clip, hyper};
    for (TensorId b : blocks) {
      grads.push_back(graph.GradOf(b));
      inputs.push_back(graph.GradOf(b));
      for (TensorId id : {b, graph.MomentOf(b, 1), graph.MomentOf(b, 2)}) outputs.push_back(id);
    }
    graph.Apply(std::make_unique<ClipOp>(views, 0.5), grads, {clip});
    const AdamAttributes a{.views = views,
                           .group = 0,
                           .beta1 = 0.9,
                           .beta2 = 0.9999,
                           .epsilon = 1e-8,
                           .weight_decay = adamh ? 0 : 0.1};
    if (adamh)
      graph.Apply(std::make_unique<AdamHOp>(a), inputs, outputs);
    else
      graph.Apply(std::make_unique<AdamWOp>(a), inputs, outputs);

    std::string error;
    auto context = CudaContext::Create(0, &error);
    ASSERT_NE(context, nullptr) << error;
    CpuRuntime runtime(1);
    CpuParameters<double> host(layout);
    CpuParameters<float> narrow(layout);
    core::Rng rng(3);
    for (int b : {first, second}) {
      for (int64_t i = 0; i < host.param[b].size(); ++i)
        host.param[b].data()[i] = narrow.param[b].data()[i] = static_cast<float>(rng.Normal());
    }
    auto device = CudaParameters::Create(layout, context.get());
    device->Upload(narrow, *context);
    CpuProgram<double> reference(&graph, &host, &runtime);
    auto program = CudaProgram::Create(&graph, device.get(), context.get());
    for (int step = 1; step <= 3; ++step) {
      // The gradient enters through the host copy of the device's parameters.
      for (int b : {first, second}) {
        for (int64_t i = 0; i < host.param[b].size(); ++i)
          host.grad[b].data()[i] = narrow.grad[b].data()[i] =
              static_cast<float>(rng.Normal() * 0.1);
      }
      device->UploadGradients(narrow, *context);
      const float h[2] = {static_cast<float>(step), 0.01f};
      program->Upload(hyper, h);
      reference.Real(hyper)[0] = step;
      reference.Real(hyper)[1] = 0.01f;
      program->Run(false);
      reference.Run();
      EXPECT_NEAR(program->Download(clip)[0], reference.Real(clip)[0],
                  1e-6 * reference.Real(clip)[0]);
    }
    device->Download(narrow, *context);
    for (int b : {first, second}) {
      const int64_t n = host.param[b].size();
      std::vector<float> got(narrow.param[b].data(), narrow.param[b].data() + n);
      EXPECT_LT(Compare(got, host.param[b].data()).frobenius, 1e-6) << (adamh ? "adamh" : "adamw");
      got.assign(narrow.moment2[b].data(), narrow.moment2[b].data() + n);
      EXPECT_LT(Compare(got, host.moment2[b].data()).frobenius, 1e-6);
    }
  }
}

}  // namespace
}  // namespace worker
