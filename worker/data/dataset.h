// Prepared data as a trial reads it: the training stream and the held-out windows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "worker/data/manifest.h"
#include "worker/data/order.h"
#include "worker/data/shard.h"

namespace worker {

// Immutable after Open; reading is thread-safe.
class Dataset {
 public:
  // Maps the shards, checks every file against the manifest, and the manifest against the plan.
  // FAILED_PRECONDITION names the first disagreement (tokenizer, source, held-out set, vocabulary);
  // DATA_LOSS a damaged or edited shard. `verify_hashes`: also read every byte once and compare its
  // SHA-256.
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const std::string& data_dir,
                                                       const recipes::Plan& plan,
                                                       bool verify_hashes);

  // tokens[0..T) and targets[0..T) of training sequence i: the window and the same window shifted
  // by one, the last target -1 (a window's first token is never a target).
  void TrainingSequence(int64_t i, int32_t* tokens, int32_t* targets) const;

  // Held-out windows of T tokens, the last may be shorter (padded, its missing targets -1).
  int64_t heldout_windows() const { return (heldout_.tokens() + seq_len_ - 1) / seq_len_; }
  void HeldoutWindow(int64_t w, int32_t* tokens, int32_t* targets) const;
  // Over all windows: scored targets and the UTF-8 bytes they spell.
  int64_t scored_tokens() const { return scored_tokens_; }
  int64_t scored_bytes() const { return scored_bytes_; }

 private:
  Dataset(Shard heldout) : heldout_(std::move(heldout)) {}
  struct Source {
    std::vector<Shard> shards;
    std::vector<int64_t> first_token;  // of each shard, in the source
  };
  int64_t seq_len_ = 0;
  std::vector<Source> sources_;
  Shard heldout_;
  std::optional<DataOrder> order_;
  int64_t scored_tokens_ = 0, scored_bytes_ = 0;
};

}  // namespace worker
