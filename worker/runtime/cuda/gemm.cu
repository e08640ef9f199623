#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <vector>

#include "worker/runtime/cuda/gemm.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/runtime/cuda/gpu_quiet.h"

namespace worker {
namespace {

constexpr int kCandidates = 8;
constexpr int kTimedRuns = 5;
constexpr float kSlowMs = 0.3f, kHopeless = 1.3f;

using Key = std::array<int64_t, 6>;  // kind, m, n, k, f32_out, add
using AlgoWords = std::array<uint64_t, 8>;
static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(AlgoWords));

Key KeyOf(const GemmShape& s) {
  return {static_cast<int64_t>(s.kind), s.m, s.n, s.k, s.f32_out, s.add};
}

std::string Environment() {
  cudaDeviceProp properties;
  int device = 0;
  CUDA_OK(cudaGetDevice(&device));
  CUDA_OK(cudaGetDeviceProperties(&properties, device));
  return std::to_string(cublasLtGetVersion()) + "/" + properties.name;
}

// Descriptors of a shape and the algorithm that runs it.
struct Entry {
  cublasLtMatmulDesc_t op = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algo;
  bool decided = false;
};

class Table {
 public:
  // Entries live as long as the process.
  Entry* Find(const GemmShape& shape) {
    std::shared_lock lock(mu_);
    auto it = entries_.find(KeyOf(shape));
    return it == entries_.end() || !it->second.decided ? nullptr : &it->second;
  }
  Entry* Decide(CudaContext& context, const GemmShape& shape, const void* a, const void* b,
                void* c);
  std::string Text();
  int Load(const std::string& text);

 private:
  static void Describe(const GemmShape& s, Entry* e);
  void Time(CudaContext& context, const GemmShape& shape, const void* a, const void* b, void* c,
            Entry* e);
  std::shared_mutex mu_;
  std::map<Key, Entry> entries_;
  std::map<Key, AlgoWords> pinned_;
};

Table& TheTable() {
  static Table* table = new Table();
  return *table;
}

// Row-major C[m,n] is column-major C^T[n,m], so cuBLAS computes C^T = op(B)^T op(A)^T.
void Table::Describe(const GemmShape& s, Entry* e) {
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
  if (s.kind == GemmKind::kWeight)
    CUDA_OK(cublasLtMatrixLayoutCreate(&e->a, CUDA_R_16BF, s.m, s.k, s.m));
  else
    CUDA_OK(cublasLtMatrixLayoutCreate(&e->a, CUDA_R_16BF, s.k, s.m, s.k));
  CUDA_OK(cublasLtMatrixLayoutCreate(&e->c, out, s.n, s.m, s.n));
}

cublasStatus_t Launch(CudaContext& context, const GemmShape& s, const Entry& e,
                      const cublasLtMatmulAlgo_t& algo, const void* a, const void* b, void* c) {
  const float one = 1, beta = s.add ? 1 : 0;
  CudaHandles& h = context.handles();
  return cublasLtMatmul(h.lt, e.op, &one, b, e.b, a, e.a, &beta, c, e.c, c, e.c, &algo, h.workspace,
                        h.workspace_bytes, h.stream);
}

void Table::Time(CudaContext& context, const GemmShape& shape, const void* a, const void* b,
                 void* c, Entry* e) {
  CudaHandles& h = context.handles();
  cublasLtMatmulPreference_t preference;
  CUDA_OK(cublasLtMatmulPreferenceCreate(&preference));
  CUDA_OK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &h.workspace_bytes, sizeof h.workspace_bytes));
  cublasLtMatmulHeuristicResult_t results[kCandidates];
  int found = 0;
  CUDA_OK(cublasLtMatmulAlgoGetHeuristic(h.lt, e->op, e->b, e->a, e->c, e->c, preference,
                                         kCandidates, results, &found));
  CUDA_OK(cublasLtMatmulPreferenceDestroy(preference));
  if (found == 0) CudaFail(__FILE__, __LINE__, "cublasLtMatmulAlgoGetHeuristic", "no algorithm");
  // A product that adds would change its output while it is timed: it is timed into a copy.
  const DeviceBuffer copy(shape.m * shape.n * (shape.f32_out ? 4 : 2));
  void* out = copy.get() != nullptr ? copy.get() : c;
  // Nothing else may run on the GPU meanwhile, or the neighbour would choose the algorithm.
  const GpuQuiet quiet;
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  // Seconds would be lost to an exhaustive search over large products: a candidate that is far
  // behind after one run is dropped, and a slow one is run less often.
  auto time = [&](const cublasLtMatmulAlgo_t& algo, int runs) {
    CUDA_OK(cudaEventRecord(begin, h.stream));
    for (int r = 0; r < runs; ++r) {
      if (Launch(context, shape, *e, algo, a, b, out) != CUBLAS_STATUS_SUCCESS) return 1e30f;
    }
    CUDA_OK(cudaEventRecord(end, h.stream));
    CUDA_OK(cudaEventSynchronize(end));
    float ms = 0;
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    return ms / static_cast<float>(runs);
  };
  float best = 1e30f;
  for (int i = 0; i < found; ++i) {
    if (results[i].state != CUBLAS_STATUS_SUCCESS) continue;
    float ms = time(results[i].algo, 1);  // also loads its code
    if (ms < kSlowMs) ms = time(results[i].algo, 1);
    if (ms > kHopeless * best) continue;
    std::vector<float> times;
    for (int r = 0; r < (ms < kSlowMs ? kTimedRuns : 1); ++r)
      times.push_back(time(results[i].algo, 2));
    std::sort(times.begin(), times.end());
    const float median = times[times.size() / 2];
    if (median < best) {
      best = median;
      e->algo = results[i].algo;
    }
  }
  CUDA_OK(cudaEventDestroy(begin));
  CUDA_OK(cudaEventDestroy(end));
  if (best == 1e30f) CudaFail(__FILE__, __LINE__, "cublasLtMatmul", "no algorithm runs this shape");
}

Entry* Table::Decide(CudaContext& context, const GemmShape& shape, const void* a, const void* b,
                     void* c) {
  static std::mutex one_at_a_time;
  std::lock_guard timing(one_at_a_time);
  if (Entry* known = Find(shape)) return known;
  Entry fresh;
  Describe(shape, &fresh);
  bool pinned = false;
  {
    std::shared_lock lock(mu_);
    auto it = pinned_.find(KeyOf(shape));
    if (it != pinned_.end()) {
      std::memcpy(&fresh.algo, it->second.data(), sizeof fresh.algo);
      pinned = true;
    }
  }
  if (!pinned) Time(context, shape, a, b, c, &fresh);
  fresh.decided = true;
  std::unique_lock lock(mu_);
  return &(entries_[KeyOf(shape)] = fresh);
}

std::string Table::Text() {
  std::shared_lock lock(mu_);
  std::string out = "environment " + Environment() + "\n";
  for (const auto& [key, entry] : entries_) {
    if (!entry.decided) continue;
    for (int64_t part : key) out += std::to_string(part) + " ";
    AlgoWords words;
    std::memcpy(words.data(), &entry.algo, sizeof entry.algo);
    char text[24];
    for (uint64_t word : words) {
      std::snprintf(text, sizeof text, "%016llx ", static_cast<unsigned long long>(word));
      out += text;
    }
    out.back() = '\n';
  }
  return out;
}

int Table::Load(const std::string& text) {
  std::istringstream in(text);
  std::string line;
  if (!std::getline(in, line) || line != "environment " + Environment()) return 0;
  std::unique_lock lock(mu_);
  int taken = 0;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    Key key;
    AlgoWords algo;
    for (int64_t& part : key) words >> part;
    for (uint64_t& word : algo) words >> std::hex >> word;
    if (words.fail()) continue;
    pinned_[key] = algo;
    ++taken;
  }
  return taken;
}

}  // namespace

void Gemm(CudaContext& context, const GemmShape& shape, const bf16* a, const bf16* b, void* c) {
  Entry* entry = TheTable().Find(shape);
  if (entry == nullptr) entry = TheTable().Decide(context, shape, a, b, c);
  CUDA_OK(Launch(context, shape, *entry, entry->algo, a, b, c));
}

std::string GemmTableText() { return TheTable().Text(); }
int LoadGemmTable(const std::string& text) { return TheTable().Load(text); }

}  // namespace worker
