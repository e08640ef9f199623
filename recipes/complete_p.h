// complete-p: Complete(d)P with AdamW: every group's initial variance, learning rate, epsilon and
// weight decay is moved from one reference run by the width, depth, batch and duration multipliers
// m_N = H/H0, m_L = L/L0, m_B = (batch tokens)/B0, m_D = tokens/T0, with alpha = 1:
//
//   group            init var  lr                          epsilon                       decay
//   embedding        1         q                           m_N^-1 / q                    q
//   attention, mlp   m_N^-1    m_N^-1 m_L^(alpha-1) q      m_N^-1 m_L^-alpha / q         m_N q
//   norm             1         m_L^(alpha-1) q             m_N^-1 m_L^-alpha / q         q
//   qk_norm          1         m_L^(alpha-1) q             m_L^-alpha / q                q
//   final_norm       1         q                           1 / q                         q
//   head             m_N^-2    m_N^-1 q                    1 / q                         m_N q
//
// with q = sqrt(m_B / m_D); residual branches times m_L^-alpha; 1 - beta1 and 1 - beta2 times
// m_B / m_D; cosine schedule. Source: arXiv 2512.22382, Table 1, as restated in the reference
// Delphi recipe, section 5 (read second-hand there). The shape grid is recipes/grid.h; the
// reference point is this recipe's own and untuned.
#pragma once

#include "recipes/recipe.h"

namespace recipes {

class CompleteP : public Recipe {
 public:
  std::string Name() const override { return "complete-p"; }
  std::string Version() const override { return "v0"; }
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
