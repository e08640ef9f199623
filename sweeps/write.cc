#include "sweeps/write.h"

#include <charconv>

#include "core/canonical_json.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace sweeps {
namespace {

// A JSON string is a YAML scalar, whatever it holds.
std::string Quoted(const std::string& text) { return core::Json(text).dump(); }

std::string QuotedList(const std::vector<std::string>& items) {
  std::vector<std::string> quoted;
  for (const std::string& item : items) quoted.push_back(Quoted(item));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

std::string NumberList(const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (const double value : values) texts.push_back(ShortNumber(value));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string SearchText(const Search& search) {
  std::string text = fmt::format("method: search\nat: {{budget: {}, hidden: {}}}\nparameters:\n",
                                 ShortNumber(search.budget), search.hidden);
  for (const ParameterRange& range : search.parameters)
    text += range.values.empty()
                ? fmt::format("  {}: {{loguniform: {}}}\n", range.constant,
                              NumberList({range.lo, range.hi}))
                : fmt::format("  {}: {}\n", range.constant, NumberList(range.values));
  if (search.samples > 0) text += fmt::format("samples: {}\n", search.samples);
  if (search.seed > 0) text += fmt::format("seed: {}\n", search.seed);
  return text;
}

std::string IsoflopText(const SweepFile& file) {
  std::string text;
  if (!file.budgets.empty()) text += fmt::format("budgets: {}\n", NumberList(file.budgets));
  if (file.points.has_value()) text += fmt::format("points: {}\n", *file.points);
  if (file.tokens_per_param.has_value())
    text += fmt::format("center: {}\n", ShortNumber(*file.tokens_per_param));
  if (!file.runs.empty()) text += "runs:\n";
  for (const ExplicitRun& run : file.runs)
    text += fmt::format("  - {{budget: {}, hidden: {}, seed: {}}}\n", ShortNumber(run.budget),
                        run.hidden, run.seed);
  return text;
}

std::string DataText(const DataRequest& data) {
  std::string text = "data:\n  mix:\n";
  for (const MixSource& source : data.mix)
    text +=
        fmt::format("    {}: {{paths: {}, weight: {}{}}}\n", Quoted(source.name),
                    QuotedList(source.paths), ShortNumber(source.weight),
                    source.max_epochs > 0 ? ", max_epochs: " + ShortNumber(source.max_epochs) : "");
  switch (data.tokenizer.kind) {
    case Tokenizer::Kind::kBytes:
      text += "  tokenizer: bytes\n";
      break;
    case Tokenizer::Kind::kSentencePiece:
      text += fmt::format("  tokenizer: {{sentencepiece: {}}}\n", data.tokenizer.vocab);
      break;
    case Tokenizer::Kind::kModel:
      text += fmt::format("  tokenizer: {{model: {}}}\n", Quoted(data.tokenizer.model_path));
      break;
  }
  return text + fmt::format("  holdout: {{fraction: {}, by: {}}}\n",
                            ShortNumber(data.holdout_fraction),
                            data.holdout_by_directory ? "directory" : "document");
}

std::string RunText(const SweepFile& file) {
  const SweepFile defaults;
  std::string text;
  if (file.seeds != defaults.seeds) text += fmt::format("seeds: {}\n", file.seeds);
  if (!file.trainer_command.empty())
    text += fmt::format("trainer: {{command: {}}}\n", QuotedList(file.trainer_command));
  std::vector<std::string> resources, limits;
  if (file.gpus.has_value()) resources.push_back(fmt::format("gpus: {}", *file.gpus));
  if (file.time_limit_ms > 0)
    resources.push_back(
        fmt::format("time: {}", ShortNumber(static_cast<double>(file.time_limit_ms) / 1000)));
  if (!resources.empty()) text += fmt::format("resources: {{{}}}\n", fmt::join(resources, ", "));
  if (file.retry_failure != defaults.retry_failure ||
      file.retry_preemption != defaults.retry_preemption || file.retry_oom != defaults.retry_oom)
    text += fmt::format("retry: {{failure: {}, preemption: {}, oom: {}}}\n", file.retry_failure,
                        file.retry_preemption, file.retry_oom);
  if (file.limit_flops > 0)
    limits.push_back(fmt::format("flops: {}", ShortNumber(file.limit_flops)));
  if (file.limit_gpu_hours > 0)
    limits.push_back(fmt::format("gpu_hours: {}", ShortNumber(file.limit_gpu_hours)));
  if (!limits.empty()) text += fmt::format("limits: {{{}}}\n", fmt::join(limits, ", "));
  if (!file.forecast_at.empty())
    text += fmt::format("forecast: {{at: {}, register: {}}}\n", NumberList(file.forecast_at),
                        file.forecast_register);
  return text;
}

}  // namespace

std::string ShortNumber(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  std::string text(buffer, end);
  if (const size_t plus = text.find("e+"); plus != std::string::npos) {
    text.erase(plus + 1, 1);
    while (text[plus + 1] == '0' && plus + 2 < text.size()) text.erase(plus + 1, 1);
  }
  return text;
}

std::string WriteSweepFile(const SweepFile& file, const std::vector<std::string>& comments) {
  std::string text;
  for (const std::string& comment : comments) text += "# " + comment + "\n";
  text += fmt::format("name: {}\nrecipe: {}\n", file.name, file.recipe);
  text += file.search.has_value() ? SearchText(*file.search) : IsoflopText(file);
  // A vocabulary that the tokenizer says is not said twice.
  const bool told = file.data.has_value() && file.data->tokenizer.vocab > 0;
  if (file.vocab > 0 && !told) text += fmt::format("vocab: {}\n", file.vocab);
  if (file.seq_len > 0) text += fmt::format("seq_len: {}\n", file.seq_len);
  if (!file.numerics.empty()) text += fmt::format("numerics: {}\n", file.numerics);
  if (file.data.has_value()) text += DataText(*file.data);
  return text + RunText(file);
}

}  // namespace sweeps
