// Runs one graph on the GPU and in f64 on the CPU with the same bf16-rounded inputs, and compares
// every output and gradient.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/rng.h"
#include "worker/graph/op.h"
#include "worker/runtime/cpu/cpu_program.h"
#include "worker/runtime/cuda/cuda_program.h"

namespace worker {

// Round to nearest even, as the device does.
inline float RoundBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&x, &bits, 4);
  return x;
}

struct Difference {
  double frobenius = 0, cosine = 1;  // |got - want| / |want|
};
template <typename Want>
Difference Compare(const std::vector<float>& got, const Want* want) {
  double dd = 0, ww = 0, gg = 0, gw = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = got[i], w = want[i];
    dd += (g - w) * (g - w);
    ww += w * w;
    gg += g * g;
    gw += g * w;
  }
  if (ww == 0) return {gg == 0 ? 0.0 : 1e9, gg == 0 ? 1.0 : 0.0};
  return {std::sqrt(dd / ww), gw / std::sqrt(ww * gg)};
}

class Parity {
 public:
  explicit Parity(uint64_t seed = 7) : rng_(seed) {}

  TensorId Input(const std::string& name, Dims dims, double scale = 1,
                 Element element = Element::kReal) {
    const TensorId id =
        graph.Add({.name = name, .dims = dims, .element = element, .storage = Storage::kInput});
    std::vector<float> v(NumElements(dims));
    for (float& x : v) {
      x = static_cast<float>(scale * rng_.Normal());
      if (element == Element::kReal) x = RoundBf16(x);
    }
    values_[id] = v;
    return id;
  }
  // Positive f32 values near one, as rstd is.
  TensorId Positive(const std::string& name, Dims dims) {
    const TensorId id = Input(name, dims, 0.1, Element::kAccum);
    for (float& x : values_[id]) x = 1 + std::abs(x);
    return id;
  }
  TensorId Ints(const std::string& name, Dims dims, int64_t below, double negative_share = 0) {
    const TensorId id = graph.Add(
        {.name = name, .dims = dims, .element = Element::kInt, .storage = Storage::kInput});
    std::vector<int32_t> v(NumElements(dims));
    for (int32_t& x : v)
      x = rng_.Uniform() < negative_share ? -1 : static_cast<int32_t>(rng_.Below(below));
    ints_[id] = v;
    return id;
  }
  TensorId Param(const std::string& name, int64_t rows, int64_t cols, double scale,
                 double mean = 0) {
    const int block =
        layout.Declare(name, {{.name = name, .role = "x", .rows = rows, .cols = cols}});
    const TensorId id = graph.Add({.name = name,
                                   .dims = cols == 1 ? Dims{rows} : Dims{rows, cols},
                                   .storage = Storage::kParam,
                                   .block = block});
    std::vector<float> v(rows * cols);
    // Rounded, so that the bf16 copy is the master.
    for (float& x : v) x = RoundBf16(static_cast<float>(mean + scale * rng_.Normal()));
    param_values_.push_back(v);
    return id;
  }
  TensorId Const(const std::string& name, Dims dims) {
    Tensor t{.name = name, .dims = dims, .storage = Storage::kConst};
    for (int64_t i = 0; i < NumElements(dims); ++i)
      t.constant.push_back(static_cast<float>(rng_.Normal()));
    return graph.Add(std::move(t));
  }
  TensorId Output(const std::string& name, Dims dims, Element element = Element::kReal) {
    const TensorId id =
        graph.Add({.name = name, .dims = dims, .element = element, .storage = Storage::kOutput});
    outputs_.push_back(id);
    return id;
  }

  // Of every `row` elements of an output only [begin, end) are written.
  void OnlyColumns(TensorId id, int64_t row, int64_t begin, int64_t end) {
    columns_[id] = {row, begin, end};
  }

  // Fails where an output or a gradient is off, or a second run differs from the first in one bit.
  // `accumulate`: the step is run twice, the second time adding to the gradients.
  void Check(double frobenius = 1e-2, double cosine = 0.999) {
    std::string error;
    auto context = CudaContext::Create(0, &error);
    ASSERT_NE(context, nullptr) << error;
    CpuRuntime runtime(8);
    CpuParameters<double> host(layout);
    CpuParameters<float> narrow(layout);
    for (size_t b = 0; b < param_values_.size(); ++b) {
      std::copy(param_values_[b].begin(), param_values_[b].end(), host.param[b].data());
      std::copy(param_values_[b].begin(), param_values_[b].end(), narrow.param[b].data());
    }
    auto device_parameters = CudaParameters::Create(layout, context.get());
    ASSERT_NE(device_parameters, nullptr);
    device_parameters->Upload(narrow, *context);
    CpuProgram<double> reference(&graph, &host, &runtime);
    auto program = CudaProgram::Create(&graph, device_parameters.get(), context.get());
    ASSERT_NE(program, nullptr);
    for (const auto& [id, v] : values_) {
      std::copy(v.begin(), v.end(), reference.Real(id));
      program->Upload(id, v.data());
    }
    for (const auto& [id, v] : ints_) {
      std::copy(v.begin(), v.end(), reference.Int(id));
      program->Upload(id, v.data());
    }
    reference.Run();
    std::map<std::string, std::vector<float>> first;
    for (int run = 0; run < 3; ++run) {
      for (TensorId id : outputs_) {  // poison: every element must be written
        const std::vector<float> poison(NumElements(graph.tensor(id).dims), NAN);
        program->Upload(id, poison.data());
      }
      program->Run(run == 2);
      std::map<std::string, std::vector<float>> got;
      for (TensorId id : outputs_) {
        got[graph.tensor(id).name] = WrittenOnDevice(id, *program);
        if (run > 0) continue;
        const Difference d =
            Compare(got[graph.tensor(id).name],
                    Written(id, reference.Real(id), NumElements(graph.tensor(id).dims)).data());
        EXPECT_LT(d.frobenius, frobenius) << graph.tensor(id).name;
        EXPECT_GT(d.cosine, cosine) << graph.tensor(id).name;
        std::printf("    %-16s frobenius %.2e  1-cosine %.1e\n", graph.tensor(id).name.c_str(),
                    d.frobenius, 1 - d.cosine);
      }
      device_parameters->Download(narrow, *context);
      std::set<int> written;
      for (const Tensor& t : graph.tensors()) {
        if (t.storage == Storage::kGrad) written.insert(t.block);
      }
      for (int b : written) {
        const auto& name = layout.blocks()[b].name;
        std::vector<float> grad(narrow.grad[b].data(),
                                narrow.grad[b].data() + narrow.grad[b].size());
        if (run == 2) {  // accumulated: twice the gradient
          for (float& x : grad) x /= 2;
        }
        const Difference d = Compare(grad, host.grad[b].data());
        EXPECT_LT(d.frobenius, frobenius) << "gradient of " << name << " run " << run;
        EXPECT_GT(d.cosine, cosine) << "gradient of " << name << " run " << run;
        if (run == 0)
          std::printf("    d.%-14s frobenius %.2e  1-cosine %.1e\n", name.c_str(), d.frobenius,
                      1 - d.cosine);
        if (run < 2) got["grad." + name] = grad;
      }
      if (run == 0) first = got;
      if (run == 1) {
        EXPECT_TRUE(first == got) << "a second run gives other bits";
      }
    }
    CheckSeats(narrow, first);
  }

  Graph graph;
  Parameters layout;

 private:
  // The graph at seats 1 and 2, while seat 0 has zeros in all inputs and weights: the bits must be
  // `alone`'s, so no seat reads or writes another's.
  void CheckSeats(CpuParameters<float>& host,
                  const std::map<std::string, std::vector<float>>& alone) {
    constexpr int kSeats = 3;
    std::string error;
    auto context = CudaContext::Create(0, &error, kSeats, int64_t{4} << 30);
    ASSERT_NE(context, nullptr) << error;
    auto parameters = CudaParameters::Create(layout, context.get());
    ASSERT_NE(parameters, nullptr);
    parameters->Upload(host, *context);
    auto program = CudaProgram::Create(&graph, parameters.get(), context.get());
    ASSERT_NE(program, nullptr);
    for (const auto& [id, v] : values_) program->Upload(id, v.data());
    for (const auto& [id, v] : ints_) program->Upload(id, v.data());
    program->Run(false);  // everything is allocated
    for (int seat = 1; seat < kSeats; ++seat) ASSERT_TRUE(context->OpenSeat(seat));
    for (const auto& [id, v] : values_)
      program->Upload(id, std::vector<float>(v.size(), 0.0f).data());
    for (const auto& [id, v] : ints_) program->Upload(id, std::vector<int32_t>(v.size(), 0).data());
    const CpuParameters<float> zeros(layout);
    parameters->Upload(zeros, *context);
    for (int seat = 0; seat < kSeats; ++seat) {
      context->UseSeats(seat, 1);
      parameters->UploadGradients(zeros, *context);
      for (TensorId id : outputs_) {
        const std::vector<float> poison(NumElements(graph.tensor(id).dims), NAN);
        program->Upload(id, poison.data());
      }
    }
    context->UseSeats(0, kSeats);
    program->Run(false);
    for (int seat = 1; seat < kSeats; ++seat) {
      context->UseSeats(seat, 1);
      parameters->Download(host, *context);
      for (const auto& [name, want] : alone) {
        if (name.rfind("grad.", 0) == 0) {
          for (size_t b = 0; b < layout.blocks().size(); ++b) {
            if ("grad." + layout.blocks()[b].name != name) continue;
            const std::vector<float> got(host.grad[b].data(),
                                         host.grad[b].data() + host.grad[b].size());
            EXPECT_TRUE(got == want) << name << " at seat " << seat;
          }
          continue;
        }
        for (TensorId id : outputs_) {
          if (graph.tensor(id).name != name) continue;
          EXPECT_TRUE(WrittenOnDevice(id, *program) == want) << name << " at seat " << seat;
        }
      }
    }
  }

  struct Columns {
    int64_t row, begin, end;
  };
  template <typename T>
  std::vector<T> Written(TensorId id, const T* values, int64_t n) const {
    const auto it = columns_.find(id);
    if (it == columns_.end()) return std::vector<T>(values, values + n);
    std::vector<T> out;
    for (int64_t i = 0; i < n; i += it->second.row)
      out.insert(out.end(), values + i + it->second.begin, values + i + it->second.end);
    return out;
  }
  std::vector<float> WrittenOnDevice(TensorId id, CudaProgram& program) const {
    const std::vector<float> all = program.Download(id);
    return Written(id, all.data(), static_cast<int64_t>(all.size()));
  }

  core::Rng rng_;
  std::map<TensorId, Columns> columns_;
  std::map<TensorId, std::vector<float>> values_;
  std::map<TensorId, std::vector<int32_t>> ints_;
  std::vector<std::vector<float>> param_values_;
  std::vector<TensorId> outputs_;
};

}  // namespace worker
