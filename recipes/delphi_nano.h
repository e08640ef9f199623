// delphi-nano: Delphi's rules in Delphi's form for 1e11 to 1e18 FLOPs, with constants of its own
// (Delphi's 65,536 steps and batches of 8 leave no candidate below 1e18). The constants are one
// table, Constants(); Version() grows when one changes. Shapes: recipes/grid.h.
//
// What differs from delphi in form, and why:
// - batch counts in tokens, not sequences, in the transfer rules: the sequence length is a choice
//   of the sweep here, and the noise of a gradient depends on tokens;
// - 1 / (1 - beta2) is at most a tenth of the steps ("beta2_steps" when that bites): a window
// longer
//   than the run never forgets its first gradients;
// - no RoPE scaling: contexts are far below the 8,192 positions it stretches.
#pragma once

#include "recipes/recipe.h"

namespace recipes {

class DelphiNano : public Recipe {
 public:
  std::string Name() const override { return "delphi-nano"; }
  std::string Version() const override { return "v1"; }
  std::string Summary() const override;
  std::vector<Constant> Constants() const override;
  int64_t DefaultVocab() const override { return 1024; }
  int64_t DefaultSeqLen() const override { return 512; }

  absl::StatusOr<CandidateList> Candidates(const Budget& budget,
                                           const Setting& setting) const override;
  absl::StatusOr<Plan> MakePlan(const Candidate& candidate, const Setting& setting,
                                std::optional<int64_t> batch_override) const override;
  absl::StatusOr<double> ForwardFlopsPerToken(const ModelSpec& model,
                                              int64_t seq_len) const override;
  absl::StatusOr<double> PriorOptimalTokens(double flops, const Setting& setting) const override;
};

}  // namespace recipes
