#include <algorithm>
#include <set>

#include "core/check.h"
#include "worker/graph/op.h"
#include "worker/runtime/cuda/cuda_exec.h"
#include "worker/runtime/cuda/cuda_program.h"

namespace worker {
namespace {

constexpr int64_t kAlign = 128;  // elements: 256 bytes of bf16

__global__ void RoundToBf16(const float* __restrict__ in, bf16* __restrict__ out, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) out[i] = __float2bfloat16_rn(in[i]);
}

// Zeros would be faster to multiply than real weights.
__global__ void FillRandom(float* __restrict__ out, bf16* __restrict__ narrow, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64_t x = (static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  out[i] = static_cast<float>(static_cast<int32_t>(x >> 32)) * 2e-11f;
  narrow[i] = __float2bfloat16_rn(out[i]);
}

unsigned Blocks(int64_t n) { return static_cast<unsigned>((n + 255) / 256); }

}  // namespace

std::unique_ptr<CudaParameters> CudaParameters::Create(const Parameters& layout,
                                                       CudaContext* context) {
  auto p = std::make_unique<CudaParameters>();
  int64_t total = 0;
  for (const ParameterBlock& block : layout.blocks()) {
    p->block_offset_.push_back(total);
    total += (block.elements + kAlign - 1) / kAlign * kAlign;
  }
  for (DeviceBuffer* buffer : {&p->master_, &p->grad_, &p->moment1_, &p->moment2_}) {
    *buffer = context->Allocate(total * 4);
    if (buffer->get() == nullptr) return nullptr;
  }
  p->compute_ = context->Allocate(total * 2);
  if (p->compute_.get() == nullptr) return nullptr;
  if (total > 0) {
    FillRandom<<<Blocks(total), 256, 0, cudaStreamPerThread>>>(
        reinterpret_cast<float*>(p->master_.get()), reinterpret_cast<bf16*>(p->compute_.get()),
        total);
    CUDA_LAUNCHED("fill_random");
    CUDA_OK(cudaStreamSynchronize(cudaStreamPerThread));
  }
  return p;
}

std::vector<CopyPart> CudaParameters::Parts(const std::vector<AlignedArray<float>>& host,
                                            const DeviceBuffer& device,
                                            const CudaContext& context) const {
  std::vector<CopyPart> parts;
  for (size_t b = 0; b < host.size(); ++b) {
    parts.push_back(
        {host[b].data(), context.OfFirstSeat(At(device, static_cast<int>(b))), host[b].size() * 4});
  }
  return parts;
}

void CudaParameters::CopyIn(const std::vector<AlignedArray<float>>& from, const DeviceBuffer& to,
                            CudaContext& context) {
  context.Synchronize();
  StagedCopy(context.device(), Parts(from, to, context), CopyDirection::kToDevice);
}

void CudaParameters::UploadGradients(const CpuParameters<float>& host, CudaContext& context) {
  CopyIn(host.grad, grad_, context);
}

void CudaParameters::RoundWeights(CudaContext& context) {
  const int64_t n = compute_.bytes() / 2;
  if (n == 0) return;
  RoundToBf16<<<Blocks(n), 256, 0, context.handles().stream>>>(
      reinterpret_cast<const float*>(context.OfFirstSeat(master_.get())),
      reinterpret_cast<bf16*>(context.OfFirstSeat(compute_.get())), n);
  CUDA_LAUNCHED("round_to_bf16");
  context.Synchronize();
}

void CudaParameters::UploadWeights(const CpuParameters<float>& host, CudaContext& context) {
  CopyIn(host.param, master_, context);
  for (const DeviceBuffer* moment : {&moment1_, &moment2_}) {
    CUDA_OK(cudaMemsetAsync(context.OfFirstSeat(moment->get()), 0, moment->bytes(),
                            context.handles().stream));
  }
  RoundWeights(context);
}

void CudaParameters::Upload(const CpuParameters<float>& host, CudaContext& context) {
  CopyIn(host.param, master_, context);
  CopyIn(host.moment1, moment1_, context);
  CopyIn(host.moment2, moment2_, context);
  RoundWeights(context);
}

void CudaParameters::Download(CpuParameters<float>& host, CudaContext& context) const {
  context.Synchronize();
  auto copy = [&](const DeviceBuffer& from, const std::vector<AlignedArray<float>>& to) {
    StagedCopy(context.device(), Parts(to, from, context), CopyDirection::kToHost);
  };
  copy(master_, host.param);
  copy(grad_, host.grad);
  copy(moment1_, host.moment1);
  copy(moment2_, host.moment2);
}

int64_t CudaParameters::bytes() const {
  return master_.bytes() + grad_.bytes() + moment1_.bytes() + moment2_.bytes() + compute_.bytes();
}

std::unique_ptr<CudaProgram> CudaProgram::Create(const Graph* graph, CudaParameters* parameters,
                                                 CudaContext* context, const CudaProgram* lender) {
  auto p = std::unique_ptr<CudaProgram>(new CudaProgram());
  p->graph_ = graph;
  p->context_ = context;
  p->plan_ = PlanCudaMemory(*graph);
  std::byte* arena = nullptr;
  if (lender != nullptr && lender->arena_.bytes() >= p->plan_.arena_bytes) {
    arena = lender->arena_.get();
  } else {
    p->arena_ = context->Allocate(p->plan_.arena_bytes);
    arena = p->arena_.get();
    if (arena == nullptr) return nullptr;
  }
  for (TensorId id = 0; id < static_cast<TensorId>(graph->tensors().size()); ++id) {
    const Tensor& t = graph->tensor(id);
    void *base = nullptr, *master = nullptr;
    if (t.view_of != kNoTensor) {
      p->base_.push_back(static_cast<std::byte*>(p->base_[t.view_of]) +
                         t.view_offset * (t.element == Element::kReal ? 2 : 4));
      p->master_.push_back(nullptr);
      continue;
    }
    switch (t.storage) {
      case Storage::kActivation:
        base = p->plan_.offset[id] < 0 ? nullptr : arena + p->plan_.offset[id];
        break;
      case Storage::kParam:
        base = parameters->compute(t.block);
        master = parameters->master(t.block);
        break;
      case Storage::kGrad:
        base = parameters->grad(t.block);
        break;
      case Storage::kMoment1:
        base = parameters->moment1(t.block);
        break;
      case Storage::kMoment2:
        base = parameters->moment2(t.block);
        break;
      default: {
        const bool narrow = t.element == Element::kReal && t.storage != Storage::kConst;
        p->owned_.push_back(context->Allocate(NumElements(t.dims) * (narrow ? 2 : 4)));
        base = p->owned_.back().get();
        if (base == nullptr) return nullptr;
        if (t.storage == Storage::kConst) {
          const std::vector<float> values(t.constant.begin(), t.constant.end());
          CUDA_OK(cudaMemcpyAsync(base, values.data(), values.size() * 4, cudaMemcpyHostToDevice,
                                  context->handles().stream));
          context->Synchronize();
        }
      }
    }
    p->base_.push_back(base);
    p->master_.push_back(master);
  }
  std::set<int> written;
  for (const Node& node : graph->nodes()) {
    uint32_t bits = 0;
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      if (node.outputs[o] == kNoTensor) continue;
      const Tensor& t = graph->tensor(node.outputs[o]);
      if (t.storage == Storage::kGrad && written.insert(t.block).second) bits |= 1u << o;
    }
    p->first_writer_.push_back(bits);
  }
  p->constants_.resize(graph->nodes().size());
  p->partials_.resize(graph->nodes().size());
  return p;
}

CudaProgram::~CudaProgram() {
  if (context_ != nullptr) cudaStreamSynchronize(context_->handles().stream);
}

void CudaProgram::Upload(TensorId id, const void* host) {
  const Tensor& t = graph_->tensor(id);
  const int64_t n = NumElements(t.dims);
  std::vector<bf16> narrow;
  if (t.element == Element::kReal) {
    narrow.resize(n);
    for (int64_t i = 0; i < n; ++i)
      narrow[i] = __float2bfloat16_rn(static_cast<const float*>(host)[i]);
    host = narrow.data();
  }
  CUDA_OK(cudaMemcpyAsync(context_->OfFirstSeat(base_[id]), host, n * (narrow.empty() ? 4 : 2),
                          cudaMemcpyHostToDevice, context_->handles().stream));
  context_->Synchronize();
}

std::vector<float> CudaProgram::Download(TensorId id) {
  const Tensor& t = graph_->tensor(id);
  const int64_t n = NumElements(t.dims);
  std::vector<float> out(n);
  const void* from = context_->OfFirstSeat(base_[id]);
  context_->Synchronize();
  if (t.element == Element::kReal && t.storage != Storage::kConst) {
    std::vector<bf16> narrow(n);
    CUDA_OK(cudaMemcpyAsync(narrow.data(), from, n * 2, cudaMemcpyDeviceToHost,
                            context_->handles().stream));
    context_->Synchronize();
    for (int64_t i = 0; i < n; ++i) out[i] = __bfloat162float(narrow[i]);
  } else {
    CUDA_OK(cudaMemcpyAsync(out.data(), from, n * 4, cudaMemcpyDeviceToHost,
                            context_->handles().stream));
    context_->Synchronize();
  }
  return out;
}

void CudaProgram::RunNode(int node, bool accumulate) {
  graph_->nodes()[node].op->RunCuda(
      CudaExec(*context_, *this, *graph_, node, base_.data(), master_.data(), accumulate));
}

void CudaProgram::Run(bool accumulate) {
  for (int i = 0; i < static_cast<int>(graph_->nodes().size()); ++i) RunNode(i, accumulate);
  late_sums_.Run(accumulate, *context_);
}

std::vector<double> CudaProgram::Profile(bool accumulate, int repetitions) {
  const cudaStream_t stream = context_->handles().stream;
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  std::vector<double> seconds(graph_->nodes().size());
  Run(accumulate);
  for (int i = 0; i < static_cast<int>(seconds.size()); ++i) {
    // In a graph, so that launches cost what they cost in training.
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int r = 0; r < repetitions; ++r) RunNode(i, accumulate);
    CUDA_OK(cudaStreamEndCapture(stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    CUDA_OK(cudaGraphLaunch(exec, stream));
    CUDA_OK(cudaEventRecord(begin, stream));
    CUDA_OK(cudaGraphLaunch(exec, stream));
    CUDA_OK(cudaEventRecord(end, stream));
    CUDA_OK(cudaEventSynchronize(end));
    float ms = 0;
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    seconds[i] = ms * 1e-3 / repetitions;
    CUDA_OK(cudaGraphExecDestroy(exec));
    CUDA_OK(cudaGraphDestroy(graph));
  }
  CUDA_OK(cudaEventDestroy(begin));
  CUDA_OK(cudaEventDestroy(end));
  return seconds;
}

const void* CudaProgram::Constant(int node, const void* host, int64_t bytes) {
  DeviceBuffer& kept = constants_[node];
  if (kept.get() == nullptr) {
    kept = DeviceBuffer(bytes);
    SWEEP_CHECK(kept.get() != nullptr);
    CUDA_OK(cudaMemcpyAsync(kept.get(), host, bytes, cudaMemcpyHostToDevice,
                            context_->handles().stream));
    context_->Synchronize();
  }
  return kept.get();
}

float* CudaProgram::Partial(int node, int64_t n) {
  DeviceBuffer& kept = partials_[node];
  if (kept.get() == nullptr) kept = context_->Allocate(n * 4);
  SWEEP_CHECK(kept.get() != nullptr);
  return reinterpret_cast<float*>(kept.get());
}

bool CudaExec::Adds(int i) const { return accumulate_ || !program_.FirstWriter(index_, i); }
float* CudaExec::Partial(int64_t n) const {
  return context.OfFirstSeat(program_.Partial(index_, n));
}
void CudaExec::SumLater(const float* partial, int64_t parts, int64_t stride, int64_t columns,
                        int output) const {
  program_.late_sums().Add(
      {partial, parts, stride, columns, OutF32(output), program_.FirstWriter(index_, output)});
}
const void* CudaExec::Constant(const void* host, int64_t bytes) const {
  return program_.Constant(index_, host, bytes);
}

}  // namespace worker
