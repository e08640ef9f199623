// A prepared data folder with deterministic synthetic text, for trainer tests.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/file.h"
#include "core/rng.h"
#include "recipes/plan.h"
#include "tests/worker/test_plan.h"
#include "worker/data/prepare.h"
#include "worker/trainer/programs.h"

namespace worker {

// A temporary folder, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "sweep-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Text of words from a small Markov-like source: learnable, never the same twice.
inline std::string SyntheticText(uint64_t seed, int words) {
  static const char* const kWords[] = {"static", "int", "return", "if", "(", ")", "{",   "}\n",
                                       "x",      "y",   "=",      "+",  "1", "2", ";\n", "while"};
  core::Rng rng(seed);
  std::string text;
  uint64_t state = rng.Below(16);
  for (int i = 0; i < words; ++i) {
    state = rng.Below(4) == 0 ? rng.Below(16) : (state * 5 + 3) % 16;
    text += kWords[state];
    text += ' ';
  }
  return text;
}

// Writes `files` documents below root/text and prepares them with the byte tokenizer into
// root/data.
inline PrepareReport PrepareSynthetic(const std::string& root, int files = 40, int words = 400) {
  for (int i = 0; i < files; ++i) {
    const std::string folder = root + "/text/d" + std::to_string(i % 5);
    std::filesystem::create_directories(folder);
    (void)core::WriteFileAtomically(folder + "/f" + std::to_string(i) + ".c",
                                    SyntheticText(i, words));
  }
  PrepareOptions options;
  options.root = root + "/text";
  options.sources = {{"code", {"**/*.c"}}};
  options.tokenizer_kind = "bytes";
  options.holdout_fraction = 0.1;
  options.near_duplicate_threshold = 0.95;
  auto report = PrepareData(options, root + "/data", [](const std::string&, double) {});
  if (!report.ok()) std::abort();
  return *std::move(report);
}

// SmallPlan over that data.
inline recipes::Plan PlanFor(const Manifest& manifest, int64_t steps = 20) {
  recipes::Plan plan = SmallPlan(16, 2, 2, 1, 8, 32, manifest.vocab_size, 32);
  plan.steps = steps;
  plan.phases = {{"train", steps}};
  plan.tokens = plan.batch * plan.seq_len * steps;
  plan.schedule = {.kind = "wsd",
                   .warmup_steps = steps / 10,
                   .stable_steps = steps - steps / 10 - steps / 5,
                   .decay_steps = steps / 5,
                   .final_fraction = 0};
  plan.init_seed = 3;
  plan.data_seed = 4;
  for (const SourceEntry& source : manifest.sources) {
    plan.data.sources.push_back({.name = source.name,
                                 .weight = 1,
                                 .manifest_hash = manifest.SourceHash(source),
                                 .tokens = source.tokens});
  }
  plan.data.tokenizer_hash = manifest.tokenizer.hash;
  plan.data.eval_hash = manifest.EvalHash();
  Parameters layout;
  auto step = BuildStep(plan, 1, false, &layout);
  plan.params = layout.total();
  plan.recipe_flops = 6.0 * plan.params * plan.tokens;
  return plan;
}

}  // namespace worker
