// The shape grid of the recipes for small budgets (delphi-nano, complete-p): which widths exist,
// how deep each is, which of them spend a budget, and what to change when too few do.
//
// Widths are multiples of 4 below 32, of 8 below 64, of 16 below 256, of 32 below 512, then of 128.
// A budget admits tokens per param from 1 to 250, which is a range of only about 3.5 in width, so a
// step must stay below a sixth of the width for a parabola to be sampled; hence the fine steps at
// the bottom.
// Heads: below width 64 one head as wide as the model; from 64 heads of 32, from 256 of 64, from
// 512 of 128, max(1, round-half-even(width / head_dim)) of them. heads * head_dim may differ from
// the width (80, 112, 144, ...); parameters and FLOPs are counted for what is built.
// Depth: r(H) = H / max(depth_aspect_min, depth_offset + depth_slope * log2 H), Delphi's form with
// a floor under the aspect ratio; L = round-half-even(r), at least 2. Where r >= 2 a width whose r
// is further than depth_tolerance * L from L is dropped, because a step in depth would show as
// scatter around the parabola. Where r < 2 the floor holds for every width, depth is constant, and
// nothing is dropped.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/constants.h"
#include "recipes/recipe.h"
#include "recipes/transformer_shape.h"

namespace recipes {

// The constants that the functions below read; a recipe appends them to its own table.
std::vector<Constant> GridConstants();

// The shape of every width, by rising width; `dropped` by the depth tolerance.
struct GridWidth {
  TransformerShape shape;
  double real_depth = 0;
  bool dropped = false;
};
std::vector<GridWidth> GridWidths(const ConstantSet& constants, const Setting& setting);

// What a recipe may do to the batch rule: given the batch (sequences) and the exact tokens, returns
// the name of the clamp that forbids this batch, or "" when it stands. The grid halves until it
// does.
using BatchLimit = std::function<std::string(int64_t batch, double tokens)>;

// Candidates of a budget, by rising width. `setting` resolved; `options` goes into every ModelSpec.
// INVALID_ARGUMENT when the budget is not training FLOPs within [min_budget, max_budget], or when
// fewer than min_candidates exist; the message then names the vocabulary and sequence, and the
// budget, that would allow it.
absl::StatusOr<CandidateList> GridCandidates(
    const Recipe& recipe, const ConstantSet& constants, const Budget& budget,
    const Setting& setting,
    const std::function<TransformerOptions(const TransformerShape&)>& options,
    const BatchLimit& limit);

// Tokens at which tokens per param equal prior_tokens_per_param on this grid, interpolated in
// logarithms between widths; the nearest end where the grid does not reach the ratio.
double GridPriorTokens(const ConstantSet& constants, double flops, const Setting& setting);

}  // namespace recipes
