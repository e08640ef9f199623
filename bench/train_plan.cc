// Trains one plan in this process, without coordinator or protocol, and prints its losses: for
// looking at a recipe's constants and at raw speed. Usage: train_plan DATA_DIR BUDGET HIDDEN
// SEQ_LEN THREADS [constant=value ...]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "recipes/recipe.h"
#include "worker/trainer/cpu_trial.h"

namespace {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
    std::exit(1);
  }
  return *std::move(value);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr,
                 "usage: train_plan DATA_DIR BUDGET HIDDEN SEQ_LEN THREADS [constant=value ...]\n");
    return 2;
  }
  const auto manifest = Must(worker::ReadManifest(argv[1]));
  recipes::Setting setting;
  setting.vocab = manifest.vocab_size;
  setting.seq_len = std::atoll(argv[4]);
  setting.data_seed = setting.init_seed = 1;
  for (int i = 6; i < argc; ++i) {
    const std::string text = argv[i];
    setting.constants[text.substr(0, text.find('='))] =
        std::atof(text.c_str() + text.find('=') + 1);
  }
  for (const auto& source : manifest.sources) {
    setting.data.sources.push_back({.name = source.name,
                                    .weight = static_cast<double>(source.tokens),
                                    .manifest_hash = manifest.SourceHash(source),
                                    .tokens = source.tokens});
  }
  setting.data.tokenizer_hash = manifest.tokenizer.hash;
  setting.data.eval_hash = manifest.EvalHash();
  const recipes::Recipe* recipe = Must(recipes::FindRecipe("delphi-nano"));
  const auto list = Must(recipe->Candidates({"training_flops", std::atof(argv[2])}, setting));
  for (const auto& candidate : list.candidates) {
    if (std::atoll(argv[3]) != 0 && candidate.hidden != std::atoll(argv[3])) continue;
    const auto plan = Must(recipe->MakePlan(candidate, setting));
    std::printf(
        "H %ld L %ld N %ld tokens %ld B %ld S %ld D/N %.1f lr %.4g adam %.4g b2 %.5g eps %.3g",
        candidate.hidden, plan.model.config["num_hidden_layers"].get<int64_t>(), plan.params,
        plan.tokens, plan.batch, plan.steps, double(plan.tokens) / plan.params,
        plan.optimizer[0].peak_lr, plan.optimizer[1].peak_lr, plan.optimizer[0].beta2,
        plan.optimizer[0].epsilon);
    for (const auto& clamp : plan.clamps) std::printf(" %s", clamp.c_str());
    std::fflush(stdout);
    if (std::atoll(argv[5]) == 0) {
      std::printf("\n");
      continue;
    }
    const auto dataset = Must(worker::Dataset::Open(argv[1], plan, false));
    auto trial = Must(worker::CpuTrial::Create(Must(recipes::PlanBytes(plan)), dataset.get(),
                                               std::atoi(argv[5])));
    const auto start = std::chrono::steady_clock::now();
    double last = 0;
    while (trial->step() < plan.steps) {
      last = trial->Step().loss;
      if (std::getenv("VERBOSE") && trial->step() % (plan.steps / 20) == 0)
        std::printf("\n  %ld %.4f", trial->step(), last);
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto score = trial->Score();
    const double total =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf(" | train %.4f heldout %.5f bpb %.4f | %.1f s + %.1f s, %.0f tok/s, %.1f GFLOP/s\n",
                last, score.sum_nats / score.scored_tokens,
                score.sum_nats / score.scored_bytes / 0.6931471805599453, seconds, total - seconds,
                plan.tokens / seconds, plan.recipe_flops / seconds / 1e9);
    std::fflush(stdout);
  }
  return 0;
}
