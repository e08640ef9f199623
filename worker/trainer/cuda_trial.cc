#include "worker/trainer/cuda_trial.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/file.h"
#include "core/hash.h"
#include "core/machine.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "worker/runtime/cuda/cuda_context.h"
#include "worker/runtime/cuda/cuda_program.h"
#include "worker/runtime/cuda/cudnn_attention.h"
#include "worker/runtime/cuda/device_probe.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/runtime/cuda/step_loop.h"
#include "worker/trainer/programs.h"
#include "worker/trainer/step_loop_graph.h"

namespace worker {
namespace {

// More tokens than this in a micro-step bring no speed: every kernel fills the device.
constexpr int64_t kMaxMicroTokens = 131'072;
// With fewer, making activations again costs less than micro-steps half as long.
constexpr int64_t kEnoughMicroTokens = 16'384;
// cuBLAS workspaces, batches, optimiser tables, what is left of the driver's.
constexpr int64_t kOverheadBytes = int64_t{256} << 20;
constexpr double kRunSeconds = 0.25;

// Upper bound of what ops ask for one at a time: logits of a chunk, or dS of attention's backward.
int64_t ScratchBytes(const recipes::Plan& plan, int64_t sequences) {
  auto config = [&](const char* key) { return plan.model.config.value(key, int64_t{0}); };
  const int64_t tokens = sequences * plan.seq_len;
  const int64_t logits = std::min<int64_t>(tokens * config("vocab_size") * 4, int64_t{1} << 30);
  const int64_t sequence = config("num_attention_heads") * plan.seq_len * plan.seq_len * 2;
  const int64_t scores = std::clamp<int64_t>(sequence * sequences, sequence,
                                             AttentionTuning().backward_workspace_limit);
  return std::max(logits, scores + scores / 8);
}

// What the kernels need of a model. INVALID_ARGUMENT names what does not fit.
absl::Status CheckShapes(const Graph& graph) {
  for (const Tensor& t : graph.tensors()) {
    if (t.element != Element::kReal || t.storage == Storage::kConst) continue;
    if (t.dims.back() % 8 != 0) {
      return absl::InvalidArgumentError(fmt::format(
          "the CUDA trainer needs widths and head sizes that are multiples of 8; '{}' has {}",
          t.name, t.dims.back()));
    }
    if (t.dims.size() == 4 && t.dims.back() > 128) {
      return absl::InvalidArgumentError(fmt::format(
          "the CUDA trainer needs heads of at most 128; '{}' has {}", t.name, t.dims.back()));
    }
    if (t.dims.size() == 3 && t.name.find("norm") != std::string::npos && t.dims.back() > 4096) {
      return absl::InvalidArgumentError(fmt::format(
          "the CUDA trainer's norms are up to 4096 wide; '{}' has {}", t.name, t.dims.back()));
    }
  }
  return absl::OkStatus();
}

class CudaTrial : public Trial {
 public:
  static absl::StatusOr<std::unique_ptr<Trial>> Create(std::string plan_bytes,
                                                       const Dataset* dataset,
                                                       const CudaTrialOptions& options);

  std::vector<StepResult> Run(int64_t count) override;
  int64_t StepsAtOnce() const override {
    return seconds_per_step_ <= 0
               ? 8
               : std::clamp<int64_t>(static_cast<int64_t>(kRunSeconds / seconds_per_step_), 1,
                                     4096);
  }
  HeldoutScore Score() override;
  absl::StatusOr<CheckpointInfo> Save(const std::string& parent) override;
  absl::Status Load(const std::string& path) override;
  int64_t memory_bytes() const override {
    return parameters_->bytes() + micro_->arena_bytes() + update_->arena_bytes() + loop_->bytes() +
           context_->scratch_bytes();
  }

 private:
  CudaTrial() = default;
  absl::Status Build(const CudaTrialOptions& options);

  DeviceMemory::Share share_;  // given back last
  std::unique_ptr<CudaContext> context_;
  std::unique_ptr<StepProgram> step_graph_, score_graph_;
  std::unique_ptr<UpdateProgram> update_graph_;
  std::unique_ptr<CpuParameters<float>> host_;
  std::unique_ptr<CudaParameters> parameters_;
  std::unique_ptr<CudaProgram> micro_, update_, score_;
  std::unique_ptr<StepLoop> loop_;
  double seconds_per_step_ = 0;
};

absl::StatusOr<std::unique_ptr<Trial>> CudaTrial::Create(std::string plan_bytes,
                                                         const Dataset* dataset,
                                                         const CudaTrialOptions& options) {
  auto trial = std::unique_ptr<CudaTrial>(new CudaTrial());
  trial->plan_bytes_ = std::move(plan_bytes);
  trial->dataset_ = dataset;
  ASSIGN_OR_RETURN(trial->plan_, recipes::ParsePlan(trial->plan_bytes_));
  RETURN_IF_ERROR(trial->Build(options));
  return trial;
}

absl::Status CudaTrial::Build(const CudaTrialOptions& options) {
  if (plan_.numerics != "bf16-mixed") {
    return absl::InvalidArgumentError(fmt::format(
        "the CUDA trainer computes in bf16-mixed; the plan asks for '{}'", plan_.numerics));
  }
  RETURN_IF_ERROR(CheckPhases(plan_));
  int64_t limit = 0, total_bytes = 0;
  if (options.memory != nullptr) {
    limit = options.memory->total();
  } else {
    CudaContext::MemoryInfo(options.device, &limit, &total_bytes);
  }
  // The largest micro-step that fits. Small ones leave the device idle, so they recompute first.
  int64_t needed = std::numeric_limits<int64_t>::max();
  for (int64_t m = plan_.batch; m >= 1 && needed > limit; --m) {
    if (plan_.batch % m != 0 || (m > 1 && m * plan_.seq_len > kMaxMicroTokens)) continue;
    for (bool recompute : {false, true}) {
      if (recompute && m * plan_.seq_len > kEnoughMicroTokens) continue;
      layout_ = Parameters();
      ASSIGN_OR_RETURN(step_graph_, BuildStep(plan_, m, true, &layout_, recompute));
      RETURN_IF_ERROR(CheckShapes(step_graph_->graph));
      needed = layout_.total() * kCudaBytesPerParameter +
               PlanCudaMemory(step_graph_->graph).arena_bytes + ScratchBytes(plan_, m) +
               kOverheadBytes;
      microbatch_ = m;
      if (needed <= limit) break;
    }
  }
  if (needed > limit) {
    return absl::ResourceExhaustedError(fmt::format(
        "the trial needs {} on the GPU with one sequence a micro-step, and there are {}",
        core::FormatBytes(needed), core::FormatBytes(limit)));
  }
  if (layout_.total() != plan_.params) {
    return absl::InvalidArgumentError(fmt::format("the model has {} parameters, the plan says {}",
                                                  layout_.total(), plan_.params));
  }
  // As many rows as a micro-step: every product and attention is planned already.
  ASSIGN_OR_RETURN(score_graph_, BuildStep(plan_, microbatch_, false, &layout_));
  ASSIGN_OR_RETURN(update_graph_, BuildUpdate(plan_, layout_));
  if (options.memory != nullptr) {
    ASSIGN_OR_RETURN(share_, options.memory->Take(needed, options.give_up));
  }
  host_ = std::make_unique<CpuParameters<float>>(layout_);
  RETURN_IF_ERROR(InitializeWeights(plan_, layout_, core::ReadMachine().cores, *host_));

  std::string error;
  context_ = CudaContext::Create(options.device, &error);
  if (context_ == nullptr) return absl::UnavailableError(error);
  auto out_of_memory = [&] {
    return absl::ResourceExhaustedError(
        fmt::format("the GPU has no room for the trial's {} (another process holds memory?)",
                    core::FormatBytes(needed)));
  };
  parameters_ = CudaParameters::Create(layout_);
  if (parameters_ == nullptr) return out_of_memory();
  micro_ = CudaProgram::Create(&step_graph_->graph, parameters_.get(), context_.get());
  if (micro_ == nullptr) return out_of_memory();
  update_ = CudaProgram::Create(&update_graph_->graph, parameters_.get(), context_.get());
  score_ =
      CudaProgram::Create(&score_graph_->graph, parameters_.get(), context_.get(), micro_.get());
  if (update_ == nullptr || score_ == nullptr) return out_of_memory();
  // Its products are settled together with the micro-step's.
  score_->Run(false);
  loop_ = StepLoop::Create(context_.get(), micro_.get(), update_.get(),
                           LoopGraph(plan_, microbatch_, *step_graph_, *update_graph_));
  if (loop_ == nullptr) return out_of_memory();
  parameters_->UploadWeights(*host_, *context_);
  return absl::OkStatus();
}

std::vector<StepResult> CudaTrial::Run(int64_t count) {
  const auto begun = std::chrono::steady_clock::now();
  const auto device_results =
      loop_->Run(step_, count, [&](int64_t step, int32_t* tokens, int32_t* targets, float* hyper) {
        for (int64_t s = 0; s < plan_.batch; ++s) {
          dataset_->TrainingSequence(step * plan_.batch + s, tokens + s * plan_.seq_len,
                                     targets + s * plan_.seq_len);
        }
        FillHyper(step, hyper);
      });
  std::vector<StepResult> results;
  for (int64_t i = 0; i < count; ++i) {
    results.push_back(MakeResult(device_results[i].nats, device_results[i].squares,
                                 device_results[i].grad_norms, step_ + i));
  }
  step_ += count;
  seconds_per_step_ =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count() /
      static_cast<double>(count);
  return results;
}

HeldoutScore CudaTrial::Score() {
  HeldoutScore score;
  const int64_t rows = score_graph_->graph.tensor(score_graph_->tokens).dims[0];
  std::vector<int32_t> tokens(rows * plan_.seq_len), targets(tokens.size());
  for (int64_t first = 0; first < dataset_->heldout_windows(); first += rows) {
    FillScoreBatch(first, rows, tokens.data(), targets.data());
    score_->Upload(score_graph_->tokens, tokens.data());
    score_->Upload(score_graph_->targets, targets.data());
    score_->Run(false);
    const std::vector<float> loss = score_->Download(score_graph_->loss);
    score.sum_nats += loss[0];
    score.scored_tokens += static_cast<int64_t>(std::llround(loss[2]));
  }
  score.scored_bytes = dataset_->scored_bytes();
  return score;
}

absl::StatusOr<CheckpointInfo> CudaTrial::Save(const std::string& parent) {
  parameters_->Download(*host_, *context_);
  return WriteCheckpoint(parent, step_, plan_bytes_, plan_, layout_, *host_);
}

absl::Status CudaTrial::Load(const std::string& path) {
  ASSIGN_OR_RETURN(step_, ReadCheckpoint(path, plan_bytes_, layout_, *host_));
  RETURN_IF_ERROR(CheckStep(path));
  parameters_->Upload(*host_, *context_);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trial>> CreateCudaTrial(std::string plan_bytes,
                                                       const Dataset* dataset,
                                                       const CudaTrialOptions& options) {
  return CudaTrial::Create(std::move(plan_bytes), dataset, options);
}

CudaIdentity IdentifyCuda(int device) {
  CudaIdentity identity;
  const auto devices = ProbeDevices(&identity.why_none);
  if (device >= static_cast<int>(devices.size())) {
    if (!devices.empty())
      identity.why_none = fmt::format("there is no GPU {}, only {}", device, devices.size());
    return identity;
  }
  identity.device = devices[device].name;
  identity.libraries_json = CudaContext::LibrariesJson();
  int64_t total = 0;
  CudaContext::MemoryInfo(device, &identity.free_bytes, &total);
  return identity;
}

std::string CudaAlgorithmTableHash() { return core::Sha256Hex(GemmTableText()); }

absl::Status PinCudaAlgorithms(const std::string& path) {
  const absl::StatusOr<std::string> text = core::ReadFile(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  if (LoadGemmTable(*text) > 0) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("'{}' pins no matrix product for this GPU and cuBLAS; name another file, or "
                  "delete it and new "
                  "algorithms are chosen",
                  path));
}

absl::Status SaveCudaAlgorithms(const std::string& path) {
  static core::Mutex* mu = new core::Mutex();
  core::MutexLock lock(mu);
  const std::string text = GemmTableText();
  const absl::StatusOr<std::string> old = core::ReadFile(path);
  if (old.ok() && *old == text) return absl::OkStatus();
  return core::WriteFileAtomically(path, text);
}

}  // namespace worker
