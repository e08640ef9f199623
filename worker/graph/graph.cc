#include "worker/graph/graph.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "worker/graph/op.h"

namespace worker {

int64_t NumElements(const Dims& dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

Node::Node(std::unique_ptr<const Op> o, std::vector<TensorId> in, std::vector<TensorId> out)
    : op(std::move(o)), inputs(std::move(in)), outputs(std::move(out)) {}
Node::~Node() = default;
Node::Node(Node&&) noexcept = default;

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;

TensorId Graph::Add(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return static_cast<TensorId>(tensors_.size()) - 1;
}

TensorId Graph::Activation(std::string name, Dims dims, Element element) {
  return Add({.name = std::move(name), .dims = std::move(dims), .element = element});
}

TensorId Graph::View(std::string name, TensorId of, Dims dims, int64_t offset) {
  const Tensor& parent = tensors_[of];
  SWEEP_CHECK(parent.view_of == kNoTensor && parent.dims.size() == 3);
  return Add({.name = std::move(name),
              .dims = std::move(dims),
              .element = parent.element,
              .storage = parent.storage,
              .view_of = of,
              .view_offset = offset,
              .view_row = parent.dims[2]});
}

int64_t Graph::RowElements(TensorId id) const {
  const Tensor& t = tensors_[id];
  return t.view_of == kNoTensor ? NumElements(t.dims) / (t.dims[0] * t.dims[1]) : t.view_row;
}

TensorId Graph::Companion(TensorId param, Storage storage) {
  SWEEP_CHECK(tensors_[param].storage == Storage::kParam);
  const int block = tensors_[param].block;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].storage == storage && tensors_[i].block == block)
      return static_cast<TensorId>(i);
  }
  return Add({.name = (storage == Storage::kGrad ? "grad." : "moment.") + tensors_[param].name,
              .dims = tensors_[param].dims,
              .element = Element::kAccum,
              .storage = storage,
              .block = block});
}

void Graph::Apply(std::unique_ptr<const Op> op, std::vector<TensorId> inputs,
                  std::vector<TensorId> outputs) {
  for (TensorId id : inputs) SWEEP_CHECK(id < static_cast<TensorId>(tensors_.size()));
  for (TensorId id : outputs) SWEEP_CHECK(id < static_cast<TensorId>(tensors_.size()));
  nodes_.emplace_back(std::move(op), std::move(inputs), std::move(outputs));
}

std::vector<Node> Graph::TakeNodes() { return std::exchange(nodes_, {}); }
void Graph::AppendNode(Node node) { nodes_.push_back(std::move(node)); }

double Graph::MatmulFlops(size_t first_node, size_t end_node) const {
  double flops = 0;
  for (size_t i = first_node; i < std::min(end_node, nodes_.size()); ++i) {
    flops += nodes_[i].op->MatmulFlops(*this, nodes_[i]);
  }
  return flops;
}

void Op::Backward(Graph&, const Node&, std::span<const TensorId>, std::span<TensorId>) const {
  SWEEP_CHECK(false && "op has no gradient");
}

void Op::RunCuda(const CudaExec&) const { SWEEP_CHECK(false && "op has no CUDA twin"); }

}  // namespace worker
