// Tokens/s of a whole CPU training step (forward, backward, clip, optimiser) by shape, beside what
// the GEMM library alone reaches on the same products, with the time of each op. Usage:
// cpu_train_bench [--profile] [threads...]
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "core/rng.h"
#include "tests/worker/test_plan.h"
#include "worker/graph/op.h"
#include "worker/runtime/cpu/cpu_program.h"
#include "worker/trainer/init.h"
#include "worker/trainer/programs.h"

namespace worker {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Shape {
  int64_t hidden, layers, heads, head_dim, ffn, vocab, seq_len, sequences;
};

// Median seconds of fn over repetitions filling about `budget` seconds.
template <typename Fn>
double Median(double budget, Fn fn) {
  fn();
  std::vector<double> times;
  const double start = Now();
  while (times.size() < 5 || Now() - start < budget) {
    const double t = Now();
    fn();
    times.push_back(Now() - t);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// The products of one step, by the runtime's GEMM alone (attention's as dense causal halves are
// left out on both sides).
double GemmSeconds(const Shape& s, CpuRuntime& rt, double* flops) {
  const int64_t m = s.sequences * s.seq_len, qkv = 3 * s.heads * s.head_dim,
                o = s.heads * s.head_dim;
  const int64_t widest = std::max(s.vocab, std::max(2 * s.ffn, qkv));
  AlignedArray<float> x(m * std::max(s.ffn, std::max(o, s.hidden))), y(m * widest),
      w(widest * std::max(s.ffn, s.hidden));
  core::Rng rng(1);
  for (auto* a : {&x, &y, &w}) {
    for (int64_t i = 0; i < a->size(); ++i) a->data()[i] = static_cast<float>(rng.Uniform() - 0.5);
  }
  *flops = 0;
  auto linear = [&](int64_t n, int64_t k, bool count) {
    rt.Gemm(false, true, m, n, k, 1.0f, x.data(), k, w.data(), k, 0.0f, y.data(), n);
    rt.Gemm(false, false, m, k, n, 1.0f, y.data(), n, w.data(), k, 0.0f, x.data(), k);
    rt.Gemm(true, false, n, k, m, 1e-6f, y.data(), n, x.data(), k, 0.0f, w.data(), k);
    if (count) *flops += 6.0 * m * n * k;
  };
  auto all = [&](bool count) {
    for (int64_t l = 0; l < s.layers; ++l) {
      linear(qkv, s.hidden, count);
      linear(s.hidden, o, count);
      linear(2 * s.ffn, s.hidden, count);
      linear(s.hidden, s.ffn, count);
    }
    linear(s.vocab, s.hidden, count);
  };
  all(true);
  return Median(1.0, [&] { all(false); });
}

void Bench(const Shape& s, int threads, bool profile) {
  recipes::Plan plan =
      SmallPlan(s.hidden, s.layers, s.heads, s.heads, s.head_dim, s.ffn, s.vocab, s.seq_len);
  plan.batch = s.sequences;
  Parameters layout;
  auto step = BuildStep(plan, s.sequences, true, &layout);
  auto update = BuildUpdate(plan, layout);
  CpuParameters<float> parameters(layout);
  for (const ParameterView& view : layout.views())
    (void)InitialValues(plan, view, threads, parameters.view(view));
  CpuRuntime rt(threads);
  CpuProgram<float> train(&(*step)->graph, &parameters, &rt),
      optimise(&(*update)->graph, &parameters, &rt);
  core::Rng rng(2);
  for (int64_t i = 0; i < s.sequences * s.seq_len; ++i) {
    train.Int((*step)->tokens)[i] = static_cast<int32_t>(rng.Below(s.vocab));
    train.Int((*step)->targets)[i] = static_cast<int32_t>(rng.Below(s.vocab));
  }
  float* hyper = optimise.Real((*update)->hyper);
  hyper[0] = 0;
  hyper[1] = hyper[2] = 1e-3f;
  const double seconds = Median(2.0, [&] {
    train.Run();
    hyper[0] += 1;
    optimise.Run();
  });
  double gemm_flops = 0;
  const double gemm_seconds = GemmSeconds(s, rt, &gemm_flops);
  const double tokens = static_cast<double>(s.sequences) * s.seq_len;
  const double model_flops = 3 * (*step)->forward_matmul_flops;
  std::printf("%5ld %3ld %6ld %5ld %4ld %8d %10.0f %9.2f %9.1f %12.1f %9.0f%% %8.1f\n", s.hidden,
              s.layers, s.vocab, s.seq_len, s.sequences, threads, tokens / seconds, seconds * 1e3,
              model_flops / seconds / 1e9, gemm_flops / gemm_seconds / 1e9,
              100 * (gemm_seconds / gemm_flops) * model_flops / seconds,
              (parameters.bytes() + train.arena_bytes() + rt.scratch_bytes()) / 1048576.0);
  if (!profile) return;
  for (auto [program, graph] :
       {std::pair(&train, &(*step)->graph), std::pair(&optimise, &(*update)->graph)}) {
    std::vector<double> by_node;
    program->set_profile(&by_node);
    for (int i = 0; i < 10; ++i) program->Run();
    program->set_profile(nullptr);
    std::map<std::string, double> by_name;
    for (size_t i = 0; i < by_node.size(); ++i)
      by_name[graph->nodes()[i].op->Name()] += by_node[i] / 10;
    for (const auto& [name, t] : by_name)
      std::printf("      %-28s %8.3f ms %5.1f%%\n", name.c_str(), t * 1e3, 100 * t / seconds);
  }
}

}  // namespace
}  // namespace worker

int main(int argc, char** argv) {
  bool profile = false;
  std::vector<int> threads;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--profile") == 0)
      profile = true;
    else
      threads.push_back(std::atoi(argv[i]));
  }
  if (threads.empty()) threads = {1, 2};
  std::printf("%5s %3s %6s %5s %4s %8s %10s %9s %9s %12s %10s %8s\n", "width", "L", "vocab", "seq",
              "B", "threads", "tokens/s", "ms/step", "GFLOP/s", "GEMM GFLOP/s", "of GEMM", "MiB");
  const worker::Shape shapes[] = {
      {128, 2, 1, 128, 512, 4096, 512, 8}, {128, 2, 4, 32, 512, 4096, 512, 8},
      {16, 2, 1, 16, 64, 512, 256, 4},     {32, 2, 1, 32, 128, 512, 256, 4},
      {64, 2, 2, 32, 256, 512, 256, 4},    {96, 3, 3, 32, 384, 512, 256, 8},
      {128, 3, 4, 32, 512, 512, 256, 8},   {256, 4, 4, 64, 1024, 4096, 512, 4}};
  for (const worker::Shape& shape : shapes) {
    for (int t : threads) worker::Bench(shape, t, profile);
  }
}
