#include "worker/data/dataset.h"

#include <algorithm>

#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {
namespace {

// Token ids must be in [0, vocab): an id outside would read beyond the embedding table.
absl::StatusOr<Shard> OpenChecked(const std::string& data_dir, const ShardEntry& entry,
                                  int64_t vocab, bool verify_hash) {
  const std::string path = data_dir + "/" + entry.path;
  ASSIGN_OR_RETURN(Shard shard, Shard::Open(path));
  if (shard.tokens() != entry.tokens) {
    return absl::DataLossError(
        fmt::format("shard '{}' holds {} tokens, its manifest says {}; prepare the data again",
                    path, shard.tokens(), entry.tokens));
  }
  if (verify_hash) {
    ASSIGN_OR_RETURN(const std::string hash, core::Sha256HexOfFile(path));
    if (hash != entry.sha256) {
      return absl::DataLossError(
          fmt::format("shard '{}' changed since it was prepared (SHA-256 {}..., manifest {}...); "
                      "prepare the data again",
                      path, hash.substr(0, 12), entry.sha256.substr(0, 12)));
    }
    for (int64_t i = 0; i < shard.tokens(); ++i) {
      if (shard.at(i) < 0 || shard.at(i) >= vocab) {
        return absl::DataLossError(
            fmt::format("shard '{}': token {} is {}, outside the vocabulary of {}; tokenizer and "
                        "shard disagree, prepare the data again",
                        path, i, shard.at(i), vocab));
      }
    }
  }
  return shard;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> Dataset::Open(const std::string& data_dir,
                                                       const recipes::Plan& plan,
                                                       bool verify_hashes) {
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(data_dir));
  auto mismatch = [&](std::string_view what, std::string_view ours, std::string_view plans) {
    return absl::FailedPreconditionError(fmt::format(
        "the data in '{}' is not what the plan was made for: {} is {}, the plan says {}", data_dir,
        what, ours, plans));
  };
  if (manifest.tokenizer.hash != plan.data.tokenizer_hash) {
    return mismatch("tokenizer", manifest.tokenizer.hash, plan.data.tokenizer_hash);
  }
  if (manifest.EvalHash() != plan.data.eval_hash)
    return mismatch("held-out set", manifest.EvalHash(), plan.data.eval_hash);
  const int64_t vocab = plan.model.config.value("vocab_size", int64_t{0});
  if (manifest.vocab_size > vocab) {
    return mismatch("vocabulary", std::to_string(manifest.vocab_size), std::to_string(vocab));
  }
  if (plan.data.order_rule != "feistel-1") {
    return absl::FailedPreconditionError(
        fmt::format("unknown data order '{}'; this trainer knows feistel-1", plan.data.order_rule));
  }
  ASSIGN_OR_RETURN(Shard heldout, OpenChecked(data_dir, manifest.heldout.shards[0],
                                              manifest.vocab_size, verify_hashes));
  auto dataset = std::unique_ptr<Dataset>(new Dataset(std::move(heldout)));
  dataset->seq_len_ = plan.seq_len;
  std::vector<int64_t> windows;
  std::vector<double> weights;
  for (const recipes::DataSource& wanted : plan.data.sources) {
    const SourceEntry* entry = nullptr;
    for (const SourceEntry& candidate : manifest.sources) {
      if (candidate.name == wanted.name) entry = &candidate;
    }
    if (entry == nullptr)
      return mismatch(fmt::format("source '{}'", wanted.name), "absent", "present");
    if (manifest.SourceHash(*entry) != wanted.manifest_hash) {
      return mismatch(fmt::format("source '{}'", wanted.name), manifest.SourceHash(*entry),
                      wanted.manifest_hash);
    }
    Source source;
    int64_t tokens = 0;
    for (const ShardEntry& shard_entry : entry->shards) {
      ASSIGN_OR_RETURN(Shard shard,
                       OpenChecked(data_dir, shard_entry, manifest.vocab_size, verify_hashes));
      source.first_token.push_back(tokens);
      tokens += shard.tokens();
      source.shards.push_back(std::move(shard));
    }
    if (tokens < plan.seq_len) {
      return absl::FailedPreconditionError(
          fmt::format("source '{}' has {} tokens, fewer than one sequence of {}", wanted.name,
                      tokens, plan.seq_len));
    }
    windows.push_back(tokens / plan.seq_len);
    weights.push_back(wanted.weight);
    dataset->sources_.push_back(std::move(source));
  }
  if (windows.empty()) return absl::FailedPreconditionError("the plan names no data source");
  dataset->order_.emplace(std::move(windows), weights, plan.data_seed);
  const Shard& held = dataset->heldout_;
  for (int64_t i = 0; i < held.tokens(); ++i) {
    if (i % plan.seq_len == 0) continue;
    ++dataset->scored_tokens_;
    dataset->scored_bytes_ +=
        manifest.token_bytes[std::clamp<int64_t>(held.at(i), 0, manifest.vocab_size - 1)];
  }
  if (dataset->scored_tokens_ == 0)
    return absl::FailedPreconditionError("the held-out set has no token to score");
  return dataset;
}

void Dataset::TrainingSequence(int64_t i, int32_t* tokens, int32_t* targets) const {
  const WindowRef ref = order_->At(i);
  const Source& source = sources_[ref.source];
  int64_t position = ref.window * seq_len_;
  size_t s = std::upper_bound(source.first_token.begin(), source.first_token.end(), position) -
             source.first_token.begin() - 1;
  int64_t local = position - source.first_token[s];
  for (int64_t t = 0; t < seq_len_; ++t, ++local) {
    while (local >= source.shards[s].tokens()) {
      local -= source.shards[s].tokens();
      ++s;
    }
    tokens[t] = source.shards[s].at(local);
    if (t > 0) targets[t - 1] = tokens[t];
  }
  targets[seq_len_ - 1] = -1;
}

void Dataset::HeldoutWindow(int64_t w, int32_t* tokens, int32_t* targets) const {
  for (int64_t t = 0; t < seq_len_; ++t) {
    const int64_t i = w * seq_len_ + t;
    tokens[t] = i < heldout_.tokens() ? heldout_.at(i) : 0;
    targets[t] = t + 1 < seq_len_ && i + 1 < heldout_.tokens() ? heldout_.at(i + 1) : -1;
  }
}

}  // namespace worker
