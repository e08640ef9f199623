#include "recipes/grid.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "recipes/rules.h"

namespace recipes {
namespace {

constexpr int64_t kMaxWidth = 8192;

int64_t WidthStep(int64_t width) {
  if (width < 32) return 4;
  if (width < 64) return 8;
  if (width < 256) return 16;
  return width < 512 ? 32 : 128;
}

int64_t HeadDim(int64_t width) {
  if (width < 64) return width;
  if (width < 256) return 32;
  return width < 512 ? 64 : 128;
}

struct Spending {
  double tokens = 0;  // exact
  int64_t batch = 0, steps = 0;
  std::vector<std::string> clamps;
  std::string rejection;  // empty: a candidate
};

Spending Spend(const ConstantSet& k, const GridWidth& width, double flops, const Setting& setting,
               const BatchLimit& limit) {
  const TransformerShape& shape = width.shape;
  Spending s;
  if (width.dropped) {
    s.rejection = fmt::format("its depth would be {:.3f}, further than {:g} % from {} layers",
                              width.real_depth, 100 * k["depth_tolerance"], shape.layers);
    return s;
  }
  const double forward = DelphiForwardFlops(shape);
  const double params = static_cast<double>(CountParams(shape).Total());
  s.tokens = flops / (3 * forward);
  const double ratio = s.tokens / params;
  if (ratio > k["max_tokens_per_param"] || ratio < k["min_tokens_per_param"]) {
    s.rejection = fmt::format("{:.4g} tokens a param, outside {:g} to {:g}", ratio,
                              k["min_tokens_per_param"], k["max_tokens_per_param"]);
    return s;
  }
  const int64_t min_batch = std::max<int64_t>(1, k.Int("min_batch"));
  const double wanted = s.tokens / (k["nominal_steps"] * static_cast<double>(setting.seq_len));
  s.batch = PowerOfTwoAtLeast(wanted);
  if (wanted <= 0.5 * static_cast<double>(min_batch)) s.clamps.push_back("batch_min");
  if (s.batch > k.Int("max_batch")) {
    s.batch = PowerOfTwoAtLeast(k["max_batch"]);
    s.clamps.push_back("batch_max");
  }
  s.batch = std::max(s.batch, min_batch);
  std::string clamp;  // the last one is the one that bit
  while (limit != nullptr && s.batch > min_batch) {
    const std::string forbidden = limit(s.batch, s.tokens);
    if (forbidden.empty()) break;
    clamp = forbidden;
    s.batch /= 2;
  }
  if (!clamp.empty() && (s.clamps.empty() || s.clamps.back() != clamp)) s.clamps.push_back(clamp);
  s.steps = RoundHalfEven(s.tokens / static_cast<double>(setting.seq_len * s.batch));
  if (static_cast<double>(s.steps) < k["min_steps"]) {
    s.rejection = fmt::format("{} steps of {} sequences of {} tokens, fewer than {:g}", s.steps,
                              s.batch, setting.seq_len, k["min_steps"]);
    return s;
  }
  const double head = 2 * static_cast<double>(shape.hidden * shape.vocab) / forward;
  if (head > k["max_head_share"]) s.clamps.push_back("head_share");
  return s;
}

int64_t CountCandidates(const ConstantSet& k, double flops, const Setting& setting,
                        const BatchLimit& limit) {
  int64_t count = 0;
  for (const GridWidth& width : GridWidths(k, setting))
    count += Spend(k, width, flops, setting, limit).rejection.empty();
  return count;
}

// The nearest settings and budgets with enough candidates, as the end of a sentence.
std::string WhatWouldFit(const ConstantSet& k, double flops, const Setting& setting,
                         const BatchLimit& limit) {
  const int64_t wanted = k.Int("min_candidates");
  std::vector<std::string> ways;
  // The least change first: halve the sequence, then the vocabulary, then both, further and
  // further.
  for (int halvings = 1; halvings <= 12 && ways.empty(); ++halvings) {
    for (int of_vocab = 0; of_vocab <= halvings; ++of_vocab) {
      Setting smaller = setting;
      smaller.vocab = std::max<int64_t>(257, setting.vocab >> of_vocab);
      smaller.seq_len = std::max<int64_t>(64, setting.seq_len >> (halvings - of_vocab));
      if (smaller.vocab > setting.vocab || smaller.seq_len > setting.seq_len) continue;
      if (CountCandidates(k, flops, smaller, limit) < wanted) continue;
      ways.push_back(fmt::format("vocabulary {} with seq_len {}", smaller.vocab, smaller.seq_len));
      break;
    }
  }
  for (const double factor : {std::pow(10.0, 0.125), std::pow(10.0, -0.125)}) {
    for (double other = flops * factor; other >= k["min_budget"] && other <= k["max_budget"];
         other *= factor) {
      if (CountCandidates(k, other, setting, limit) < wanted) continue;
      ways.push_back(fmt::format("a budget of {}", core::FormatFlops(other)));
      break;
    }
  }
  if (ways.empty()) return "no vocabulary, sequence length or budget of this recipe would";
  std::string text = ways[0];
  for (size_t i = 1; i < ways.size(); ++i) text += ", or " + ways[i];
  return text + " would";
}

}  // namespace

std::vector<Constant> GridConstants() {
  return {
      {"min_budget", 1e11, "training FLOPs the recipe is meant for, from"},
      {"max_budget", 1e18, "to; delphi begins above"},
      {"min_width", 8, "the smallest width; gives 1e11 its left flank at vocabulary 512"},
      {"depth_aspect_min", 40,
       "width per layer up to width 160; below 80 the two-layer floor holds"},
      {"depth_offset", -100, "width per layer above, with depth_slope * log2(width)"},
      {"depth_slope", 19, "reaches Delphi's aspect of 90 at width 1024"},
      {"min_layers", 2, "induction needs two"},
      {"depth_tolerance", 0.1, "of the layers; a larger mismatch is scatter, not signal"},
      {"nominal_steps", 2048, "batch = tokens / (nominal_steps * seq_len), up to a power of two"},
      {"min_batch", 1, "sequences"},
      {"max_batch", 8192, "sequences"},
      {"min_steps", 1000, "fewer do not fill a warm-up, plateau and decay"},
      {"min_tokens_per_param", 1, "a shape below is dropped"},
      {"max_tokens_per_param", 250, "a shape above is dropped, as in delphi"},
      {"max_head_share", 0.4, "of the forward FLOPs; above, a point is flagged"},
      {"min_candidates", 5, "a parabola needs three and two to doubt it"},
      {"prior_tokens_per_param", 20, "Chinchilla's ratio: where an unmeasured sweep is centred"},
  };
}

std::vector<GridWidth> GridWidths(const ConstantSet& k, const Setting& setting) {
  std::vector<GridWidth> widths;
  const int64_t first = std::max<int64_t>(4, k.Int("min_width"));
  for (int64_t hidden = first; hidden <= kMaxWidth; hidden += WidthStep(hidden)) {
    GridWidth width;
    const double h = static_cast<double>(hidden);
    width.real_depth =
        h / std::max(k["depth_aspect_min"], k["depth_offset"] + k["depth_slope"] * std::log2(h));
    TransformerShape& shape = width.shape;
    shape.hidden = hidden;
    shape.layers = std::max(k.Int("min_layers"), RoundHalfEven(width.real_depth));
    shape.head_dim = HeadDim(hidden);
    shape.heads = shape.kv_heads =
        std::max<int64_t>(1, RoundHalfEven(h / static_cast<double>(shape.head_dim)));
    shape.ffn = 4 * hidden;
    shape.vocab = setting.vocab;
    shape.seq_len = setting.seq_len;
    const double layers = static_cast<double>(shape.layers);
    width.dropped = width.real_depth >= k["min_layers"] &&
                    std::fabs(width.real_depth - layers) > k["depth_tolerance"] * layers;
    widths.push_back(width);
  }
  return widths;
}

absl::StatusOr<CandidateList> GridCandidates(
    const Recipe& recipe, const ConstantSet& k, const Budget& budget, const Setting& setting,
    const std::function<TransformerOptions(const TransformerShape&)>& options,
    const BatchLimit& limit) {
  RETURN_IF_ERROR(CheckTrainingFlops(budget, recipe.Name()));
  if (budget.amount < k["min_budget"] || budget.amount > k["max_budget"]) {
    return absl::InvalidArgumentError(
        fmt::format("recipe {} is made for {} to {} training FLOPs, not {}", recipe.Name(),
                    core::FormatFlops(k["min_budget"]), core::FormatFlops(k["max_budget"]),
                    core::FormatFlops(budget.amount)));
  }
  CandidateList list;
  for (const GridWidth& width : GridWidths(k, setting)) {
    Spending spending = Spend(k, width, budget.amount, setting, limit);
    if (!spending.rejection.empty()) {
      list.rejections.push_back({width.shape.hidden, std::move(spending.rejection)});
      continue;
    }
    const ParamCounts counts = CountParams(width.shape);
    Candidate c;
    c.budget = budget;
    c.hidden = width.shape.hidden;
    c.model = MakeTransformerSpec(width.shape, options(width.shape));
    c.params = counts.Total();
    c.params_no_qk_norm = counts.WithoutQkNorm();
    c.params_no_embedding = counts.WithoutEmbedding();
    c.tokens_exact = spending.tokens;
    c.batch = spending.batch;
    c.steps = spending.steps;
    c.tokens = setting.seq_len * spending.batch * spending.steps;
    c.clamps = std::move(spending.clamps);
    list.candidates.push_back(std::move(c));
  }
  if (list.candidates.size() < static_cast<size_t>(k.Int("min_candidates"))) {
    return absl::InvalidArgumentError(fmt::format(
        "recipe {} has {} candidates at {} FLOPs with vocabulary {} and seq_len {}, and "
        "a parabola needs {}; {} allow it",
        recipe.Name(), list.candidates.size(), core::FormatFlops(budget.amount), setting.vocab,
        setting.seq_len, k.Int("min_candidates"), WhatWouldFit(k, budget.amount, setting, limit)));
  }
  return list;
}

double GridPriorTokens(const ConstantSet& k, double flops, const Setting& setting) {
  const double target = std::log(k["prior_tokens_per_param"]);
  double last_ratio = 0, last_tokens = 0;
  bool first = true;
  for (const GridWidth& width : GridWidths(k, setting)) {
    if (width.dropped) continue;
    const double tokens = flops / (3 * DelphiForwardFlops(width.shape));
    const double ratio = std::log(tokens / static_cast<double>(CountParams(width.shape).Total()));
    if (ratio <= target) {
      if (first) return tokens;
      const double share = (last_ratio - target) / (last_ratio - ratio);
      return std::exp(std::log(last_tokens) + share * (std::log(tokens) - std::log(last_tokens)));
    }
    first = false;
    last_ratio = ratio;
    last_tokens = tokens;
  }
  return last_tokens;
}

}  // namespace recipes
