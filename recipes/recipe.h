// Recipe: a named, versioned, frozen set of rules that answers which shapes exist, which of them
// spend a budget, and every hyper-parameter of each. Pure arithmetic: no I/O, no clock, no
// randomness; thread-safe. A new recipe is one file that implements this interface and one line in
// registry.cc.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/plan.h"

namespace recipes {

// What a sweep fixes for all its trials. 0 means the recipe's own default (delphi: vocabulary
// 128256, sequence 4096).
struct Setting {
  int64_t vocab = 0;
  int64_t seq_len = 0;
  uint64_t init_seed = 0, data_seed = 0;
  DataSpec data;
  std::string numerics;  // as Plan::numerics; empty: the recipe's default
  // Overrides of the recipe's frozen constants by name, for tuning sweeps only; the plan's
  // recipe_version then carries "+" and a hash of them, so such a trial is never in the cohort of
  // the frozen recipe. An override equal to the frozen value is no override.
  std::map<std::string, double> constants;
};

// A shape and token count that spends the budget.
struct Candidate {
  Budget budget;
  int64_t hidden = 0;  // the one dial; everything else of the shape follows
  ModelSpec model;
  int64_t params = 0;  // as Plan::params
  int64_t params_no_qk_norm = 0;
  int64_t params_no_embedding = 0;
  double tokens_exact = 0;  // budget / (3 F)
  int64_t batch = 0, steps = 0;
  int64_t tokens = 0;  // seq_len * batch * steps
  std::vector<std::string> clamps;
};

// A shape the budget cannot use, and why, in words a user can act on.
struct Rejection {
  int64_t hidden = 0;
  std::string reason;
};

struct CandidateList {
  std::vector<Candidate> candidates;  // by rising hidden
  std::vector<Rejection> rejections;
};

// Every constant of a recipe as data, with its source, for `sweepctl recipe show`. A recipe is
// frozen: changing a value means a new Version().
struct Constant {
  std::string name;
  double value = 0;
  std::string source;
};

class Recipe {
 public:
  virtual ~Recipe() = default;
  virtual std::string Name() const = 0;
  virtual std::string Version() const = 0;
  virtual std::string Summary() const = 0;  // one line
  virtual std::vector<Constant> Constants() const = 0;
  virtual int64_t DefaultVocab() const = 0;
  virtual int64_t DefaultSeqLen() const = 0;

  // All shapes that can spend the budget. INVALID_ARGUMENT when the budget is not positive, of the
  // wrong kind, or when fewer candidates exist than the recipe demands (the message names what
  // would fit).
  virtual absl::StatusOr<CandidateList> Candidates(const Budget& budget,
                                                   const Setting& setting) const = 0;

  // Every hyper-parameter. REQUIRES: `candidate` came from Candidates() with the same setting.
  // INVALID_ARGUMENT for an override that is not positive or leaves no step. `batch_override`
  // (sequences) replaces the rule's batch, as the held-out Delphi runs did; steps, tokens and
  // hyper-parameters then follow from it and the rounded tokens.
  virtual absl::StatusOr<Plan> MakePlan(
      const Candidate& candidate, const Setting& setting,
      std::optional<int64_t> batch_override = std::nullopt) const = 0;

  // Forward FLOPs per token in the recipe's convention. INVALID_ARGUMENT for a model that is not of
  // the recipe's family.
  virtual absl::StatusOr<double> ForwardFlopsPerToken(const ModelSpec& model,
                                                      int64_t seq_len) const = 0;

  // Prior for the compute-optimal tokens at a budget; centres the budgets of a sweep that has
  // measured nothing yet. A prior, never evidence. INVALID_ARGUMENT as Candidates().
  virtual absl::StatusOr<double> PriorOptimalTokens(double flops, const Setting& setting) const = 0;
};

// The recipe of that name; NOT_FOUND with the list and "did you mean".
absl::StatusOr<const Recipe*> FindRecipe(const std::string& name);
std::vector<const Recipe*> AllRecipes();

// The candidate a run at this budget uses when the frontier says optimal_tokens: the smallest
// tokens at or above it, else the most tokens. Source: Delphi, reference section 9. REQUIRES:
// candidates not empty.
const Candidate& ChooseForTokens(const std::vector<Candidate>& candidates, double optimal_tokens);

}  // namespace recipes
