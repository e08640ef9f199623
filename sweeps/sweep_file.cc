#include "sweeps/sweep_file.h"

#include <algorithm>
#include <filesystem>

#include "core/file.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweeps/tokenizer_model.h"

namespace sweeps {
namespace {

// The values were checked against their forms, so these parse.
double Number(const Value& value) { return *core::ParseNumber(value.text); }
int64_t Integer(const Value& value) { return static_cast<int64_t>(Number(value)); }
std::vector<double> Numbers(const Value& list) {
  std::vector<double> out;
  for (const Value& item : list.items) out.push_back(Number(item));
  return out;
}
std::vector<std::string> Texts(const Value& list) {
  std::vector<std::string> out;
  for (const Value& item : list.items) out.push_back(item.text);
  return out;
}

void RecordPositions(const Value& value, const std::string& path,
                     std::map<std::string, Position>* out) {
  (*out)[path] = value.position;
  for (size_t i = 0; i < value.items.size(); ++i)
    RecordPositions(value.items[i], fmt::format("{}[{}]", path, i), out);
  for (const auto& [key, child] : value.fields)
    RecordPositions(child, path.empty() ? key : path + "." + key, out);
}

absl::Status ReadName(const Value& root, SweepFile* file) {
  file->name = root.Find("name")->text;
  const bool fits = file->name.size() <= 64 &&
                    std::all_of(file->name.begin(), file->name.end(), [](unsigned char c) {
                      return std::isalnum(c) || c == '.' || c == '_' || c == '-';
                    });
  if (fits) return absl::OkStatus();
  return file->Error("name", fmt::format("the name '{}' has other than letters, digits, '.', '_' "
                                         "and '-', or more than 64 of them",
                                         file->name));
}

absl::Status RefuseRepeats(const SweepFile& file, const std::string& key,
                           const std::vector<double>& values) {
  if (values.empty()) return file.Error(key, key + " is empty");
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (values[i] == values[j]) {
        return file.Error(fmt::format("{}[{}]", key, i),
                          fmt::format("{}[{}] repeats {}", key, i, core::FormatFlops(values[i])));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadRuns(const Value& list, SweepFile* file) {
  for (const Value& item : list.items) {
    ExplicitRun run;
    run.budget = Number(*item.Find("budget"));
    run.hidden = Integer(*item.Find("hidden"));
    if (const Value* seed = item.Find("seed")) run.seed = static_cast<uint64_t>(Integer(*seed));
    for (const ExplicitRun& other : file->runs) {
      if (other.budget == run.budget && other.hidden == run.hidden && other.seed == run.seed)
        return file->Error(fmt::format("runs[{}]", file->runs.size()),
                           "repeats an earlier run; another seed makes it another run");
    }
    file->runs.push_back(run);
  }
  if (file->runs.empty()) return file->Error("runs", "runs is empty");
  return absl::OkStatus();
}

absl::Status ReadIsoflop(const Value& root, SweepFile* file) {
  const Value *budgets = root.Find("budgets"), *runs = root.Find("runs");
  if (budgets == nullptr && runs == nullptr)
    return file->Error("", "method isoflop needs the key 'budgets' (or 'runs')");
  if (budgets != nullptr) {
    file->budgets = Numbers(*budgets);
    RETURN_IF_ERROR(RefuseRepeats(*file, "budgets", file->budgets));
  }
  if (runs != nullptr) RETURN_IF_ERROR(ReadRuns(*runs, file));
  for (const char* key : {"at", "parameters", "samples", "seed"}) {
    if (root.Find(key) != nullptr)
      return file->Error(key, fmt::format("key '{}' belongs to method search", key));
  }
  if (const Value* points = root.Find("points"); points != nullptr && points->text != "all")
    file->points = Integer(*points);
  if (const Value* center = root.Find("center"); center != nullptr && center->text != "auto")
    file->tokens_per_param = Number(*center);
  return absl::OkStatus();
}

absl::Status ReadSearch(const Value& root, SweepFile* file) {
  for (const char* key : {"budgets", "runs", "points", "center", "forecast"}) {
    if (root.Find(key) != nullptr)
      return file->Error(key, fmt::format("key '{}' belongs to method isoflop", key));
  }
  Search search;
  const Value *at = root.Find("at"), *parameters = root.Find("parameters");
  if (at == nullptr || parameters == nullptr)
    return file->Error("", "method search needs the keys 'at' and 'parameters'");
  search.budget = Number(*at->Find("budget"));
  search.hidden = Integer(*at->Find("hidden"));
  if (const Value* samples = root.Find("samples")) search.samples = Integer(*samples);
  if (const Value* seed = root.Find("seed")) search.seed = static_cast<uint64_t>(Integer(*seed));
  for (const auto& [constant, value] : parameters->fields) {
    const std::string path = "parameters." + constant;
    ParameterRange range;
    range.constant = constant;
    if (const Value* bounds = value.Find("loguniform")) {
      const std::vector<double> ends = Numbers(*bounds);
      if (ends.size() != 2 || ends[0] >= ends[1])
        return file->Error(path + ".loguniform", "loguniform takes [lo, hi] with lo < hi");
      if (search.samples == 0)
        return file->Error(path, "a range needs the key 'samples': how many draws");
      range.lo = ends[0];
      range.hi = ends[1];
    } else {
      range.values = Numbers(value);
      RETURN_IF_ERROR(RefuseRepeats(*file, path, range.values));
    }
    search.parameters.push_back(std::move(range));
  }
  if (search.parameters.empty()) return file->Error("parameters", "parameters is empty");
  file->search = std::move(search);
  return absl::OkStatus();
}

absl::Status ReadTokenizer(const Value& value, SweepFile* file, Tokenizer* tokenizer) {
  if (value.text == "bytes") return absl::OkStatus();
  const Value *train = value.Find("sentencepiece"), *model = value.Find("model");
  if ((train == nullptr) == (model == nullptr)) {
    return file->Error("data.tokenizer",
                       "the tokenizer is either {sentencepiece: N} or {model: path}");
  }
  if (train != nullptr) {
    tokenizer->kind = Tokenizer::Kind::kSentencePiece;
    tokenizer->vocab = Integer(*train);
  } else {
    tokenizer->kind = Tokenizer::Kind::kModel;
    tokenizer->vocab = 0;
    tokenizer->model_path = model->text;
  }
  return absl::OkStatus();
}

absl::Status ReadData(const Value& root, SweepFile* file) {
  if (const Value* vocab = root.Find("vocab")) file->vocab = Integer(*vocab);
  const Value* value = root.Find("data");
  if (value == nullptr) return absl::OkStatus();
  DataRequest data;
  for (const auto& [name, source] : value->Find("mix")->fields) {
    MixSource mix;
    mix.name = name;
    mix.paths = Texts(*source.Find("paths"));
    if (mix.paths.empty())
      return file->Error("data.mix." + name + ".paths", "a source needs at least one path");
    if (const Value* weight = source.Find("weight")) mix.weight = Number(*weight);
    if (const Value* epochs = source.Find("max_epochs")) mix.max_epochs = Number(*epochs);
    data.mix.push_back(std::move(mix));
  }
  if (data.mix.empty()) return file->Error("data.mix", "the mix has no source");
  RETURN_IF_ERROR(ReadTokenizer(*value->Find("tokenizer"), file, &data.tokenizer));
  if (const Value* holdout = value->Find("holdout")) {
    if (const Value* fraction = holdout->Find("fraction"))
      data.holdout_fraction = *core::ParseFraction(fraction->text);
    if (const Value* by = holdout->Find("by")) data.holdout_by_directory = by->text == "directory";
  }
  if (data.tokenizer.vocab > 0) {
    if (file->vocab > 0 && file->vocab != data.tokenizer.vocab) {
      return file->Error("vocab", fmt::format("vocab {} contradicts the tokenizer, which has {}; "
                                              "leave the key out",
                                              file->vocab, data.tokenizer.vocab));
    }
    file->vocab = data.tokenizer.vocab;
  }
  file->data = std::move(data);
  return absl::OkStatus();
}

// The vocabulary of a tokenizer by path is the model's. Where the file says it too, a model that is
// not there is left to preparation to ask for.
absl::Status ReadModelVocab(SweepFile* file) {
  if (!file->data.has_value() || file->data->tokenizer.kind != Tokenizer::Kind::kModel)
    return absl::OkStatus();
  const std::filesystem::path folder = std::filesystem::path(file->path).parent_path();
  const auto model = core::ReadFile((folder / file->data->tokenizer.model_path).string());
  if (!model.ok()) {
    return file->vocab > 0 ? absl::OkStatus() : file->Error("data.tokenizer.model", model.status());
  }
  const auto pieces = PiecesOfModel(*model);
  if (!pieces.ok())
    return file->Error("data.tokenizer.model",
                       fmt::format("'{}': {}", file->data->tokenizer.model_path,
                                   std::string(pieces.status().message())));
  if (file->vocab > 0 && file->vocab != *pieces) {
    return file->Error("vocab",
                       fmt::format("vocab {} contradicts the tokenizer '{}', which has "
                                   "{}; leave the key out",
                                   file->vocab, file->data->tokenizer.model_path, *pieces));
  }
  file->vocab = *pieces;
  return absl::OkStatus();
}

absl::Status ReadRun(const Value& root, SweepFile* file) {
  if (const Value* seq_len = root.Find("seq_len")) file->seq_len = Integer(*seq_len);
  if (const Value* numerics = root.Find("numerics")) file->numerics = numerics->text;
  if (const Value* seeds = root.Find("seeds")) file->seeds = Integer(*seeds);
  if (const Value* trainer = root.Find("trainer"); trainer != nullptr && trainer->text.empty()) {
    file->trainer_command = Texts(*trainer->Find("command"));
    if (file->trainer_command.empty())
      return file->Error("trainer.command", "the command is empty");
  }
  if (const Value* resources = root.Find("resources")) {
    if (const Value* gpus = resources->Find("gpus")) file->gpus = Integer(*gpus);
    if (const Value* time = resources->Find("time"))
      file->time_limit_ms = *core::ParseDurationMs(time->text);
  }
  if (const Value* retry = root.Find("retry")) {
    const std::pair<const char*, int32_t*> counts[] = {{"failure", &file->retry_failure},
                                                       {"preemption", &file->retry_preemption},
                                                       {"oom", &file->retry_oom}};
    for (const auto& [key, count] : counts) {
      if (const Value* value = retry->Find(key)) *count = static_cast<int32_t>(Integer(*value));
    }
  }
  if (const Value* limits = root.Find("limits")) {
    if (const Value* flops = limits->Find("flops")) file->limit_flops = Number(*flops);
    if (const Value* hours = limits->Find("gpu_hours")) file->limit_gpu_hours = Number(*hours);
  }
  return absl::OkStatus();
}

absl::Status ReadForecast(const Value& root, SweepFile* file) {
  const Value* forecast = root.Find("forecast");
  if (forecast == nullptr) return absl::OkStatus();
  file->forecast_at = Numbers(*forecast->Find("at"));
  RETURN_IF_ERROR(RefuseRepeats(*file, "forecast.at", file->forecast_at));
  if (const Value* reg = forecast->Find("register")) file->forecast_register = reg->text == "true";
  for (size_t i = 0; i < file->forecast_at.size(); ++i) {
    const double at = file->forecast_at[i];
    const bool measured =
        std::find(file->budgets.begin(), file->budgets.end(), at) != file->budgets.end() ||
        std::any_of(file->runs.begin(), file->runs.end(),
                    [&](const ExplicitRun& run) { return run.budget == at; });
    if (measured) {
      return file->Error(fmt::format("forecast.at[{}]", i),
                         fmt::format("{} is one of the budgets: a forecast of what is measured "
                                     "anyway is void, not blind",
                                     core::FormatFlops(at)));
    }
    double largest = 0;
    for (const double budget : file->budgets) largest = std::max(largest, budget);
    for (const ExplicitRun& run : file->runs) largest = std::max(largest, run.budget);
    if (file->forecast_register && at < largest) {
      return file->Error(
          fmt::format("forecast.at[{}]", i),
          fmt::format("{} lies below the largest budget, {}: what is interpolated is no forecast "
                      "and is not registered; name a larger one, or say register: false",
                      core::FormatFlops(at), core::FormatFlops(largest)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SweepFile::Error(const std::string& key, std::string_view message) const {
  std::string nearest = key;
  while (positions.find(nearest) == positions.end() && !nearest.empty()) {
    const size_t cut = nearest.find_last_of(".[");
    nearest = cut == std::string::npos ? "" : nearest.substr(0, cut);
  }
  const auto found = positions.find(nearest);
  return ErrorAt(path, found == positions.end() ? Position{1, 1} : found->second, message);
}

absl::StatusOr<SweepFile> ParseSweepFile(std::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const Value root, ReadYaml(text, path, SweepFileForm()));
  SweepFile file;
  file.path = path;
  file.text = std::string(text);
  RecordPositions(root, "", &file.positions);
  RETURN_IF_ERROR(ReadName(root, &file));
  file.recipe = root.Find("recipe")->text;
  const Value* method = root.Find("method");
  const bool search = method != nullptr && method->text == "search";
  RETURN_IF_ERROR(search ? ReadSearch(root, &file) : ReadIsoflop(root, &file));
  RETURN_IF_ERROR(ReadData(root, &file));
  RETURN_IF_ERROR(ReadRun(root, &file));
  RETURN_IF_ERROR(ReadForecast(root, &file));
  return file;
}

absl::StatusOr<SweepFile> LoadSweepFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, core::ReadFile(path));
  ASSIGN_OR_RETURN(SweepFile file, ParseSweepFile(text, path));
  RETURN_IF_ERROR(ReadModelVocab(&file));
  return file;
}

core::Json ResolvedSpec(const SweepFile& file) {
  using core::Json;
  Json spec = {{"recipe", file.recipe},
               {"vocab", file.vocab},
               {"seq_len", file.seq_len},
               {"numerics", file.numerics},
               {"seeds", file.seeds},
               {"trainer_command", file.trainer_command},
               {"time_limit_ms", file.time_limit_ms},
               {"retry",
                {{"failure", file.retry_failure},
                 {"preemption", file.retry_preemption},
                 {"oom", file.retry_oom}}},
               {"limits", {{"flops", file.limit_flops}, {"gpu_hours", file.limit_gpu_hours}}}};
  spec["gpus"] = file.gpus.has_value() ? Json(*file.gpus) : Json();
  if (file.search.has_value()) {
    Json parameters = Json::object();
    for (const ParameterRange& range : file.search->parameters) {
      parameters[range.constant] =
          range.values.empty() ? Json{{"loguniform", {range.lo, range.hi}}} : Json(range.values);
    }
    spec["method"] = "search";
    spec["at"] = {{"budget", file.search->budget}, {"hidden", file.search->hidden}};
    spec["parameters"] = parameters;
    spec["samples"] = file.search->samples;
    spec["seed"] = file.search->seed;
  } else {
    spec["method"] = "isoflop";
    spec["budgets"] = file.budgets;
    for (const ExplicitRun& run : file.runs)
      spec["runs"].push_back({{"budget", run.budget}, {"hidden", run.hidden}, {"seed", run.seed}});
    spec["points"] = file.points.has_value() ? Json(*file.points) : Json("all");
    spec["center"] =
        file.tokens_per_param.has_value() ? Json(*file.tokens_per_param) : Json("auto");
  }
  if (!file.forecast_at.empty()) {
    spec["forecast"] = {{"at", file.forecast_at}, {"register", file.forecast_register}};
  }
  if (file.data.has_value()) {
    const DataRequest& data = *file.data;
    Json mix = Json::array();
    for (const MixSource& source : data.mix) {
      mix.push_back({{"name", source.name},
                     {"paths", source.paths},
                     {"weight", source.weight},
                     {"max_epochs", source.max_epochs}});
    }
    Json tokenizer = "bytes";
    if (data.tokenizer.kind == Tokenizer::Kind::kSentencePiece)
      tokenizer = {{"sentencepiece", data.tokenizer.vocab}};
    if (data.tokenizer.kind == Tokenizer::Kind::kModel)
      tokenizer = {{"model", data.tokenizer.model_path}};
    spec["data"] = {{"mix", mix},
                    {"tokenizer", tokenizer},
                    {"holdout",
                     {{"fraction", data.holdout_fraction},
                      {"by", data.holdout_by_directory ? "directory" : "document"}}}};
  }
  return spec;
}

}  // namespace sweeps
