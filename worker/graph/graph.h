// Graph: a model, its loss and its backward pass as a static list of ops over symbolic tensors.
// Everything else follows from it: parameters, exact FLOPs, the memory plan, execution. Built once
// per program; not thread-safe while built, immutable after.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace worker {

class Op;

using TensorId = int;
inline constexpr TensorId kNoTensor = -1;

// What the elements are. kReal: compute precision (f32 on CPU, bf16 on CUDA, f64 in the checker).
// kAccum: reductions, statistics, losses (f32, f64 in the checker). kInt: int32 token ids.
enum class Element { kReal, kAccum, kInt };

// Where the bytes live and how long.
enum class Storage {
  kActivation,  // in the program's arena, between first and last use
  kInput,       // filled by the caller before a run
  kOutput,      // read by the caller after a run
  kConst,       // filled once when the program is made (rotary tables)
  kParam,       // block of the parameter store
  kGrad,        // gradient of that block; ops add to it, the optimiser reads it and sets it to zero
  kMoment1,     // first and second moment of that block
  kMoment2,
};

using Dims = std::vector<int64_t>;
int64_t NumElements(const Dims& dims);

struct Tensor {
  std::string name;
  Dims dims;
  Element element = Element::kReal;
  Storage storage = Storage::kActivation;
  int block = -1;                // kParam, kGrad, kMoment*: index of the storage block
  std::vector<double> constant;  // kConst: the values
  // Of a view: the tensor whose memory it shares, where it begins there, and how far its rows lie
  // apart, in elements.
  int view_of = -1;
  int64_t view_offset = 0, view_row = 0;
};

struct Node {
  Node(std::unique_ptr<const Op> op, std::vector<TensorId> inputs, std::vector<TensorId> outputs);
  ~Node();
  Node(Node&&) noexcept;
  std::unique_ptr<const Op> op;
  // An optional input or output that is absent is kNoTensor.
  std::vector<TensorId> inputs, outputs;
};

class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;

  TensorId Add(Tensor tensor);
  // Appends an op. Outputs must have been added before; the caller owns the shapes.
  void Apply(std::unique_ptr<const Op> op, std::vector<TensorId> inputs,
             std::vector<TensorId> outputs);

  // The activation of these dims, in compute precision.
  TensorId Activation(std::string name, Dims dims, Element element = Element::kReal);
  // Columns of `of` (B, T, row) as a tensor (B, T, ...) of its own that shares its memory. Only ops
  // whose headers say so read or write views.
  TensorId View(std::string name, TensorId of, Dims dims, int64_t offset);
  // Elements from one position (b, t) of a tensor (B, T, ...) to the next.
  int64_t RowElements(TensorId id) const;

  // The gradient buffer of a parameter block, and its moments; shared by all who ask.
  TensorId GradOf(TensorId param) { return Companion(param, Storage::kGrad); }
  TensorId MomentOf(TensorId param, int order) {
    return Companion(param, order == 1 ? Storage::kMoment1 : Storage::kMoment2);
  }

  // For passes over the whole list: takes all nodes out; AppendNode puts them back, in their order,
  // others between them.
  std::vector<Node> TakeNodes();
  void AppendNode(Node node);

  const Tensor& tensor(TensorId id) const { return tensors_[id]; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const std::vector<Node>& nodes() const { return nodes_; }

  // FLOPs of matrix products, forward nodes only (those before `first_backward`), causal half of
  // attention.
  double MatmulFlops(size_t first_node = 0, size_t end_node = SIZE_MAX) const;

 private:
  TensorId Companion(TensorId param, Storage storage);

  std::vector<Tensor> tensors_;
  std::vector<Node> nodes_;
};

}  // namespace worker
