#include "worker/data/prepare.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/machine.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/data/documents.h"
#include "worker/data/near_duplicates.h"
#include "worker/data/shard.h"
#include "worker/data/tokenizer.h"

namespace worker {
namespace {

namespace fs = std::filesystem;

struct Plan {  // what goes where, decided before any token is written
  std::vector<std::vector<std::string>> files;  // by source
  std::set<std::string> chosen;                 // "source/document id" that take part
  std::set<std::string> heldout;                // of these, the held-out ones
  SketchIndex heldout_sketches;
  const Tokenizer* tokenizer = nullptr;  // when it is given and not trained
  int64_t documents = 0, bytes = 0;
};

std::string Key(const PrepareSource& source, const Document& document) {
  return source.name + "/" + document.id;
}

// A document's place in the fixed pseudo-random order: which are held out, which a byte limit
// keeps.
std::string Rank(const std::string& key) { return core::Sha256Hex("order-1/" + key); }

// By its magic number, so that any other file called .bin stays what it is.
bool IsShard(const std::string& root, const std::string& file) {
  if (file.size() < 4 || file.substr(file.size() - 4) != ".bin") return false;
  std::ifstream in(root + "/" + file, std::ios::binary);
  int32_t magic = 0;
  in.read(reinterpret_cast<char*>(&magic), sizeof(magic));
  return in && magic == kShardMagic;
}

// A shard that a manifest beside it lists was made with the tokenizer of that manifest. Any other
// manifest.json is somebody else's.
absl::Status CheckShardTokenizer(const std::string& root, const std::string& file,
                                 const Tokenizer& tokenizer) {
  const fs::path path = fs::path(root) / file;
  const auto manifest = ReadManifest(path.parent_path().string());
  if (!manifest.ok()) return absl::OkStatus();
  const auto listed = [&](const SourceEntry& source) {
    return std::any_of(source.shards.begin(), source.shards.end(),
                       [&](const ShardEntry& shard) { return shard.path == path.filename(); });
  };
  if (!listed(manifest->heldout) &&
      std::none_of(manifest->sources.begin(), manifest->sources.end(), listed))
    return absl::OkStatus();
  if (manifest->tokenizer.hash == tokenizer.hash()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "shard '{}' was made with another tokenizer: the manifest beside it names {} {}, given is "
      "{} {}; name the tokenizer the shard was made with",
      path.string(), manifest->tokenizer.kind, manifest->tokenizer.hash.substr(0, 16),
      tokenizer.kind(), tokenizer.hash().substr(0, 16)));
}

// Documents of a token shard: what stands between separators.
absl::Status ForEachShardDocument(const std::string& root, const std::string& file,
                                  const Tokenizer& tokenizer,
                                  const std::function<absl::Status(Document)>& fn) {
  ASSIGN_OR_RETURN(const Shard shard, Shard::Open(root + "/" + file));
  const std::string folder = fs::path(file).parent_path().generic_string();
  int64_t number = 0;
  Document document;
  for (int64_t i = 0; i <= shard.tokens(); ++i) {
    const int32_t id = i < shard.tokens() ? shard.at(i) : tokenizer.separator();
    if (id < 0 || id >= tokenizer.vocab_size()) {
      return absl::InvalidArgumentError(
          fmt::format("shard '{}/{}': token {} is {}, but the tokenizer has {} ids; name the "
                      "tokenizer the shard was made with",
                      root, file, i, id, tokenizer.vocab_size()));
    }
    if (id != tokenizer.separator()) {
      document.ids.push_back(id);
      continue;
    }
    if (document.ids.empty()) continue;
    document.id = fmt::format("{}#{}", file, ++number);
    document.folder = folder;
    document.text = tokenizer.Decode(document.ids);
    RETURN_IF_ERROR(fn(std::move(document)));
    document = Document();
  }
  return absl::OkStatus();
}

absl::Status ForEach(const PrepareOptions& options, const Plan& plan,
                     const std::function<absl::Status(int source, const Document&)>& fn) {
  for (size_t s = 0; s < options.sources.size(); ++s) {
    for (const std::string& file : plan.files[s]) {
      const auto visit = [&](Document document) -> absl::Status {
        if (document.text.empty()) return absl::OkStatus();
        if (!plan.chosen.empty() && plan.chosen.count(Key(options.sources[s], document)) == 0)
          return absl::OkStatus();
        return fn(static_cast<int>(s), document);
      };
      RETURN_IF_ERROR(IsShard(options.root, file)
                          ? ForEachShardDocument(options.root, file, *plan.tokenizer, visit)
                          : ForEachDocument(options.root, file, visit));
    }
  }
  return absl::OkStatus();
}

// ForEach with what `make` says of each document. Cores share the documents of a batch; `fn` sees
// them one after the other in their order.
template <typename T>
absl::Status ForEachMade(
    const PrepareOptions& options, const Plan& plan, const std::function<T(const Document&)>& make,
    const std::function<absl::Status(int source, const Document&, const T&)>& fn) {
  constexpr int64_t kBatchBytes = 32 << 20;
  struct Item {
    int source;
    Document document;
    T made;
  };
  const int threads = options.threads > 0 ? options.threads : core::ReadMachine().cores;
  std::vector<Item> batch;
  int64_t bytes = 0;
  const auto flush = [&]() -> absl::Status {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t i; (i = next++) < batch.size();) batch[i].made = make(batch[i].document);
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
    for (std::thread& helper : helpers) helper.join();
    for (const Item& item : batch) RETURN_IF_ERROR(fn(item.source, item.document, item.made));
    batch.clear();
    bytes = 0;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEach(options, plan, [&](int s, const Document& document) -> absl::Status {
    bytes += static_cast<int64_t>(document.text.size());
    batch.push_back({s, document, T()});
    return bytes < kBatchBytes ? absl::OkStatus() : flush();
  }));
  return flush();
}

absl::StatusOr<Plan> MakePlan(const PrepareOptions& options, const Tokenizer* tokenizer,
                              const PrepareProgress& progress) {
  Plan plan;
  plan.tokenizer = tokenizer;
  for (const PrepareSource& source : options.sources) {
    ASSIGN_OR_RETURN(auto files, ListFiles(options.root, source.patterns));
    for (const std::string& file : files) {
      if (!IsShard(options.root, file)) continue;
      if (tokenizer == nullptr) {
        return absl::InvalidArgumentError(
            fmt::format("'{}' is a token shard: say which tokenizer made it, `tokenizer: bytes` or "
                        "`tokenizer: {{model: FILE.model}}`",
                        file));
      }
      RETURN_IF_ERROR(CheckShardTokenizer(options.root, file, *tokenizer));
    }
    plan.files.push_back(std::move(files));
  }
  progress("reading", 0);
  struct Entry {
    std::string rank, key, unit;
    int64_t bytes;
  };
  std::vector<std::vector<Entry>> entries(options.sources.size());
  RETURN_IF_ERROR(ForEach(options, plan, [&](int s, const Document& document) {
    const std::string key = Key(options.sources[s], document);
    const std::string unit = options.holdout_by == "directory" ? document.folder : key;
    entries[s].push_back({Rank(key), key, unit, static_cast<int64_t>(document.text.size())});
    return absl::OkStatus();
  }));
  std::map<std::string, int64_t> unit_bytes;
  for (size_t s = 0; s < entries.size(); ++s) {
    std::sort(entries[s].begin(), entries[s].end(),
              [](const Entry& a, const Entry& b) { return a.rank < b.rank; });
    int64_t taken = 0;
    for (const Entry& entry : entries[s]) {
      if (options.sources[s].max_bytes > 0 && taken >= options.sources[s].max_bytes) break;
      taken += entry.bytes;
      plan.chosen.insert(entry.key);
      plan.bytes += entry.bytes;
      ++plan.documents;
      unit_bytes[entry.unit] += entry.bytes;
    }
  }
  if (plan.documents < 2)
    return absl::InvalidArgumentError(
        "the data has fewer than two documents; nothing can be held out");

  // Units in rank order until the fraction is reached; a unit larger than twice the goal is passed
  // over.
  const double goal = options.holdout_fraction * static_cast<double>(plan.bytes);
  std::vector<std::pair<std::string, std::string>> units;
  for (const auto& [unit, bytes] : unit_bytes) units.emplace_back(Rank("unit/" + unit), unit);
  std::sort(units.begin(), units.end());
  std::set<std::string> heldout_units;
  double held = 0;
  for (const auto& [rank, unit] : units) {
    if (held >= goal) break;
    if (static_cast<double>(unit_bytes[unit]) > 2 * goal) continue;
    heldout_units.insert(unit);
    held += static_cast<double>(unit_bytes[unit]);
  }
  if (heldout_units.empty() || heldout_units.size() == unit_bytes.size()) {
    return absl::InvalidArgumentError(
        fmt::format("cannot hold out {:.3g} % of {} {}s: each is larger than that; use `by: "
                    "document` or a larger fraction",
                    100 * options.holdout_fraction, unit_bytes.size(), options.holdout_by));
  }
  for (const auto& source_entries : entries) {
    for (const Entry& entry : source_entries) {
      if (plan.chosen.count(entry.key) > 0 && heldout_units.count(entry.unit) > 0)
        plan.heldout.insert(entry.key);
    }
  }
  progress("comparing", 0);
  RETURN_IF_ERROR(ForEach(options, plan, [&](int s, const Document& document) {
    if (plan.heldout.count(Key(options.sources[s], document)) > 0)
      plan.heldout_sketches.Add(MakeSketch(document.text));
    return absl::OkStatus();
  }));
  return plan;
}

// A sample of the training documents' lines, in rank order, for the tokenizer.
absl::StatusOr<std::string> TrainTokenizer(const PrepareOptions& options, const Plan& plan,
                                           const std::set<std::string>& dropped) {
  std::vector<std::pair<std::string, std::string>> sample;  // rank, text
  int64_t bytes = 0;
  const double keep =
      std::min(1.0, 1.2 * options.tokenizer_sample_bytes / static_cast<double>(plan.bytes));
  RETURN_IF_ERROR(ForEach(options, plan, [&](int s, const Document& document) {
    const std::string key = Key(options.sources[s], document);
    if (plan.heldout.count(key) > 0 || dropped.count(key) > 0) return absl::OkStatus();
    const std::string rank = Rank("sample/" + key);
    if (std::stoul(rank.substr(0, 8), nullptr, 16) > keep * 4294967295.0) return absl::OkStatus();
    sample.emplace_back(rank, document.text);
    bytes += static_cast<int64_t>(document.text.size());
    return absl::OkStatus();
  }));
  std::sort(sample.begin(), sample.end());
  size_t at = 0, begin = 0;
  int64_t used = 0;
  return TrainSentencePiece(options.vocab_size, [&](std::string* line) {
    while (at < sample.size() && begin >= sample[at].second.size()) {
      sample[at].second.clear();
      ++at;
      begin = 0;
    }
    if (at >= sample.size() || used > options.tokenizer_sample_bytes) return false;
    const std::string& text = sample[at].second;
    const size_t end = std::min(text.find('\n', begin), text.size());
    *line = text.substr(begin, end - begin);
    used += static_cast<int64_t>(line->size()) + 1;
    begin = end + 1;
    return true;
  });
}

absl::StatusOr<ShardEntry> FinishShard(ShardWriter& writer, const std::string& out_dir,
                                       const std::string& name) {
  RETURN_IF_ERROR(writer.Finish());
  ASSIGN_OR_RETURN(const std::string hash, core::Sha256HexOfFile(out_dir + "/" + name));
  return ShardEntry{name, writer.tokens(), hash};
}

}  // namespace

absl::StatusOr<PrepareReport> PrepareData(const PrepareOptions& options, const std::string& out_dir,
                                          const PrepareProgress& progress) {
  ASSIGN_OR_RETURN(const std::string request_hash, PrepareRequestHash(options));
  const auto found = FindPrepared(request_hash, out_dir);
  if (found.ok()) return found;
  PrepareReport report;
  if (absl::IsDataLoss(found.status())) report.replaced = std::string(found.status().message());
  RETURN_IF_ERROR(core::MakeDirs(out_dir));
  // Known before anything is read, unless it is to be trained.
  std::unique_ptr<Tokenizer> tokenizer;
  std::string model;
  if (options.tokenizer_kind == "bytes") {
    tokenizer = ByteTokenizer();
  } else if (!options.tokenizer_model.empty()) {
    ASSIGN_OR_RETURN(model, core::ReadFile(options.tokenizer_model));
    ASSIGN_OR_RETURN(tokenizer, SentencePieceTokenizer(model));
  }
  ASSIGN_OR_RETURN(const Plan plan, MakePlan(options, tokenizer.get(), progress));
  report.documents = plan.documents;
  report.heldout_documents = static_cast<int64_t>(plan.heldout.size());

  std::set<std::string> dropped;
  RETURN_IF_ERROR(ForEachMade<Sketch>(
      options, plan, [](const Document& document) { return MakeSketch(document.text); },
      [&](int s, const Document& document, const Sketch& sketch) {
        const std::string key = Key(options.sources[s], document);
        if (plan.heldout.count(key) == 0 &&
            plan.heldout_sketches.ContainsNear(sketch, options.near_duplicate_threshold)) {
          dropped.insert(key);
          report.dropped_bytes += static_cast<int64_t>(document.text.size());
        }
        return absl::OkStatus();
      }));
  report.dropped_near_duplicates = static_cast<int64_t>(dropped.size());

  Manifest& manifest = report.manifest;
  if (tokenizer == nullptr) {
    progress("training the tokenizer", 0);
    ASSIGN_OR_RETURN(model, TrainTokenizer(options, plan, dropped));
    ASSIGN_OR_RETURN(tokenizer, SentencePieceTokenizer(model));
  }
  if (!model.empty()) {
    RETURN_IF_ERROR(core::WriteFileAtomically(out_dir + "/tokenizer.model", model));
    manifest.tokenizer.file = "tokenizer.model";
  }
  manifest.vocab_size = tokenizer->vocab_size();
  manifest.tokenizer.kind = tokenizer->kind();
  manifest.tokenizer.hash = tokenizer->hash();
  manifest.tokenizer.separator = tokenizer->separator();
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    manifest.token_bytes.push_back(static_cast<int64_t>(tokenizer->Bytes(id).size()));
  }

  const bool wide = tokenizer->vocab_size() > 65536;
  ASSIGN_OR_RETURN(auto heldout, ShardWriter::Create(out_dir + "/heldout.bin", wide));
  manifest.heldout.name = "heldout";
  std::vector<std::unique_ptr<ShardWriter>> writers(options.sources.size());
  for (const PrepareSource& source : options.sources)
    manifest.sources.push_back({.name = source.name});
  auto shard_name = [&](size_t s) {
    return fmt::format("{}-{:03d}.bin", options.sources[s].name, manifest.sources[s].shards.size());
  };
  int64_t done_bytes = 0, tokens = 0;
  using Ids = std::vector<int32_t>;
  const auto encode = [&](const Document& document) {
    Ids ids = document.ids.empty() ? tokenizer->Encode(document.text) : document.ids;
    ids.insert(ids.begin(), tokenizer->separator());
    return ids;
  };
  const auto append = [&](int s, const Document& document, const Ids& ids) -> absl::Status {
    const std::string key = Key(options.sources[s], document);
    done_bytes += static_cast<int64_t>(document.text.size());
    if (dropped.count(key) > 0) return absl::OkStatus();
    const bool is_heldout = plan.heldout.count(key) > 0;
    SourceEntry& entry = is_heldout ? manifest.heldout : manifest.sources[s];
    entry.tokens += static_cast<int64_t>(ids.size());
    entry.bytes += static_cast<int64_t>(document.text.size());
    ++entry.documents;
    tokens += static_cast<int64_t>(ids.size());
    progress("tokenising", static_cast<double>(done_bytes) / static_cast<double>(plan.bytes));
    if (is_heldout) return heldout->Append(ids);
    if (writers[s] != nullptr &&
        writers[s]->tokens() + static_cast<int64_t>(ids.size()) > options.shard_tokens) {
      ASSIGN_OR_RETURN(ShardEntry shard, FinishShard(*writers[s], out_dir, shard_name(s)));
      entry.shards.push_back(std::move(shard));
      writers[s] = nullptr;
    }
    if (writers[s] == nullptr) {
      ASSIGN_OR_RETURN(writers[s], ShardWriter::Create(out_dir + "/" + shard_name(s), wide));
    }
    return writers[s]->Append(ids);
  };
  RETURN_IF_ERROR(ForEachMade<Ids>(options, plan, encode, append));
  for (size_t s = 0; s < writers.size(); ++s) {
    if (writers[s] == nullptr) {
      return absl::InvalidArgumentError(fmt::format(
          "source '{}' has no training document left after holding out", options.sources[s].name));
    }
    ASSIGN_OR_RETURN(ShardEntry shard, FinishShard(*writers[s], out_dir, shard_name(s)));
    manifest.sources[s].shards.push_back(std::move(shard));
  }
  ASSIGN_OR_RETURN(ShardEntry shard, FinishShard(*heldout, out_dir, "heldout.bin"));
  manifest.heldout.shards.push_back(std::move(shard));
  report.bytes_per_token =
      static_cast<double>(plan.bytes - report.dropped_bytes) / static_cast<double>(tokens);
  RETURN_IF_ERROR(WriteManifest(manifest, out_dir));
  const core::Json record = {{"request_hash", request_hash},
                             {"documents", report.documents},
                             {"heldout_documents", report.heldout_documents},
                             {"dropped_near_duplicates", report.dropped_near_duplicates},
                             {"dropped_bytes", report.dropped_bytes},
                             {"bytes_per_token", report.bytes_per_token}};
  RETURN_IF_ERROR(core::WriteFileAtomically(out_dir + "/prepare.json", record.dump(2) + "\n"));
  return report;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& data_dir,
                                                         const Manifest& manifest) {
  if (manifest.tokenizer.kind == "bytes") return ByteTokenizer();
  ASSIGN_OR_RETURN(const std::string model,
                   core::ReadFile(data_dir + "/" + manifest.tokenizer.file));
  if (core::Sha256Hex(model) != manifest.tokenizer.hash) {
    return absl::DataLossError(
        fmt::format("'{}/{}' is not the tokenizer of its manifest; prepare the data again",
                    data_dir, manifest.tokenizer.file));
  }
  return SentencePieceTokenizer(model);
}

}  // namespace worker
