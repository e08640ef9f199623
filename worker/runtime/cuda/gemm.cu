#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <utility>
#include <vector>

#include "worker/runtime/cuda/gemm.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/runtime/cuda/gpu_quiet.h"

namespace worker {
namespace {

constexpr int kCandidates = 8;
constexpr int kTimedRuns = 5;
constexpr float kSlowMs = 0.3f, kHopeless = 1.3f;

using Key = std::array<int64_t, 7>;  // kind, m, n, k, f32_out, add, row_stride
using AlgoWords = std::array<uint64_t, 8>;
static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(AlgoWords));

Key KeyOf(const GemmShape& s) {
  return {static_cast<int64_t>(s.kind), s.m, s.n, s.k, s.f32_out, s.add, s.row_stride};
}

// What a table is good for, format first.
std::string Environment() {
  cudaDeviceProp properties;
  int device = 0;
  CUDA_OK(cudaGetDevice(&device));
  CUDA_OK(cudaGetDeviceProperties(&properties, device));
  return "2 " + std::to_string(cublasLtGetVersion()) + "/" + properties.name;
}

// Descriptors of a shape and the algorithm that runs it. Never changed once in a table.
struct Entry {
  cublasLtMatmulDesc_t op = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algo;
};

struct Table {
  const Entry* Find(const Key& key) {
    std::shared_lock lock(mu);
    auto it = entries.find(key);
    return it == entries.end() ? nullptr : &it->second;
  }
  std::shared_mutex mu;
  std::map<Key, Entry> entries;  // live as long as the process
  std::map<Key, AlgoWords> pinned;
};

Table& TheTable() {
  static Table* table = new Table();
  return *table;
}

// Row-major C[m,n] is column-major C^T[n,m], so cuBLAS computes C^T = op(B)^T op(A)^T.
void Describe(const GemmShape& s, Entry* e) {
  CUDA_OK(cublasLtMatmulDescCreate(&e->op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t first = s.kind == GemmKind::kForward ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = s.kind == GemmKind::kWeight ? CUBLAS_OP_T : CUBLAS_OP_N;
  CUDA_OK(cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
  CUDA_OK(
      cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
  const cudaDataType_t out = s.f32_out ? CUDA_R_32F : CUDA_R_16BF;
  // Column-major [rows, cols, leading dimension] of what is stored.
  if (s.kind == GemmKind::kForward)
    CUDA_OK(cublasLtMatrixLayoutCreate(&e->b, CUDA_R_16BF, s.k, s.n, s.k));
  else
    CUDA_OK(cublasLtMatrixLayoutCreate(&e->b, CUDA_R_16BF, s.n, s.k, s.n));
  const auto stride = [&](GemmKind kind, int64_t dense) {
    const bool mine = (kind == GemmKind::kForward) == (s.kind == GemmKind::kForward);
    return mine && s.row_stride > 0 ? s.row_stride : dense;
  };
  if (s.kind == GemmKind::kWeight)
    CUDA_OK(cublasLtMatrixLayoutCreate(&e->a, CUDA_R_16BF, s.m, s.k, stride(s.kind, s.m)));
  else
    CUDA_OK(
        cublasLtMatrixLayoutCreate(&e->a, CUDA_R_16BF, s.k, s.m, stride(GemmKind::kInput, s.k)));
  CUDA_OK(cublasLtMatrixLayoutCreate(&e->c, out, s.n, s.m, stride(GemmKind::kForward, s.n)));
}

struct Workspace {
  void* data;
  size_t bytes;
};

cublasStatus_t Launch(CudaContext& context, const GemmShape& s, const Entry& e,
                      const cublasLtMatmulAlgo_t& algo, const void* a, const void* b, void* c,
                      cudaStream_t stream, Workspace workspace) {
  const float one = 1, beta = s.add ? 1 : 0;
  return cublasLtMatmul(context.handles().lt, e.op, &one, b, e.b, a, e.a, &beta, c, e.c, c, e.c,
                        &algo, workspace.data, workspace.bytes, stream);
}
cublasStatus_t Launch(CudaContext& context, const GemmShape& s, const Entry& e,
                      const cublasLtMatmulAlgo_t& algo, const void* a, const void* b, void* c) {
  const CudaHandles& h = context.handles();
  return Launch(context, s, e, algo, a, b, c, h.stream, {h.workspace, h.workspace_bytes});
}

// nvcc 13.0 fails on a std::vector of the library's unnamed struct.
struct Algorithm {
  cublasLtMatmulAlgo_t algo;
};

std::vector<Algorithm> Candidates(CudaContext& context, const Entry& e, int most) {
  CudaHandles& h = context.handles();
  cublasLtMatmulPreference_t preference;
  CUDA_OK(cublasLtMatmulPreferenceCreate(&preference));
  CUDA_OK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &h.workspace_bytes, sizeof h.workspace_bytes));
  cublasLtMatmulHeuristicResult_t results[kCandidates];
  int found = 0;
  CUDA_OK(cublasLtMatmulAlgoGetHeuristic(h.lt, e.op, e.b, e.a, e.c, e.c, preference, most, results,
                                         &found));
  CUDA_OK(cublasLtMatmulPreferenceDestroy(preference));
  std::vector<Algorithm> algorithms;
  for (int i = 0; i < found; ++i) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back({results[i].algo});
  }
  if (algorithms.empty())
    CudaFail(__FILE__, __LINE__, "cublasLtMatmulAlgoGetHeuristic", "no algorithm");
  return algorithms;
}

// The fastest candidate. Seconds would be lost to an exhaustive search over large products: a
// candidate far behind after one run is dropped, and a slow one is run less often.
cublasLtMatmulAlgo_t Fastest(CudaContext& context, const GemmShape& shape, const Entry& e,
                             const void* a, const void* b, void* c) {
  CudaHandles& h = context.handles();
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  auto time = [&](const cublasLtMatmulAlgo_t& algo, int runs) {
    CUDA_OK(cudaEventRecord(begin, h.stream));
    for (int r = 0; r < runs; ++r) {
      if (Launch(context, shape, e, algo, a, b, c) != CUBLAS_STATUS_SUCCESS) return 1e30f;
    }
    CUDA_OK(cudaEventRecord(end, h.stream));
    CUDA_OK(cudaEventSynchronize(end));
    float ms = 0;
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    return ms / static_cast<float>(runs);
  };
  const auto candidates = Candidates(context, e, kCandidates);
  cublasLtMatmulAlgo_t winner = candidates[0].algo;
  float best = 1e30f;
  for (const auto& [algo] : candidates) {
    float ms = time(algo, 1);  // also loads its code
    if (ms < kSlowMs) ms = time(algo, 1);
    if (ms > kHopeless * best) continue;
    std::vector<float> times;
    for (int r = 0; r < (ms < kSlowMs ? kTimedRuns : 1); ++r) times.push_back(time(algo, 2));
    std::sort(times.begin(), times.end());
    if (times[times.size() / 2] < best) {
      best = times[times.size() / 2];
      winner = algo;
    }
  }
  CUDA_OK(cudaEventDestroy(begin));
  CUDA_OK(cudaEventDestroy(end));
  return winner;
}

// Small values of both signs: zeros would run faster than real data.
__global__ void FillRandom(bf16* out, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64_t x = (static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  out[i] = __float2bfloat16_rn(static_cast<float>(static_cast<int32_t>(x >> 32)) * 4.6e-10f);
}

}  // namespace

// Products that a context has met and the table does not know: they run on the heuristic's first
// algorithm until SettleGemms.
struct PendingGemms {
  struct Item {
    GemmShape shape;
    Entry entry;
  };
  std::map<Key, Item> shapes;
};

// How a context runs a product for several seats: in one batched launch where that gives every seat
// the bits it has alone, else side by side.
struct BatchedGemms {
  struct Item {
    Entry entry;  // its layouts say how many matrices and how far apart
    bool same = false;
    int64_t workspace = 0;  // bytes of one seat's product by itself
    std::byte* workspaces = nullptr;
  };
  ~BatchedGemms() {
    for (const auto& [key, item] : items) {
      for (cublasLtMatrixLayout_t layout : {item.entry.a, item.entry.b, item.entry.c}) {
        if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
      }
      if (item.entry.op != nullptr) cublasLtMatmulDescDestroy(item.entry.op);
    }
  }
  std::map<std::pair<Key, int>, Item> items;
  std::vector<DeviceBuffer> workspaces;  // of seats side by side; graphs use the earlier ones too
};

namespace {

__global__ void CountDifferent(const uint32_t* __restrict__ x, const uint32_t* __restrict__ y,
                               int64_t n, unsigned long long* count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n && x[i] != y[i]) atomicAdd(count, 1ull);
}

void SetBatch(const Entry& e, int count, int64_t a, int64_t b, int64_t c) {
  const int32_t batch = count;
  for (const auto& [layout, stride] : {std::pair(e.a, a), std::pair(e.b, b), std::pair(e.c, c)}) {
    CUDA_OK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                             sizeof batch));
    CUDA_OK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                             &stride, sizeof stride));
  }
}

// Whether `batched` leaves in every seat what `alone` does, by trying it on the operands at hand.
bool SameBits(CudaContext& context, const GemmShape& shape, const Entry& alone, Entry& batched,
              const bf16* a, const bf16* b) {
  CudaHandles& h = context.handles();
  const Seats& seats = context.seats();
  const int64_t element = shape.f32_out ? 4 : 2;
  const bool padded = shape.kind == GemmKind::kForward && shape.row_stride > 0;
  const int64_t bytes =
      (shape.m * (padded ? shape.row_stride : shape.n) * element + 255) / 256 * 256;
  const int64_t step = seats.stride / 2;
  SetBatch(batched, seats.count, step, step, bytes / element);
  cublasLtMatmulHeuristicResult_t checked;
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(
      h.lt, batched.op, batched.b, batched.a, batched.c, batched.c, &batched.algo, &checked);
  if (status != CUBLAS_STATUS_SUCCESS || checked.workspaceSize > h.workspace_bytes) return false;
  const DeviceBuffer together(bytes * seats.count), single(bytes), different(8);
  if (together.get() == nullptr || single.get() == nullptr || different.get() == nullptr)
    return false;
  if (Launch(context, shape, batched, batched.algo, a, b, together.get()) != CUBLAS_STATUS_SUCCESS)
    return false;
  auto* count = reinterpret_cast<unsigned long long*>(different.get());
  for (int i = 0; i < seats.count; ++i) {
    CUDA_OK(cudaMemsetAsync(single.get(), 0, bytes, h.stream));
    CUDA_OK(Launch(context, shape, alone, alone.algo, a + i * step, b + i * step, single.get()));
    CountDifferent<<<static_cast<unsigned>((bytes / 4 + 255) / 256), 256, 0, h.stream>>>(
        reinterpret_cast<const uint32_t*>(together.get() + i * bytes),
        reinterpret_cast<const uint32_t*>(single.get()), bytes / 4, count);
    CUDA_LAUNCHED("count_different");
  }
  unsigned long long found = 0;
  CUDA_OK(cudaMemcpyAsync(&found, count, sizeof found, cudaMemcpyDeviceToHost, h.stream));
  context.Synchronize();
  return found == 0;
}

const BatchedGemms::Item& BatchedOf(CudaContext& context, const GemmShape& shape,
                                    const Entry& alone, const bf16* a, const bf16* b) {
  auto& batched = context.handles().batched_gemms;
  if (batched == nullptr) batched = std::make_shared<BatchedGemms>();
  const Seats& seats = context.seats();
  const auto [it, fresh] = batched->items.try_emplace({KeyOf(shape), seats.count});
  BatchedGemms::Item& item = it->second;
  if (!fresh) return item;
  Describe(shape, &item.entry);
  item.entry.algo = alone.algo;
  item.same = SameBits(context, shape, alone, item.entry, a, b);
  if (!item.same) {
    cublasLtMatmulHeuristicResult_t checked;
    CUDA_OK(cublasLtMatmulAlgoCheck(context.handles().lt, alone.op, alone.b, alone.a, alone.c,
                                    alone.c, &alone.algo, &checked));
    item.workspace = (static_cast<int64_t>(checked.workspaceSize) + 255) / 256 * 256;
    const int64_t bytes = item.workspace * seats.count;
    if (batched->workspaces.empty() || batched->workspaces.back().bytes() < bytes)
      batched->workspaces.emplace_back(bytes);
    if (batched->workspaces.back().get() == nullptr)
      CudaFail(__FILE__, __LINE__, "Gemm", "the device has no memory left for workspaces");
    item.workspaces = batched->workspaces.back().get();
  }
  SetBatch(item.entry, seats.count, seats.stride / 2, seats.stride / 2,
           seats.stride / (shape.f32_out ? 4 : 2));
  return item;
}

}  // namespace

void Gemm(CudaContext& context, const GemmShape& shape, const bf16* a, const bf16* b, void* c) {
  const Key key = KeyOf(shape);
  const Entry* entry = TheTable().Find(key);
  if (entry == nullptr) {
    auto& pending = context.handles().pending_gemms;
    if (pending == nullptr) pending = std::make_shared<PendingGemms>();
    const bool fresh = pending->shapes.count(key) == 0;
    PendingGemms::Item& item = pending->shapes[key];
    if (fresh) {
      item.shape = shape;
      Describe(shape, &item.entry);
      item.entry.algo = Candidates(context, item.entry, 1)[0].algo;
    }
    entry = &item.entry;
  }
  if (context.seats().count == 1) {
    CUDA_OK(Launch(context, shape, *entry, entry->algo, a, b, c));
    return;
  }
  const BatchedGemms::Item& item = BatchedOf(context, shape, *entry, a, b);
  if (item.same) {
    CUDA_OK(Launch(context, shape, item.entry, entry->algo, a, b, c));
    return;
  }
  std::byte* workspace = item.workspaces;
  AtEachSeat(context, [&](cudaStream_t stream, int64_t shift) {
    CUDA_OK(Launch(context, shape, *entry, entry->algo, a + shift / 2, b + shift / 2,
                   static_cast<std::byte*>(c) + shift, stream,
                   {workspace, static_cast<size_t>(item.workspace)}));
    workspace += item.workspace;
  });
}

std::string BatchedGemmsText(CudaContext& context) {
  const auto& batched = context.handles().batched_gemms;
  int together = 0, all = 0;
  std::string apart;
  if (batched != nullptr) {
    for (const auto& [key, item] : batched->items) {
      ++all;
      together += item.same;
      if (item.same) continue;
      const char* kinds[] = {"forward", "input", "weight"};
      apart += std::string(" ") + kinds[key.first[0]];
      for (int i = 1; i <= 3; ++i) apart += (i == 1 ? " " : "x") + std::to_string(key.first[i]);
      apart += " for " + std::to_string(key.second) + ";";
    }
  }
  return std::to_string(together) + " of " + std::to_string(all) + " products batched" +
         (apart.empty() ? "" : ", side by side:" + apart);
}

void SettleGemms(CudaContext& context) {
  auto& pending = context.handles().pending_gemms;
  if (pending == nullptr || pending->shapes.empty()) return;
  int64_t largest[3] = {0, 0, 0};
  for (const auto& [key, item] : pending->shapes) {
    const GemmShape& s = item.shape;
    const int64_t pad = std::max(s.m, s.k) * 8;  // of padded rows
    largest[0] = std::max(largest[0], (s.m * s.k + pad) * 2);
    largest[1] = std::max(largest[1], s.k * s.n * 2);
    largest[2] = std::max(largest[2], (s.m * s.n + pad) * (s.f32_out ? 4 : 2));
  }
  const DeviceBuffer a(largest[0]), b(largest[1]), c(largest[2]);
  const bool room = a.get() != nullptr && b.get() != nullptr && c.get() != nullptr;
  const cudaStream_t stream = context.handles().stream;
  for (const DeviceBuffer* buffer : {&a, &b}) {
    if (!room) break;
    const int64_t n = buffer->bytes() / 2;
    FillRandom<<<static_cast<unsigned>((n + 255) / 256), 256, 0, stream>>>(
        reinterpret_cast<bf16*>(buffer->get()), n);
    CUDA_LAUNCHED("fill_random");
  }
  context.Synchronize();
  {
    // Nothing else may run on the GPU meanwhile, or the neighbour would choose the algorithms.
    const GpuQuiet quiet;
    for (auto& [key, item] : pending->shapes) {
      if (TheTable().Find(key) != nullptr) continue;
      Entry entry = item.entry;
      bool pinned = false;
      {
        std::shared_lock lock(TheTable().mu);
        auto it = TheTable().pinned.find(key);
        if (it != TheTable().pinned.end()) {
          std::memcpy(&entry.algo, it->second.data(), sizeof entry.algo);
          pinned = true;
        }
      }
      // Without room to time it, the heuristic's first stays.
      if (!pinned && room)
        entry.algo = Fastest(context, item.shape, entry, a.get(), b.get(), c.get());
      std::unique_lock lock(TheTable().mu);
      TheTable().entries[key] = entry;
    }
  }
  pending.reset();
}

std::string GemmTableText() {
  Table& table = TheTable();
  std::shared_lock lock(table.mu);
  std::map<Key, AlgoWords> all = table.pinned;
  for (const auto& [key, entry] : table.entries)
    std::memcpy(all[key].data(), &entry.algo, sizeof entry.algo);
  std::string out = "environment " + Environment() + "\n";
  for (const auto& [key, words] : all) {
    for (int64_t part : key) out += std::to_string(part) + " ";
    char text[24];
    for (uint64_t word : words) {
      std::snprintf(text, sizeof text, "%016llx ", static_cast<unsigned long long>(word));
      out += text;
    }
    out.back() = '\n';
  }
  return out;
}

int LoadGemmTable(const std::string& text) {
  std::istringstream in(text);
  std::string line;
  if (!std::getline(in, line) || line != "environment " + Environment()) return 0;
  std::unique_lock lock(TheTable().mu);
  int taken = 0;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    Key key;
    AlgoWords algo;
    for (int64_t& part : key) words >> part;
    for (uint64_t& word : algo) words >> std::hex >> word;
    if (words.fail()) continue;
    TheTable().pinned[key] = algo;
    ++taken;
  }
  return taken;
}

}  // namespace worker
