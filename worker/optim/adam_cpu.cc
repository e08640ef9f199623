#include <algorithm>
#include <cmath>

#include "worker/optim/adam.h"

namespace worker {
namespace {

constexpr int64_t kPiece = 1 << 13;

}  // namespace

// One view's state; Direction(i) advances the moments, clears the gradient and returns u.
template <typename T>
struct AdamView {
  AdamView(const CpuExec<T>& exec, const AdamAttributes& a, const BlockRange& view)
      : grad(const_cast<T*>(exec.In(2 + view.block)) + view.offset),
        clip(exec.In(0)[1]),
        lr(exec.In(1)[1 + a.group]),
        p(exec.Out(3 * view.block) + view.offset),
        m(exec.Out(3 * view.block + 1) + view.offset),
        v(exec.Out(3 * view.block + 2) + view.offset),
        b1(static_cast<T>(a.beta1)),
        b2(static_cast<T>(a.beta2)),
        c1(static_cast<T>(1 - a.beta1)),
        c2(static_cast<T>(1 - a.beta2)),
        eps(static_cast<T>(a.epsilon)) {
    const double t = exec.In(1)[0];
    m_scale = static_cast<T>(1 / (1 - std::pow(a.beta1, t)));
    v_scale = static_cast<T>(1 / (1 - std::pow(a.beta2, t)));
  }
  T Direction(int64_t i) const {
    const T g = grad[i] * clip;
    grad[i] = 0;
    m[i] = b1 * m[i] + c1 * g;
    v[i] = b2 * v[i] + c2 * g * g;
    return m[i] * m_scale / (std::sqrt(v[i] * v_scale) + eps);
  }
  T* __restrict grad;
  T clip, lr;
  T* __restrict p;
  T* __restrict m;
  T* __restrict v;
  T b1, b2, c1, c2, eps, m_scale, v_scale;
};

template <typename T>
void AdamWOp::RunCpu(const CpuExec<T>& exec) const {
  const T decay = static_cast<T>(a_.weight_decay);
  for (const BlockRange& range : a_.views) {
    const AdamView<T> view(exec, a_, range);
    exec.rt.ParallelRange(range.count, kPiece, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const T u = view.Direction(i);
        view.p[i] -= view.lr * (u + decay * view.p[i]);
      }
    });
  }
}

template <typename T>
void AdamHView(const CpuExec<T>& exec, const AdamAttributes& a, const BlockRange& range) {
  const AdamView<T> view(exec, a, range);
  const int64_t pieces = (range.count + kPiece - 1) / kPiece;
  T* u = exec.rt.template Scratch<T>(0, 4, range.count);
  double* partial = exec.rt.template Scratch<double>(0, 5, 2 * pieces);
  exec.rt.ParallelFor(pieces, [&](int64_t piece, int) {
    double uu = 0, pp = 0;
    for (int64_t i = piece * kPiece; i < std::min(range.count, (piece + 1) * kPiece); ++i) {
      u[i] = view.Direction(i);
      uu += static_cast<double>(u[i]) * u[i];
      pp += static_cast<double>(view.p[i]) * view.p[i];
    }
    partial[2 * piece] = uu;
    partial[2 * piece + 1] = pp;
  });
  double uu = 0, pp = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    uu += partial[2 * piece];
    pp += partial[2 * piece + 1];
  }
  const double radius = std::sqrt(pp);
  const T step =
      static_cast<T>(static_cast<double>(view.lr) * radius / std::max(std::sqrt(uu), 1e-10));
  exec.rt.ParallelFor(pieces, [&](int64_t piece, int) {
    double qq = 0;
    for (int64_t i = piece * kPiece; i < std::min(range.count, (piece + 1) * kPiece); ++i) {
      view.p[i] -= step * u[i];
      qq += static_cast<double>(view.p[i]) * view.p[i];
    }
    partial[piece] = qq;
  });
  double qq = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) qq += partial[piece];
  const T rescale = static_cast<T>(qq > 0 ? radius / std::sqrt(qq) : 1.0);
  exec.rt.ParallelRange(range.count, kPiece, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) view.p[i] *= rescale;
  });
}

template <typename T>
void AdamHOp::RunCpu(const CpuExec<T>& exec) const {
  for (const BlockRange& range : a_.views) AdamHView(exec, a_, range);
}

template void AdamWOp::RunCpu(const CpuExec<float>&) const;
template void AdamWOp::RunCpu(const CpuExec<double>&) const;
template void AdamHOp::RunCpu(const CpuExec<float>&) const;
template void AdamHOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
