#include "worker/trainer/init.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/hash.h"
#include "core/rng.h"
#include "fmt/format.h"

namespace worker {
namespace {

// Draws that a thread makes at a time.
constexpr int64_t kStretch = 1 << 16;

struct TruncatedNormal {
  uint64_t seed, stream;
  double scale, truncation;
};

// The values that draws [first, first + count) leave, in order. A draw is one block of the
// generator, so any stretch of draws can be made without those before it.
template <typename T>
void Draw(const TruncatedNormal& d, int64_t first, int64_t count, std::vector<T>* out) {
  core::Rng rng(d.seed, d.stream, first);
  out->clear();
  for (int64_t i = 0; i < count; ++i) {
    const double z = rng.Normal();
    if (std::fabs(z) <= d.truncation) out->push_back(static_cast<T>(z * d.scale));
  }
}

template <typename T>
void Fill(const TruncatedNormal& d, int threads, T* out, int64_t n) {
  int64_t filled = 0, draw = 0;
  std::vector<std::vector<T>> stretches(4 * std::max(1, threads));
  while (filled < n) {
    const int64_t length = std::min(kStretch, n - filled);
    const int64_t wanted = std::min<int64_t>((n - filled + length - 1) / length, stretches.size());
    const int64_t workers = std::min<int64_t>(threads, wanted);
    auto work = [&](int64_t worker) {
      for (int64_t s = worker; s < wanted; s += workers)
        Draw(d, draw + s * length, length, &stretches[s]);
    };
    std::vector<std::thread> pool;
    for (int64_t w = 1; w < workers; ++w) pool.emplace_back(work, w);
    work(0);
    for (std::thread& thread : pool) thread.join();
    for (int64_t s = 0; s < wanted; ++s) {
      const int64_t take = std::min<int64_t>(stretches[s].size(), n - filled);
      std::copy_n(stretches[s].begin(), take, out + filled);
      filled += take;
    }
    draw += wanted * length;
  }
}

}  // namespace

template <typename T>
absl::Status InitialValues(const recipes::Plan& plan, const ParameterView& view, int threads,
                           T* out) {
  const recipes::InitRule* rule = nullptr;
  for (const recipes::InitRule& candidate : plan.init) {
    if (candidate.role == view.role) rule = &candidate;
  }
  if (rule == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("no init rule for role '{}' of parameter '{}'", view.role, view.name));
  }
  if (rule->distribution == "constant") {
    std::fill_n(out, view.elements(), static_cast<T>(rule->std));
    return absl::OkStatus();
  }
  if (rule->distribution != "truncated_normal") {
    return absl::InvalidArgumentError(
        fmt::format("unknown init distribution '{}'", rule->distribution));
  }
  const double fan_in = std::pow(static_cast<double>(view.cols), rule->fan_in_power);
  const uint64_t stream =
      std::strtoull(core::Sha256Hex(view.name).substr(0, 16).c_str(), nullptr, 16);
  Fill({plan.init_seed, stream, rule->std * fan_in, rule->truncation}, threads, out,
       view.elements());
  return absl::OkStatus();
}

template absl::Status InitialValues(const recipes::Plan&, const ParameterView&, int, float*);
template absl::Status InitialValues(const recipes::Plan&, const ParameterView&, int, double*);

}  // namespace worker
