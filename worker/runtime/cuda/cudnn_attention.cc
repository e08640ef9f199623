#include "worker/runtime/cuda/cudnn_attention.h"

#include <cudnn.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>
#include <vector>

namespace worker {
namespace {

constexpr cudnnDataType_t kBf16 = CUDNN_DATA_BFLOAT16, kF32 = CUDNN_DATA_FLOAT;

using Dims4 = std::array<int64_t, 4>;

// Ids of the tensors that a caller or the workspace holds; virtual ones count from kFirstVirtual.
// kRowDot (B, H, S, 1) is the sum over D of o do. kDqFloat (B, H, S, D) takes the atomic additions.
constexpr int64_t kNone = 0, kQ = 1, kK = 2, kV = 3, kO = 4, kLse = 5, kDout = 6, kDq = 7, kDk = 8,
                  kDv = 9, kScale = 10, kMasked = 11, kOne = 12, kRowDot = 13, kDqFloat = 14,
                  kFirstVirtual = 100;

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendCreateDescriptor(type, &raw_);
  }
  ~Descriptor() {
    if (raw_ != nullptr) cudnnBackendDestroyDescriptor(raw_);
  }
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

// Sets attributes one after another and remembers the first failure with the name of what was being
// built, so that the code that builds a graph reads as the graph.
class Setter {
 public:
  void At(const char* what) { what_ = what; }
  template <typename T>
  void Set(const Descriptor& to, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
           const T* values, int64_t count) {
    Check(cudnnBackendSetAttribute(to.raw(), name, type, count, values));
  }
  template <typename T>
  void Set(const Descriptor& to, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
           const T& value) {
    Set(to, name, type, &value, 1);
  }
  void Link(const Descriptor& to, cudnnBackendAttributeName_t name, const Descriptor& from) {
    Set(to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, from.raw());
  }
  void Finalize(const Descriptor& descriptor) {
    if (ok()) Check(cudnnBackendFinalize(descriptor.raw()));
  }
  // How many elements there are; 0 after a failure.
  template <typename T>
  int64_t Get(const Descriptor& from, cudnnBackendAttributeName_t name,
              cudnnBackendAttributeType_t type, int64_t capacity, T* values) {
    int64_t count = 0;
    if (ok()) Check(cudnnBackendGetAttribute(from.raw(), name, type, capacity, &count, values));
    return ok() ? count : 0;
  }
  void Check(cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS || !ok()) return;
    error_ = std::string(what_) + ": " + cudnnGetErrorString(status) + ": " +
             CudnnAttention::LastError();
  }
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }

 private:
  const char* what_ = "";
  std::string error_;
};

// The operation graph under construction. Tensors are indices into tensors_.
class GraphBuilder {
 public:
  int Tensor(int64_t uid, cudnnDataType_t type, const Dims4& dims, const Dims4& strides) {
    return AddTensor(uid, type, dims, strides, uid >= kFirstVirtual, false);
  }
  int Scalar(int64_t uid) {  // passed by value at execution
    return AddTensor(uid, kF32, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
  }
  int Virtual(cudnnDataType_t type, const Dims4& dims, const Dims4& strides) {
    return Tensor(kFirstVirtual + static_cast<int64_t>(tensors_.size()), type, dims, strides);
  }
  int Virtual(cudnnDataType_t type, const Dims4& dims) {
    return Virtual(type, dims, {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1});
  }

  void Matmul(int a, int b, int c, const char* what) {
    set_.At(what);
    Descriptor math(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    set_.Set(math, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, kF32);
    set_.Finalize(math);
    Descriptor op(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_.Link(op, CUDNN_ATTR_OPERATION_MATMUL_DESC, math);
    set_.Link(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, tensors_[a]);
    set_.Link(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, tensors_[b]);
    set_.Link(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, tensors_[c]);
    AddOp(std::move(math), std::move(op));
  }

  // y = mode(x), mode(x, b) or mode(x, b, t); b and t are -1 where the mode takes fewer.
  void Pointwise(cudnnPointwiseMode_t mode, int x, int b, int t, int y, const char* what,
                 cudnnDataType_t math_type = kF32, int64_t axis = -1) {
    set_.At(what);
    Descriptor math(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set_.Set(math, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
    set_.Set(math, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, math_type);
    if (axis >= 0) set_.Set(math, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, axis);
    set_.Finalize(math);
    Descriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_.Link(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, math);
    set_.Link(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_[x]);
    if (b >= 0) set_.Link(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, tensors_[b]);
    if (t >= 0) set_.Link(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, tensors_[t]);
    set_.Link(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensors_[y]);
    AddOp(std::move(math), std::move(op));
  }

  void Reduce(cudnnReduceTensorOp_t sum, int x, int y, const char* what) {
    set_.At(what);
    Descriptor math(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    set_.Set(math, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, sum);
    set_.Set(math, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, kF32);
    set_.Finalize(math);
    Descriptor op(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_.Link(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, math);
    set_.Link(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, tensors_[x]);
    set_.Link(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, tensors_[y]);
    AddOp(std::move(math), std::move(op));
  }

  void Reshape(int x, int y, const char* what) {
    set_.At(what);
    Descriptor op(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_.Link(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, tensors_[x]);
    set_.Link(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, tensors_[y]);
    AddOp(Descriptor(), std::move(op));
  }

  Descriptor Finish(cudnnHandle_t handle) {
    set_.At("operation graph");
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    std::vector<cudnnBackendDescriptor_t> raw;
    for (const Descriptor& op : ops_) raw.push_back(op.raw());
    set_.Set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
    set_.Set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.data(),
             static_cast<int64_t>(raw.size()));
    set_.Finalize(graph);
    return graph;
  }
  const std::string& error() const { return set_.error(); }
  bool ok() const { return set_.ok(); }

 private:
  int AddTensor(int64_t uid, cudnnDataType_t type, const Dims4& dims, const Dims4& strides,
                bool is_virtual, bool by_value) {
    set_.At("tensor");
    // The statistics of a chunk may start at any row.
    const int64_t alignment = by_value || uid == kLse || uid == kRowDot ? 4 : 16;
    Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, uid);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, alignment);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, dims.data(), 4);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides.data(), 4);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual);
    set_.Set(tensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, by_value);
    set_.Finalize(tensor);
    tensors_.push_back(std::move(tensor));
    return static_cast<int>(tensors_.size()) - 1;
  }
  void AddOp(Descriptor math, Descriptor op) {
    set_.Finalize(op);
    math_.push_back(std::move(math));
    ops_.push_back(std::move(op));
  }

  Setter set_;
  std::vector<Descriptor> tensors_, math_, ops_;
};

Dims4 StridesOf(const AttentionProblem::Strides& s) { return {s.batch, s.head, s.row, 1}; }
Dims4 Transposed(const Dims4& d) { return {d[0], d[1], d[3], d[2]}; }

// cuDNN recognises attention by its composite pattern; the order and the types of the operations
// are those that its fused engines match, more than taste would ask for.
struct Shapes {
  explicit Shapes(const AttentionProblem& p)
      : q{p.batch, p.heads, p.seq, p.head_dim},
        kv{p.batch, p.kv_heads, p.seq, p.head_dim},
        scores{p.batch, p.heads, p.seq, p.seq},
        rows{p.batch, p.heads, p.seq, 1},
        rows_strides{p.heads * p.seq, p.seq, 1, 1} {}
  Dims4 q, kv, scores, rows, rows_strides;
};

// Scores with everything right of the diagonal replaced by `masked`.
int CausalMask(GraphBuilder& g, const Shapes& shapes, int scores, int masked) {
  const int row = g.Virtual(CUDNN_DATA_INT32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_GEN_INDEX, scores, -1, -1, row, "row index", kF32, 2);
  const int col = g.Virtual(CUDNN_DATA_INT32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_GEN_INDEX, scores, -1, -1, col, "column index", kF32, 3);
  const int keep = g.Virtual(CUDNN_DATA_BOOLEAN, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_CMP_GE, row, col, -1, keep, "row >= column", CUDNN_DATA_BOOLEAN);
  const int out = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_BINARY_SELECT, scores, masked, keep, out, "causal select");
  return out;
}

void BuildForward(GraphBuilder& g, const AttentionProblem& p, bool with_lse) {
  const Shapes shapes(p);
  const int q = g.Tensor(kQ, kBf16, shapes.q, StridesOf(p.q));
  const int kt = g.Tensor(kK, kBf16, Transposed(shapes.kv), Transposed(StridesOf(p.k)));
  const int v = g.Tensor(kV, kBf16, shapes.kv, StridesOf(p.v));
  const int o = g.Tensor(kO, kBf16, shapes.q, StridesOf(p.o));
  const int scale = g.Scalar(kScale), masked_value = g.Scalar(kMasked);

  const int s = g.Virtual(kF32, shapes.scores);
  g.Matmul(q, kt, s, "q k^T");
  const int scaled = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_MUL, s, scale, -1, scaled, "scale");
  const int masked = CausalMask(g, shapes, scaled, masked_value);

  const int top = g.Virtual(kF32, shapes.rows, shapes.rows_strides);
  g.Reduce(CUDNN_REDUCE_TENSOR_MAX, masked, top, "row max");
  const int shifted = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_SUB, masked, top, -1, shifted, "minus row max");
  const int e = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_EXP, shifted, -1, -1, e, "exp");
  const int sum = g.Virtual(kF32, shapes.rows, shapes.rows_strides);
  g.Reduce(CUDNN_REDUCE_TENSOR_ADD, e, sum, "row sum");
  // Part of the pattern even where nobody reads it.
  const int lse = with_lse ? g.Tensor(kLse, kF32, shapes.rows, shapes.rows_strides)
                           : g.Virtual(kF32, shapes.rows, shapes.rows_strides);
  const int log = g.Virtual(kF32, shapes.rows, shapes.rows_strides);
  g.Pointwise(CUDNN_POINTWISE_LOG, sum, -1, -1, log, "log of row sum");
  g.Pointwise(CUDNN_POINTWISE_ADD, top, log, -1, lse, "log-sum-exp");
  const int prob = g.Virtual(kBf16, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_DIV, e, sum, -1, prob, "softmax");
  g.Matmul(prob, v, o, "p v");
}

// P = exp(S - lse); dV = P^T dO; dP = dO V^T; dS = P (dP - rowsum(dO O)) scale; dK = dS^T Q;
// dQ = dS K. With fewer key/value heads, dK and dV are summed over the query heads of a group.
void BuildBackward(GraphBuilder& g, const AttentionProblem& p, bool deterministic) {
  const Shapes shapes(p);
  const Dims4 scores_t_strides = {p.heads * p.seq * p.seq, p.seq * p.seq, 1, p.seq};
  const int q = g.Tensor(kQ, kBf16, shapes.q, StridesOf(p.q));
  const int kt = g.Tensor(kK, kBf16, Transposed(shapes.kv), Transposed(StridesOf(p.k)));
  const int vt = g.Tensor(kV, kBf16, Transposed(shapes.kv), Transposed(StridesOf(p.v)));
  const int o = g.Tensor(kO, kBf16, shapes.q, StridesOf(p.o));
  const int d_o = g.Tensor(kDout, kBf16, shapes.q, StridesOf(p.dout));
  const int lse = g.Tensor(kLse, kF32, shapes.rows, shapes.rows_strides);
  const int dq = g.Tensor(kDq, kBf16, shapes.q, StridesOf(p.dq));
  const int dk = g.Tensor(kDk, kBf16, shapes.kv, StridesOf(p.dk));
  const int dv = g.Tensor(kDv, kBf16, shapes.kv, StridesOf(p.dv));
  const int scale = g.Scalar(kScale), masked_value = g.Scalar(kMasked), one = g.Scalar(kOne);

  const int product = g.Virtual(kF32, shapes.q);
  g.Pointwise(CUDNN_POINTWISE_MUL, d_o, o, -1, product, "do o");
  const int row_sum = g.Virtual(kF32, shapes.rows, shapes.rows_strides);
  g.Reduce(CUDNN_REDUCE_TENSOR_ADD, product, row_sum, "row sum of do o");
  const int dot = g.Tensor(kRowDot, kF32, shapes.rows, shapes.rows_strides);
  g.Pointwise(CUDNN_POINTWISE_MUL, row_sum, one, -1, dot, "row sum times 1");

  const int s = g.Virtual(kF32, shapes.scores);
  g.Matmul(q, kt, s, "q k^T");
  const int scaled = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_MUL, s, scale, -1, scaled, "scale");
  const int shifted = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_SUB, scaled, lse, -1, shifted, "minus lse");
  const int masked = CausalMask(g, shapes, shifted, masked_value);
  const int prob = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_EXP, masked, -1, -1, prob, "exp");

  // a^T b summed over the query heads that share a key/value head.
  auto transposed_product = [&](int a, int b, int out, const char* what) {
    const int at = g.Virtual(kBf16, shapes.scores, scores_t_strides);
    g.Reshape(a, at, what);
    if (p.heads == p.kv_heads) {
      g.Matmul(at, b, out, what);
      return;
    }
    const int full = g.Virtual(kBf16, shapes.q);
    g.Matmul(at, b, full, what);
    g.Reduce(CUDNN_REDUCE_TENSOR_ADD, full, out, what);
  };
  transposed_product(prob, d_o, dv, "dv = p^T do");

  const int dp = g.Virtual(kF32, shapes.scores);
  g.Matmul(d_o, vt, dp, "dp = do v^T");
  const int centred = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_SUB, dp, dot, -1, centred, "dp - row sum");
  const int ds_unscaled = g.Virtual(kF32, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_MUL, centred, prob, -1, ds_unscaled, "times p");
  const int ds = g.Virtual(kBf16, shapes.scores);
  g.Pointwise(CUDNN_POINTWISE_MUL, ds_unscaled, scale, -1, ds, "ds");
  transposed_product(ds, q, dk, "dk = ds^T q");

  const int k = g.Virtual(kBf16, shapes.kv, StridesOf(p.k));
  g.Reshape(kt, k, "k");
  if (deterministic) {
    g.Matmul(ds, k, dq, "dq = ds k");
    return;
  }
  const int dq_float = g.Tensor(kDqFloat, kF32, shapes.q,
                                {p.heads * p.seq * p.head_dim, p.seq * p.head_dim, p.head_dim, 1});
  g.Matmul(ds, k, dq_float, "dq = ds k");
  g.Pointwise(CUDNN_POINTWISE_IDENTITY, dq_float, -1, -1, dq, "dq");
}

struct Plan {
  Descriptor plan;
  int64_t workspace = 0;
  std::string engine;
};

// Descriptors that cudnnBackendGetAttribute fills.
struct DescriptorArray {
  DescriptorArray(cudnnBackendDescriptorType_t type, int64_t count) {
    for (int64_t i = 0; i < count; ++i) raw.push_back(owned.emplace_back(type).raw());
  }
  std::vector<Descriptor> owned;
  std::vector<cudnnBackendDescriptor_t> raw;
};

// Engine configs that cuDNN proposes, best guess first.
std::vector<Descriptor> Heuristics(Setter& set, const Descriptor& graph,
                                   cudnnBackendHeurMode_t mode) {
  set.At("heuristics");
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  set.Link(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  set.Set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
  set.Finalize(heuristics);
  const auto results = CUDNN_ATTR_ENGINEHEUR_RESULTS;
  cudnnBackendDescriptor_t* none = nullptr;
  const int64_t count = set.Get(heuristics, results, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, none);
  DescriptorArray configs(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, count);
  configs.owned.resize(count == 0 ? 0
                                  : set.Get(heuristics, results, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                            count, configs.raw.data()));
  return std::move(configs.owned);
}

// "eng<id>", then "_k<knob>=<value>" for every knob that the config sets, and whether cuDNN notes
// the engine as nondeterministic. The note alone is not enough: cuDNN 9.19 leaves it off the
// backward with atomic additions, so BuildBackward asks for none.
std::string EngineName(const Descriptor& config, bool* nondeterministic) {
  Setter set;
  DescriptorArray engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
  set.Get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, engine.raw.data());
  int64_t id = -1;
  set.Get(engine.owned[0], CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &id);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes;
  const auto end = notes.begin() + set.Get(engine.owned[0], CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                           CUDNN_TYPE_NUMERICAL_NOTE, notes.size(), notes.data());
  *nondeterministic = std::find(notes.begin(), end, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) != end;
  std::string name = "eng" + std::to_string(id);
  DescriptorArray knobs(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS);
  const int64_t count =
      set.Get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
              CUDNN_KNOB_TYPE_COUNTS, knobs.raw.data());
  for (int64_t i = 0; i < count; ++i) {
    cudnnBackendKnobType_t type = CUDNN_KNOB_TYPE_COUNTS;
    int64_t value = 0;
    const Descriptor& knob = knobs.owned[i];
    set.Get(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    set.Get(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
    name += "_k" + std::to_string(static_cast<int>(type)) + "=" + std::to_string(value);
  }
  return name;
}

// A plan for the first engine of the heuristics that builds; else one without descriptor and
// *error.
Plan MakePlan(cudnnHandle_t handle, GraphBuilder& builder, std::string* error) {
  const Descriptor graph = builder.Finish(handle);
  if (!builder.ok()) {
    *error = builder.error();
    return {};
  }
  std::string refusals;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Setter search;
    for (const Descriptor& config : Heuristics(search, graph, mode)) {
      bool nondeterministic = false;
      Plan made;
      made.engine = EngineName(config, &nondeterministic);
      if (nondeterministic) {
        refusals += " " + made.engine + ": noted as nondeterministic;";
        continue;
      }
      Setter set;
      set.At("plan");
      made.plan = Descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      set.Set(made.plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
      set.Link(made.plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
      set.Finalize(made.plan);
      set.Get(made.plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
              &made.workspace);
      if (set.ok()) return made;
      refusals += " " + made.engine + ": " + set.error() + ";";
    }
    if (!search.ok()) refusals += " " + search.error() + ";";
  }
  *error = "no engine runs this problem:" + refusals;
  return {};
}

size_t RoundUp(size_t bytes) { return (bytes + 255) / 256 * 256; }

struct Binding {
  int64_t uid;
  const void* pointer;
};

bool Execute(cudnnHandle_t handle, CUstream_st* stream, const Plan& plan,
             std::initializer_list<Binding> bindings, void* workspace) {
  std::array<int64_t, 16> uids;
  std::array<const void*, 16> pointers;
  int64_t count = 0;
  for (const Binding& binding : bindings) {
    if (binding.uid == kNone) continue;
    uids[count] = binding.uid;
    pointers[count++] = binding.pointer;
  }
  Setter set;
  const Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  set.Set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, uids.data(), count);
  set.Set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(), count);
  set.Set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
  set.Finalize(pack);
  set.Check(cudnnSetStream(handle, stream));
  if (!set.ok()) return false;
  return cudnnBackendExecute(handle, plan.plan.raw(), pack.raw()) == CUDNN_STATUS_SUCCESS;
}

const void* SequenceOf(const void* tensor, int64_t b, const AttentionProblem::Strides& strides) {
  return static_cast<const char*>(tensor) + b * strides.batch * 2;
}

}  // namespace

struct CudnnAttention::Impl {
  AttentionProblem problem;
  bool training = false;
  bool deterministic = true;
  int64_t chunk = 0;  // sequences a backward launch
  Plan forward, backward;
  float scale = 0;
  float masked = -std::numeric_limits<float>::infinity();
  float one = 1;
  size_t row_dot_bytes = 0, dq_float_bytes = 0;  // of a chunk
};

CudnnAttention::CudnnAttention(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CudnnAttention::~CudnnAttention() = default;

std::string CudnnAttention::LastError() {
  std::array<char, 2048> text = {};
  cudnnGetLastErrorString(text.data(), text.size());
  return text.data();
}

std::unique_ptr<CudnnAttention> CudnnAttention::Create(cudnnContext* handle,
                                                       const AttentionProblem& problem,
                                                       bool training, std::string* error,
                                                       const AttentionTuning& tuning) {
  bool valid = problem.batch > 0 && problem.kv_heads > 0 && problem.heads > 0 && problem.seq > 0 &&
               problem.head_dim > 0 && problem.head_dim % 8 == 0 &&
               problem.heads % problem.kv_heads == 0;
  for (const auto& s : {problem.q, problem.k, problem.v, problem.o, problem.dq, problem.dk,
                        problem.dv, problem.dout}) {
    valid = valid && s.batch % 8 == 0 && s.head % 8 == 0 && s.row % 8 == 0;
  }
  if (!valid) {
    *error = "attention wants kv_heads to divide heads, head_dim and strides in multiples of 8";
    return nullptr;
  }
  auto impl = std::make_unique<Impl>();
  impl->problem = problem;
  impl->training = training;
  impl->deterministic = tuning.deterministic;
  impl->scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(problem.head_dim)));
  {
    GraphBuilder builder;
    BuildForward(builder, problem, training);
    impl->forward = MakePlan(handle, builder, error);
    if (impl->forward.plan.raw() == nullptr) {
      *error = "attention forward: " + *error;
      return nullptr;
    }
  }
  for (int64_t chunk = problem.batch; training && chunk > 0; --chunk) {
    if (problem.batch % chunk != 0) continue;
    const int64_t rows = chunk * problem.heads * problem.seq;
    // The dominant term, so that hopeless sizes build no plan.
    if (tuning.deterministic && chunk > 1 &&
        rows * problem.seq * 2 > tuning.backward_workspace_limit) {
      continue;
    }
    AttentionProblem part = problem;
    part.batch = chunk;
    GraphBuilder builder;
    BuildBackward(builder, part, tuning.deterministic);
    impl->backward = MakePlan(handle, builder, error);
    if (impl->backward.plan.raw() == nullptr) {
      *error = "attention backward: " + *error;
      return nullptr;
    }
    impl->chunk = chunk;
    impl->row_dot_bytes = RoundUp(rows * sizeof(float));
    impl->dq_float_bytes =
        tuning.deterministic ? 0 : RoundUp(rows * problem.head_dim * sizeof(float));
    if (impl->backward.workspace <= tuning.backward_workspace_limit) break;
  }
  return std::unique_ptr<CudnnAttention>(new CudnnAttention(std::move(impl)));
}

size_t CudnnAttention::workspace_bytes() const {
  const size_t forward = RoundUp(impl_->forward.workspace);
  if (!impl_->training) return forward;
  return std::max(
      forward, impl_->row_dot_bytes + impl_->dq_float_bytes + RoundUp(impl_->backward.workspace));
}

bool CudnnAttention::Forward(cudnnContext* handle, CUstream_st* stream, const void* q,
                             const void* k, const void* v, void* o, float* lse,
                             void* workspace) const {
  return Execute(handle, stream, impl_->forward,
                 {{kQ, q},
                  {kK, k},
                  {kV, v},
                  {kO, o},
                  {impl_->training ? kLse : kNone, lse},
                  {kScale, &impl_->scale},
                  {kMasked, &impl_->masked}},
                 workspace);
}

bool CudnnAttention::Backward(cudnnContext* handle, CUstream_st* stream, const void* q,
                              const void* k, const void* v, const void* o, const float* lse,
                              const void* dout, void* dq, void* dk, void* dv,
                              void* workspace) const {
  if (!impl_->training) return false;
  const AttentionProblem& p = impl_->problem;
  char* row_dot = static_cast<char*>(workspace);
  char* dq_float = row_dot + impl_->row_dot_bytes;
  char* rest = dq_float + impl_->dq_float_bytes;
  for (int64_t b = 0; b < p.batch; b += impl_->chunk) {
    const bool ok = Execute(handle, stream, impl_->backward,
                            {{kQ, SequenceOf(q, b, p.q)},
                             {kK, SequenceOf(k, b, p.k)},
                             {kV, SequenceOf(v, b, p.v)},
                             {kO, SequenceOf(o, b, p.o)},
                             {kLse, lse + b * p.heads * p.seq},
                             {kDout, SequenceOf(dout, b, p.dout)},
                             {kDq, SequenceOf(dq, b, p.dq)},
                             {kDk, SequenceOf(dk, b, p.dk)},
                             {kDv, SequenceOf(dv, b, p.dv)},
                             {kRowDot, row_dot},
                             {impl_->deterministic ? kNone : kDqFloat, dq_float},
                             {kScale, &impl_->scale},
                             {kMasked, &impl_->masked},
                             {kOne, &impl_->one}},
                            rest);
    if (!ok) return false;
  }
  return true;
}

std::string CudnnAttention::engine() const {
  std::string text = "cudnn " + std::to_string(cudnnGetVersion()) + " fwd " + impl_->forward.engine;
  if (impl_->training) {
    text += " bwd " + impl_->backward.engine + (impl_->deterministic ? "" : " nondeterministic") +
            " chunk " + std::to_string(impl_->chunk);
  }
  return text;
}

int64_t CudnnAttention::backward_chunk() const { return impl_->chunk; }

}  // namespace worker
