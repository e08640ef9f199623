// A whole training step on a GPU by shape: tokens/s, MFU (model FLOPs over 989 TFLOP/s), share of
// the no-overlap roof, peak memory, time to the first step of a new shape, and the error of loss
// and gradients against the f32 CPU reference; with --peer, the ratio to PyTorch, which is run
// after ours in the same call. One table, then one JSON line a shape.
//   train_bench [--configs "h,L,heads,ffn,V,S,B;..."] [--packed 16x1,4x4,...] [--seconds s]
//               [--profile] [--no-error] [--peer "python3 torch_baseline.py"]
// --packed GxK: trials at once, in G streams, each a batched graph of K.
// --profile: seconds of every kind of op beside its own roof: its matrix FLOPs or the bytes of its
// tensors, whichever takes longer.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/canonical_json.h"
#include "core/rng.h"
#include "tests/worker/test_plan.h"
#include "worker/graph/op.h"
#include "worker/runtime/cuda/cuda_program.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/runtime/cuda/step_loop.h"
#include "worker/trainer/programs.h"
#include "worker/trainer/step_loop_graph.h"

namespace worker {
namespace {

// Measured on an H200: large bf16 products on random data, and a device-to-device copy.
constexpr double kGemmFlops = 790e12, kBandwidth = 4.3e12, kPeakFlops = 989e12;

const char kDefault[] =
    "128,2,1,512,4096,1024,128;128,2,1,512,128256,1024,32;256,4,2,1024,4096,1024,64;"
    "512,6,4,2048,4096,2048,32;512,6,4,2048,128256,2048,16;1024,12,8,4096,32768,2048,16;"
    "1024,12,8,4096,128256,2048,16;2048,21,16,8192,128256,2048,8";

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Config {
  int64_t h, layers, heads, ffn, vocab, seq, batch;
  std::string text;
};

recipes::Plan PlanOf(const Config& c, int64_t seq, int64_t batch) {
  recipes::Plan plan =
      SmallPlan(c.h, c.layers, c.heads, c.heads, c.h / c.heads, c.ffn, c.vocab, seq);
  plan.numerics = "bf16-mixed";
  plan.batch = batch;
  for (auto& group : plan.optimizer) {
    group.peak_lr = 1e-3;
    group.beta2 = 0.99;
  }
  plan.z_loss_weight = 1e-7;
  return plan;
}

// Values of the right scale, quickly: uniform with the variance the plan's rules give.
void FillWeights(const Parameters& layout, CpuParameters<float>& out) {
  for (const ParameterView& view : layout.views()) {
    core::Rng seed(17);
    uint64_t state = seed.Below(1u << 30) + view.offset + 977 * view.block;
    const float span = 1.7f / std::sqrt(static_cast<float>(view.cols));
    float* p = out.view(view);
    for (int64_t i = 0; i < view.elements(); ++i) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      p[i] = view.cols == 1 ? 1.0f
                            : (static_cast<float>(state >> 40) * (2.0f / (1 << 24)) - 1.0f) * span;
    }
  }
}

struct BenchTrial {
  static std::unique_ptr<BenchTrial> Make(const Config& c, int64_t seq, int64_t batch,
                                          int64_t micro_batch, int seats = 1) {
    auto t = std::make_unique<BenchTrial>();
    t->plan = PlanOf(c, seq, batch);
    t->step = *BuildStep(t->plan, micro_batch, true, &t->layout);
    t->update = *BuildUpdate(t->plan, t->layout);
    std::string error;
    t->context = CudaContext::Create(0, &error, seats, int64_t{16} << 30);
    if (t->context == nullptr) return nullptr;
    t->parameters = CudaParameters::Create(t->layout, t->context.get());
    if (t->parameters == nullptr) return nullptr;
    t->host = std::make_unique<CpuParameters<float>>(t->layout);
    FillWeights(t->layout, *t->host);
    t->begun = Now();
    t->micro = CudaProgram::Create(&t->step->graph, t->parameters.get(), t->context.get());
    t->optimise = CudaProgram::Create(&t->update->graph, t->parameters.get(), t->context.get());
    if (t->micro == nullptr || t->optimise == nullptr) return nullptr;
    t->loop = StepLoop::Create(t->context.get(), t->micro.get(), t->optimise.get(),
                               LoopGraph(t->plan, micro_batch, *t->step, *t->update));
    t->parameters->UploadWeights(*t->host, *t->context);
    return t->loop == nullptr ? nullptr : std::move(t);
  }
  void Run(int64_t count) {
    const int64_t n = plan.batch * plan.seq_len, vocab = plan.model.config["vocab_size"];
    const StepLoop::Fill fill = [&](int64_t s, int32_t* tokens, int32_t* targets, float* h) {
      uint64_t state = 12345 + s * 7919;
      for (int64_t i = 0; i < n; ++i) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        tokens[i] = static_cast<int32_t>((state >> 33) % vocab);
        targets[i] = static_cast<int32_t>((state >> 13) % vocab);
      }
      h[0] = static_cast<float>(s + 1);
      h[1] = h[2] = 1e-3f;
    };
    std::vector<std::vector<DeviceStepResult>> results(context->max_seats());
    std::vector<StepLoop::SeatRun> runs;
    for (int seat = 0; seat < context->max_seats(); ++seat)
      runs.push_back({.seat = seat, .first = position, .fill = &fill, .results = &results[seat]});
    loop->Run(count, runs);
    position += count;
  }
  recipes::Plan plan;
  Parameters layout;
  std::unique_ptr<StepProgram> step;
  std::unique_ptr<UpdateProgram> update;
  std::unique_ptr<CudaContext> context;
  std::unique_ptr<CpuParameters<float>> host;
  std::unique_ptr<CudaParameters> parameters;
  std::unique_ptr<CudaProgram> micro, optimise;
  std::unique_ptr<StepLoop> loop;
  int64_t position = 0;
  double begun = 0;
};

// Loss (relative) and gradient (Frobenius) of one short micro-step against f32 on the CPU.
void ErrorOf(const Config& c, double* loss_error, double* grad_error) {
  const int64_t seq = 128, batch = 2;
  const recipes::Plan plan = PlanOf(c, seq, batch);
  Parameters layout;
  const auto step = *BuildStep(plan, batch, true, &layout);
  CpuParameters<float> host(layout), back(layout);
  FillWeights(layout, host);
  CpuRuntime runtime(static_cast<int>(std::thread::hardware_concurrency()));
  CpuProgram<float> reference(&step->graph, &host, &runtime);
  std::string error;
  auto context = CudaContext::Create(0, &error);
  auto parameters = CudaParameters::Create(layout, context.get());
  parameters->Upload(host, *context);
  auto program = CudaProgram::Create(&step->graph, parameters.get(), context.get());
  core::Rng rng(5);
  std::vector<int32_t> tokens(seq * batch), targets(seq * batch);
  for (int64_t i = 0; i < seq * batch; ++i) {
    tokens[i] = reference.Int(step->tokens)[i] = static_cast<int32_t>(rng.Below(c.vocab));
    targets[i] = reference.Int(step->targets)[i] = static_cast<int32_t>(rng.Below(c.vocab));
  }
  program->Upload(step->tokens, tokens.data());
  program->Upload(step->targets, targets.data());
  program->Run(false);
  reference.Run();
  const double want = reference.Real(step->loss)[0];
  *loss_error = std::abs(program->Download(step->loss)[0] - want) / want;
  parameters->Download(back, *context);
  double dd = 0, ww = 0;
  for (size_t b = 0; b < layout.blocks().size(); ++b) {
    for (int64_t i = 0; i < host.grad[b].size(); ++i) {
      const double g = back.grad[b].data()[i], w = host.grad[b].data()[i];
      dd += (g - w) * (g - w);
      ww += w * w;
    }
  }
  *grad_error = std::sqrt(dd / ww);
}

// The least time one node can take: its products, or each of its tensors crossing memory once.
double RoofSeconds(const Graph& graph, const Node& node) {
  const std::string name = node.op->Name();
  int64_t rows = 0;  // of a lookup
  double bytes = 0;
  // What passes over the columns of v in qkv.
  TensorId qkv = kNoTensor, dqkv = kNoTensor;
  double v_elements = 0;
  if (name == "qk_norm_rope" || name == "qk_norm_rope_backward") {
    const bool backward = name != "qk_norm_rope";
    qkv = node.inputs[0];
    if (backward) dqkv = node.outputs[0];
    v_elements = static_cast<double>(
        NumElements(graph.tensor(backward ? node.inputs[8] : node.outputs[2]).dims));
  }
  auto count = [&](TensorId id, bool output) {
    if (id == kNoTensor) return;
    const Tensor& t = graph.tensor(id);
    double size = static_cast<double>(NumElements(t.dims));
    if (id == qkv || id == dqkv) size -= v_elements;
    if (qkv != kNoTensor && t.view_of != kNoTensor) return;
    const bool state = t.storage == Storage::kMoment1 || t.storage == Storage::kMoment2;
    if (name.rfind("embedding", 0) == 0 &&
        (t.storage == Storage::kParam || t.storage == Storage::kGrad))
      size = std::min(size, static_cast<double>(rows));
    if (t.storage == Storage::kParam && output) {
      bytes += size * (8 + 2);  // master read and written, and the bf16 copy
    } else if (state) {
      bytes += size * 8;
    } else if (t.element == Element::kReal && t.storage != Storage::kGrad &&
               t.storage != Storage::kConst) {
      bytes += size * 2;
    } else {
      bytes += size * 4;
    }
    if (t.element == Element::kReal && t.storage == Storage::kActivation)
      rows = std::max(rows, NumElements(t.dims));
  };
  for (int pass = 0; pass < 2; ++pass) {
    bytes = 0;
    for (TensorId id : node.inputs) count(id, false);
    for (TensorId id : node.outputs) count(id, true);
  }
  return std::max(bytes / kBandwidth, node.op->MatmulFlops(graph, node) / kGemmFlops);
}

void Profile(const Config& c, BenchTrial& t, int seats = 1) {
  struct Kind {
    double seconds = 0, roof = 0;
    int nodes = 0;
  };
  double total = 0, roof = 0;
  std::map<std::string, Kind> by_name;
  for (auto [program, graph] :
       {std::pair(t.micro.get(), &t.step->graph), std::pair(t.optimise.get(), &t.update->graph)}) {
    const std::vector<double> seconds = program->Profile(false, 10);
    for (size_t i = 0; i < seconds.size(); ++i) {
      const Node& node = graph->nodes()[i];
      std::string name = node.op->Name();
      if (name.rfind("linear", 0) == 0) {
        const Dims& in = graph->tensor(node.inputs[0]).dims;
        const TensorId other = name == "linear_backward_weight" ? node.inputs[1] : node.outputs[0];
        name += " " + std::to_string(in.back()) + "x" +
                std::to_string(graph->tensor(other).dims.back());
      }
      Kind& kind = by_name[name];
      kind.seconds += seconds[i];
      kind.roof += seats * RoofSeconds(*graph, node);
      ++kind.nodes;
      total += seconds[i];
      roof += seats * RoofSeconds(*graph, node);
    }
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, kind] : by_name) order.push_back({-kind.seconds, name});
  std::sort(order.begin(), order.end());
  std::printf("  ops of %s, one step, one after the other: %.3f ms, %.0f%% of the roof\n",
              c.text.c_str(), total * 1e3, 100 * roof / total);
  for (const auto& [minus, name] : order) {
    const Kind& kind = by_name[name];
    std::printf("    %-36s x%-4d %9.1f us %5.1f%% of the step %5.0f%% of its roof\n", name.c_str(),
                kind.nodes, kind.seconds * 1e6, 100 * kind.seconds / total,
                100 * kind.roof / kind.seconds);
  }
}

// Time of the matrix products plus time of the bytes a token must move at least, with good fusion
// (METRICS.md, "roof"). Widths whose head never stores logits pay one more product instead.
double RoofTokensPerSecond(const Config& c, double flops_per_token, double params) {
  const bool fused = c.h == 128 || c.h == 256;
  const double activations = 2.0 * 128 * c.h * c.layers, logits = fused ? 0 : 2.0 * 5 * c.vocab;
  if (fused) flops_per_token += 2.0 * c.h * c.vocab;
  const double optimizer = 30.0 * params / (c.h >= 1024 ? 131072.0 : 65536.0);
  return 1 / (flops_per_token / kGemmFlops + (activations + logits + optimizer) / kBandwidth);
}

struct Row {
  std::string config;
  double tokens_per_s = 0, loss_error = 0, grad_error = 0;
};

void Alone(const Config& c, double seconds, bool profile, bool error, std::string* json,
           std::vector<Row>* rows) {
  auto t = BenchTrial::Make(c, c.seq, c.batch, c.batch);
  if (t == nullptr) {
    std::printf("%-34s does not fit\n", c.text.c_str());
    return;
  }
  t->Run(1);
  const double first = Now() - t->begun;
  const double tokens = static_cast<double>(c.batch) * c.seq;
  // Median over windows.
  double once = Now();
  t->Run(3);
  once = (Now() - once) / 3;
  const int64_t window = std::max<int64_t>(3, static_cast<int64_t>(seconds / 7 / once));
  std::vector<double> times;
  for (int w = 0; w < 7; ++w) {
    const double start = Now();
    t->Run(window);
    times.push_back((Now() - start) / static_cast<double>(window));
  }
  std::sort(times.begin(), times.end());
  const double step = times[times.size() / 2];
  const double flops_per_token = 3 * t->step->forward_matmul_flops / tokens;
  const double roof =
      RoofTokensPerSecond(c, flops_per_token, static_cast<double>(t->layout.total()));
  int64_t free_bytes = 0, total_bytes = 0;
  CudaContext::MemoryInfo(0, &free_bytes, &total_bytes);
  const double memory = static_cast<double>(total_bytes - free_bytes) / 1e9;
  double loss_error = NAN, grad_error = NAN;
  const int64_t params = t->layout.total();
  if (profile) Profile(c, *t);
  t.reset();
  if (error) ErrorOf(c, &loss_error, &grad_error);
  std::printf("%-34s %10.0f %9.3f %6.1f%% %6.1f%% %8.1f %8.2f %9.1e %9.1e  [%.3f..%.3f ms]\n",
              c.text.c_str(), tokens / step, step * 1e3,
              100 * flops_per_token * tokens / step / kPeakFlops, 100 * tokens / step / roof,
              memory, first, loss_error, grad_error, times.front() * 1e3, times.back() * 1e3);
  std::fflush(stdout);
  char line[512];
  std::snprintf(
      line, sizeof line,
      "{\"config\":\"%s\",\"params\":%lld,\"tokens_per_s\":%.0f,\"ms\":%.4f,\"mfu\":%.4f,"
      "\"roof_share\":%.4f,\"first_step_s\":%.3f,\"loss_error\":%.3e,\"grad_error\":%.3e}\n",
      c.text.c_str(), static_cast<long long>(params), tokens / step, step * 1e3,
      flops_per_token * tokens / step / kPeakFlops, tokens / step / roof, first, loss_error,
      grad_error);
  *json += line;
  rows->push_back({c.text, tokens / step, loss_error, grad_error});
}

// Runs the peer over the same shapes and prints the ratios. The peer prints a JSON line a shape:
// config, and variants {"adamh+...": {"tok_s": ...}, "adamw+...": ...}.
bool ComparePeer(const std::string& command, const std::string& configs,
                 const std::vector<Row>& rows) {
  FILE* out = popen((command + " --opt adamh,adamw --configs \"" + configs + "\"").c_str(), "r");
  if (out == nullptr) return false;
  std::map<std::string, std::map<std::string, double>> peer;  // config -> optimiser -> tokens/s
  std::string line;
  for (int c; (c = std::fgetc(out)) != EOF;) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    const core::Json json = core::Json::parse(line, nullptr, false);
    line.clear();
    if (!json.is_object() || !json.contains("config")) continue;
    std::string config;
    for (const core::Json& part : json["config"])
      config += (config.empty() ? "" : ",") + part.dump();
    const core::Json variants = json.value("variants", core::Json::object());
    for (const auto& [name, variant] : variants.items()) {
      double& best = peer[config][name.substr(0, name.find('+'))];
      best = std::max(best, variant.value("tok_s", 0.0));
    }
  }
  if (pclose(out) != 0) std::printf("the peer '%s' failed\n", command.c_str());
  std::printf("%-34s %11s %11s %6s %11s %6s %9s %9s\n", "beside the peer, tokens/s", "ours",
              "AdamH", "ratio", "AdamW", "ratio", "d loss", "d grad");
  for (const Row& row : rows) {
    const double adamh = peer[row.config]["adamh"], adamw = peer[row.config]["adamw"];
    std::printf("%-34s %11.0f %11.0f %6.3f %11.0f %6.3f %9.1e %9.1e\n", row.config.c_str(),
                row.tokens_per_s, adamh, row.tokens_per_s / adamh, adamw, row.tokens_per_s / adamw,
                row.loss_error, row.grad_error);
  }
  return !peer.empty();
}

// `groups` streams at once, each with `seats` trials in one batched graph.
void Packed(const Config& c, int groups, int seats, double seconds, bool profile,
            std::string* json) {
  const std::string name = std::to_string(groups) + "x" + std::to_string(seats);
  std::vector<std::unique_ptr<BenchTrial>> list;
  for (int i = 0; i < groups; ++i) {
    list.push_back(BenchTrial::Make(c, c.seq, c.batch, c.batch, seats));
    bool fits = list.back() != nullptr;
    for (int seat = 1; fits && seat < seats; ++seat) fits = list.back()->context->OpenSeat(seat);
    if (!fits) {
      std::printf("%-34s %-6s does not fit\n", c.text.c_str(), name.c_str());
      return;
    }
    list.back()->Run(2);
  }
  // All of them train from before the window until after it; what they finish inside it counts.
  std::atomic<bool> stop{false};
  std::vector<std::vector<double>> done(groups);  // when each piece of steps was
  constexpr int64_t kPiece = 8;
  std::vector<std::thread> threads;
  for (int i = 0; i < groups; ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        list[i]->Run(kPiece);
        done[i].push_back(Now());
      }
    });
  }
  const auto sleep = [](double s) {
    std::this_thread::sleep_for(std::chrono::duration<double>(s));
  };
  sleep(0.3);
  const double start = Now();
  sleep(seconds);
  const double end = Now();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  double sum = 0, least = INFINITY, most = 0;
  for (int i = 0; i < groups; ++i) {
    std::erase_if(done[i], [&](double t) { return t < start || t > end; });
    const auto pieces = static_cast<double>(done[i].size()) - 1;
    const double tokens = pieces * kPiece * static_cast<double>(c.batch * c.seq * seats);
    const double rate = pieces > 0 ? tokens / (done[i].back() - done[i].front()) : 0;
    sum += rate;
    least = std::min(least, rate / seats);
    most = std::max(most, rate / seats);
  }
  std::printf("%-34s %-6s %12.0f tokens/s in all, %.0f to %.0f each; %s\n", c.text.c_str(),
              name.c_str(), sum, least, most,
              seats == 1 ? "streams" : BatchedGemmsText(*list[0]->context).c_str());
  std::fflush(stdout);
  list[0]->context->UseSeats(0, seats);
  if (profile) Profile(c, *list[0], seats);
  *json += "{\"packed\":\"" + name + "\",\"config\":\"" + c.text +
           "\",\"tokens_per_s\":" + std::to_string(sum) + "}\n";
}

}  // namespace
}  // namespace worker

int main(int argc, char** argv) {
  std::string configs = worker::kDefault, packed, peer;
  std::vector<worker::Row> rows;
  double seconds = 2;
  bool profile = false, error = true;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--configs" && i + 1 < argc) {
      configs = argv[++i];
    } else if (arg == "--packed" && i + 1 < argc) {
      packed = argv[++i];
    } else if (arg == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (arg == "--peer" && i + 1 < argc) {
      peer = argv[++i];
    } else if (arg == "--profile") {
      profile = true;
    } else if (arg == "--no-error") {
      error = false;
    } else {
      std::fprintf(stderr,
                   "usage: train_bench [--configs h,L,heads,ffn,V,S,B;...] [--packed 8x1,2x4] "
                   "[--seconds s] [--profile] [--no-error] [--peer COMMAND]\n");
      return 2;
    }
  }
  std::string json;
  if (packed.empty()) {
    std::printf("%-34s %10s %9s %7s %7s %8s %8s %9s %9s\n", "h,L,heads,ffn,V,S,B", "tokens/s",
                "ms/step", "MFU", "of roof", "GB", "first s", "d loss", "d grad");
  }
  std::istringstream list(configs);
  std::string text;
  while (std::getline(list, text, ';')) {
    worker::Config c{};
    c.text = text;
    if (std::sscanf(text.c_str(), "%ld,%ld,%ld,%ld,%ld,%ld,%ld", &c.h, &c.layers, &c.heads, &c.ffn,
                    &c.vocab, &c.seq, &c.batch) != 7) {
      std::fprintf(stderr, "train_bench: '%s' is not seven numbers\n", text.c_str());
      return 2;
    }
    if (packed.empty()) {
      worker::Alone(c, seconds, profile, error, &json, &rows);
      continue;
    }
    std::istringstream counts(packed);
    std::string count;
    while (std::getline(counts, count, ',')) {
      int groups = 0, seats = 0;
      if (std::sscanf(count.c_str(), "%dx%d", &groups, &seats) != 2) {
        std::fprintf(stderr, "train_bench: '%s' is not GxK\n", count.c_str());
        return 2;
      }
      worker::Packed(c, groups, seats, seconds, profile, &json);
    }
  }
  if (!peer.empty() && !worker::ComparePeer(peer, configs, rows)) return 1;
  std::printf("%s", json.c_str());
  return 0;
}
