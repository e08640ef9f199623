// delphi: the published Delphi scaling recipe, exact to the last digit: AdamH, WSD, Qwen3 shapes,
// hyper-parameters transferred by batch and duration alone (Complete(d)P's square roots, with the
// learning rate's token exponent lowered to 0.3). Source: reference Delphi recipe, sections 1-7.
// Compiled without fused multiply-add; the order of every expression is part of the recipe.
#pragma once

#include "recipes/recipe.h"

namespace recipes {

class Delphi : public Recipe {
 public:
  std::string Name() const override { return "delphi"; }
  std::string Version() const override { return "v6"; }
  std::string Summary() const override;
  std::vector<Constant> Constants() const override;
  int64_t DefaultVocab() const override { return 128256; }
  int64_t DefaultSeqLen() const override { return 4096; }

  absl::StatusOr<CandidateList> Candidates(const Budget& budget,
                                           const Setting& setting) const override;
  absl::StatusOr<Plan> MakePlan(const Candidate& candidate, const Setting& setting,
                                std::optional<int64_t> batch_override) const override;
  absl::StatusOr<double> ForwardFlopsPerToken(const ModelSpec& model,
                                              int64_t seq_len) const override;
  // The official allocation fit of the published sweep (C4 bits per byte), for every setting.
  absl::StatusOr<double> PriorOptimalTokens(double flops, const Setting& setting) const override;
};

// Largest params_no_qk_norm the recipe considers at a budget: 12e9 up to 3e20, then with the square
// root, at most 1e12.
double DelphiParamCap(double flops);

}  // namespace recipes
