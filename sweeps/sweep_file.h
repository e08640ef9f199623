// The sweep file: what a person asks for (DESIGN.md, section 4), read from YAML and checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "sweeps/yaml.h"

namespace sweeps {

struct MixSource {
  std::string name;
  std::vector<std::string> paths;  // as written
  double weight = 1;
  double max_epochs = 0;  // 0: unlimited
};

struct Tokenizer {
  enum class Kind { kBytes, kSentencePiece, kModel };
  Kind kind = Kind::kBytes;
  int64_t vocab = 257;  // 0 for kModel: known once the model is read
  std::string model_path;
};

struct DataRequest {
  std::vector<MixSource> mix;  // in the file's order
  Tokenizer tokenizer;
  double holdout_fraction = 0.005;
  bool holdout_by_directory = false;
};

// Values of one recipe constant in a search.
struct ParameterRange {
  std::string constant;
  std::vector<double> values;  // a list; empty for a range
  double lo = 0, hi = 0;       // log-uniform
};

struct Search {
  double budget = 0;
  int64_t hidden = 0;
  std::vector<ParameterRange> parameters;
  int64_t samples = 0;  // 0: every combination
  uint64_t seed = 0;
};

// One candidate of a budget, by its width, with one seed.
struct ExplicitRun {
  double budget = 0;
  int64_t hidden = 0;
  uint64_t seed = 0;
};

struct SweepFile {
  std::string path;  // as opened; messages begin with it
  std::string text;  // the bytes read, stored with the sweep

  std::string name, recipe;
  std::vector<double> budgets;             // method isoflop; may be empty beside `runs`
  std::vector<ExplicitRun> runs;           // method isoflop
  std::optional<Search> search;            // method search; then budgets is empty
  std::optional<int64_t> points;           // nullopt: all
  std::optional<double> tokens_per_param;  // center; nullopt: auto
  std::optional<DataRequest> data;
  int64_t vocab = 0, seq_len = 0;  // 0: the recipe's default
  std::string numerics;            // empty: the recipe's default
  int64_t seeds = 1;
  std::vector<std::string> trainer_command;  // empty: native
  std::optional<int64_t> gpus;
  int64_t time_limit_ms = 0;  // 0: none
  int32_t retry_failure = 2, retry_preemption = 100, retry_oom = 1;
  double limit_flops = 0, limit_gpu_hours = 0;  // 0: none
  std::vector<double> forecast_at;
  bool forecast_register = true;

  // Where keys stand: "budgets", "budgets[2]", "data.mix.code", for errors found later.
  std::map<std::string, Position> positions;

  // INVALID_ARGUMENT "path:line:column: message"; the nearest enclosing key where `key` is absent.
  absl::Status Error(const std::string& key, std::string_view message) const;
  // The same for the message of another status. REQUIRES: !cause.ok().
  absl::Status Error(const std::string& key, const absl::Status& cause) const {
    return Error(key, std::string(cause.message()));
  }
};

// Reads and checks. NOT_FOUND or PERMISSION_DENIED for the file; INVALID_ARGUMENT
// "path:line:column: ..." for everything in it. Loading takes the vocabulary of a tokenizer by path
// from the model; parsing leaves it 0 where the text does not say it.
absl::StatusOr<SweepFile> LoadSweepFile(const std::string& path);
absl::StatusOr<SweepFile> ParseSweepFile(std::string_view text, const std::string& path);

// Everything the file asks for, defaults filled in: what a second launch under the same name is
// compared with. Comments, layout and the order of keys do not change it.
core::Json ResolvedSpec(const SweepFile& file);

}  // namespace sweeps
