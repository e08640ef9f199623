#include "worker/trainer/cuda_trial.h"

#include <algorithm>
#include <cmath>

#include "core/file.h"
#include "core/hash.h"
#include "core/machine.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/runtime/cuda/cuda_context.h"
#include "worker/runtime/cuda/cuda_program.h"
#include "worker/runtime/cuda/device_probe.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/trainer/seat_group.h"

namespace worker {
namespace {

constexpr double kRunSeconds = 0.25;

class CudaTrial : public Trial {
 public:
  static absl::StatusOr<std::unique_ptr<Trial>> Create(std::string plan_bytes,
                                                       const Dataset* dataset,
                                                       const CudaTrialOptions& options);

  std::vector<StepResult> Run(int64_t count) override;
  int64_t StepsAtOnce() const override {
    const double seconds = seat_->seconds_per_step();
    return seconds <= 0 ? 8
                        : std::clamp<int64_t>(static_cast<int64_t>(kRunSeconds / seconds), 1, 4096);
  }
  HeldoutScore Score() override;
  absl::StatusOr<CheckpointInfo> Save(const std::string& parent) override;
  absl::Status Load(const std::string& path) override;
  int64_t memory_bytes() const override {
    const ShapePrograms& shape = seat_->shape();
    return shape.parameters->bytes() + shape.micro->arena_bytes() + shape.update->arena_bytes() +
           shape.loop->bytes() + shape.context->scratch_bytes();
  }

 private:
  CudaTrial() = default;
  absl::Status Build(const CudaTrialOptions& options);

  std::unique_ptr<SeatGroup::Seat> seat_;
  std::unique_ptr<CpuParameters<float>> host_;
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
  ASSIGN_OR_RETURN(seat_, SeatGroup::Take(plan_, options));
  const ShapePrograms& shape = seat_->shape();
  layout_ = shape.layout;
  microbatch_ = shape.microbatch;
  host_ = std::make_unique<CpuParameters<float>>(layout_);
  RETURN_IF_ERROR(InitializeWeights(plan_, layout_, core::ReadMachine().cores, *host_));
  seat_->Alone([&] { shape.parameters->UploadWeights(*host_, *shape.context); });
  return absl::OkStatus();
}

std::vector<StepResult> CudaTrial::Run(int64_t count) {
  const auto device_results =
      seat_->Run(step_, count, [&](int64_t step, int32_t* tokens, int32_t* targets, float* hyper) {
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
  return results;
}

HeldoutScore CudaTrial::Score() {
  HeldoutScore out;
  const ShapePrograms& shape = seat_->shape();
  const StepProgram& graph = *shape.score_graph;
  CudaProgram& score = *shape.score;
  const int64_t rows = graph.graph.tensor(graph.tokens).dims[0];
  std::vector<int32_t> tokens(rows * plan_.seq_len), targets(tokens.size());
  seat_->Alone([&] {
    for (int64_t first = 0; first < dataset_->heldout_windows(); first += rows) {
      FillScoreBatch(first, rows, tokens.data(), targets.data());
      score.Upload(graph.tokens, tokens.data());
      score.Upload(graph.targets, targets.data());
      score.Run(false);
      const std::vector<float> loss = score.Download(graph.loss);
      out.sum_nats += loss[0];
      out.scored_tokens += static_cast<int64_t>(std::llround(loss[2]));
    }
  });
  out.scored_bytes = dataset_->scored_bytes();
  return out;
}

absl::StatusOr<CheckpointInfo> CudaTrial::Save(const std::string& parent) {
  const ShapePrograms& shape = seat_->shape();
  seat_->Alone([&] { shape.parameters->Download(*host_, *shape.context); });
  return WriteCheckpoint(parent, step_, plan_bytes_, plan_, layout_, *host_);
}

absl::Status CudaTrial::Load(const std::string& path) {
  ASSIGN_OR_RETURN(step_, ReadCheckpoint(path, plan_bytes_, layout_, *host_));
  RETURN_IF_ERROR(CheckStep(path));
  const ShapePrograms& shape = seat_->shape();
  seat_->Alone([&] { shape.parameters->Upload(*host_, *shape.context); });
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
