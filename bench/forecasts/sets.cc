#include "bench/forecasts/sets.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "core/file.h"
#include "fit/csv.h"
#include "fmt/format.h"

namespace bench {
namespace {

using fit::Observation;

std::vector<Observation> Read(const std::string& path, std::vector<fit::Where> where = {},
                              std::map<std::string, std::string> columns = {}) {
  fit::CsvOptions options;
  options.where = std::move(where);
  options.columns = std::move(columns);
  auto csv = fit::ReadObservationsCsv(path, options);
  if (csv.ok()) return std::move(csv->observations);
  fmt::print(stderr, "left out: {}\n", std::string(csv.status().message()));
  return {};
}

// Cuts and targets by the nominal budget or, without one, by steps of a factor of two in FLOPs,
// each named by its upper end.
void Add(ForecastSet set, std::vector<ForecastSet>& sets) {
  if (set.observations.empty()) return;
  // Figure 4 and the first IsoFLOP set are the same runs, so they share a half.
  for (const char* tuned :
       {"porian rw|", "isoflop epochai", "isoflop ml_scalefit", "chinchilla fig"})
    if (set.name.starts_with(tuned)) set.half = ForecastSet::kTuning;
  for (const Observation& o : set.observations)
    set.budgets.push_back(o.budget_flops > 0 ? o.budget_flops
                                             : std::exp2(std::ceil(std::log2(o.flops))));
  sets.push_back(std::move(set));
}

// One row a file line, for files that are no list of runs.
struct Lines {
  fit::CsvTable table;
  std::map<std::string, size_t> column;
  const std::string& At(size_t row, const std::string& name) const {
    return table.rows[row][column.at(name)];
  }
  double Number(size_t row, const std::string& name) const {
    return std::strtod(At(row, name).c_str(), nullptr);
  }
};

Lines ReadLines(const std::string& path) {
  Lines lines;
  const auto text = core::ReadFile(path);
  if (!text.ok()) {
    fmt::print(stderr, "left out: {}\n", std::string(text.status().message()));
    return lines;
  }
  auto table = fit::ParseCsv(*text, path);
  if (!table.ok()) {
    fmt::print(stderr, "left out: {}\n", std::string(table.status().message()));
    return lines;
  }
  lines.table = *std::move(table);
  for (size_t i = 0; i < lines.table.header.size(); ++i) lines.column[lines.table.header[i]] = i;
  return lines;
}

Observation Row(double flops, double params, double tokens, double loss) {
  Observation o;
  o.flops = flops;
  o.params = params, o.tokens = tokens, o.loss = loss;
  return o;
}

void AddPorian(const std::string& folder, std::vector<ForecastSet>& sets) {
  const Lines lines = ReadLines(folder + "/porian_optima.csv");
  std::map<std::string, ForecastSet> configs;
  for (size_t i = 0; i < lines.table.rows.size(); ++i) {
    if (lines.At(i, "n_opt").empty() || !(lines.Number(i, "loss_opt") > 0)) continue;
    const std::string& config = lines.At(i, "config");
    ForecastSet& set = configs[config];
    set.name = "porian " + config;
    set.group = "porian";
    set.optima = true;
    set.observations.push_back(Row(lines.Number(i, "flops"), lines.Number(i, "n_opt"),
                                   lines.Number(i, "t_opt"), lines.Number(i, "loss_opt")));
    set.observations.back().budget_flops = set.observations.back().flops;
  }
  for (auto& [name, set] : configs) Add(std::move(set), sets);
}

void AddDelphi(const std::string& folder, std::vector<ForecastSet>& sets) {
  const Lines lines = ReadLines(folder + "/delphi_attempt2_optima_and_heldout.csv");
  ForecastSet set{"delphi optima", "delphi", {}, {}, true};
  for (size_t i = 0; i < lines.table.rows.size(); ++i) {
    const std::string& kind = lines.At(i, "kind");
    if (lines.At(i, "metric") != "paloma_macro_loss(nats)") continue;
    if (kind != "fitted_optimum" && kind != "held_out") continue;
    set.observations.push_back(Row(lines.Number(i, "budget_flops"), lines.Number(i, "params"),
                                   lines.Number(i, "tokens"), lines.Number(i, "value")));
    set.observations.back().budget_flops = set.observations.back().flops;
  }
  Add(std::move(set), sets);
}

// The last checkpoint of every ladder run; C4 loss.
void AddOlmo(const std::string& folder, std::vector<ForecastSet>& sets) {
  const Lines lines = ReadLines(folder + "/olmo_ladder.csv");
  std::map<std::string, size_t> last;
  for (size_t i = 0; i < lines.table.rows.size(); ++i)
    if (!lines.At(i, "mult").empty() && lines.At(i, "run").find("rerun") == std::string::npos)
      last[lines.At(i, "run")] = i;
  ForecastSet set{"olmo ladder", "olmo", {}, {}, false};
  for (const auto& [run, i] : last)
    if (run.find("xC") != std::string::npos && lines.Number(i, "loss_c4") > 0)
      set.observations.push_back(Row(lines.Number(i, "flops"), lines.Number(i, "params"),
                                     lines.Number(i, "tokens"), lines.Number(i, "loss_c4")));
  Add(std::move(set), sets);
}

bool IsFloat(const std::string& text) {
  char* end = nullptr;
  return std::strtod(text.c_str(), &end) > 0 && end != text.c_str();
}

// A file in the benchmark's own format; nothing where it is another kind of table.
void AddOther(const std::string& path, std::vector<ForecastSet>& sets) {
  const Lines lines = ReadLines(path);
  const bool series = lines.column.count("flops") > 0 && lines.column.count("params") > 0 &&
                      lines.column.count("tokens") > 0 && lines.column.count("loss") > 0;
  if (!series || lines.table.rows.empty() || !IsFloat(lines.At(0, "loss"))) return;
  const std::string name = std::filesystem::path(path).stem().string();
  std::set<std::string> parts = {""};
  if (lines.column.count("set") > 0) {
    parts.clear();
    for (size_t i = 0; i < lines.table.rows.size(); ++i) parts.insert(lines.At(i, "set"));
  }
  for (const std::string& part : parts) {
    ForecastSet set{part.empty() ? name : name + " " + part, name, {}, {}, false};
    set.half = ForecastSet::kAdded;
    set.observations = Read(
        path, part.empty() ? std::vector<fit::Where>() : std::vector<fit::Where>{{"set", part}});
    Add(std::move(set), sets);
  }
}

}  // namespace

std::vector<ForecastSet> LoadForecastSets(const std::string& folder) {
  std::vector<ForecastSet> sets;
  for (const char* experiment :
       {"epochai_chinchilla__massivetext__chinchilla", "ml_scalefit__massivetext__chinchilla",
        "llama_3__exp_loss", "marin_202603__nemotron__llama_2"}) {
    ForecastSet set{fmt::format("isoflop {}", experiment), experiment, {}, {}, false};
    set.observations = Read(folder + "/isoflop_sets.csv", {{"experiment", experiment}});
    for (Observation& o : set.observations) o.budget_flops = o.flops;
    Add(std::move(set), sets);
  }
  ForecastSet chinchilla{"chinchilla figure 4", "chinchilla figure 4", {}, {}, false};
  chinchilla.observations =
      Read(folder + "/chinchilla_epoch.csv", {{"excluded_in_epoch_fit", "0"}});
  Add(std::move(chinchilla), sets);
  ForecastSet gadre{"gadre over-training", "gadre", {}, {}, false};
  gadre.observations =
      Read(folder + "/gadre_overtrain_rpj.csv", {}, {{"loss", "loss_c4_val"}, {"id", "name"}});
  Add(std::move(gadre), sets);
  AddOlmo(folder, sets);
  AddDelphi(folder, sets);
  AddPorian(folder, sets);
  // Read above, or the same runs as another file.
  const std::set<std::string> known = {"isoflop_sets.csv",
                                       "chinchilla_epoch.csv",
                                       "gadre_overtrain_rpj.csv",
                                       "olmo_ladder.csv",
                                       "delphi_attempt2_optima_and_heldout.csv",
                                       "porian_optima.csv",
                                       "marin_nemotron_attempt1.csv"};
  std::set<std::string> others;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".csv" && known.count(entry.path().filename().string()) == 0)
      others.insert(entry.path().string());
  for (const std::string& path : others) AddOther(path, sets);
  return sets;
}

std::vector<ForecastSet> LoadForecastCsv(const std::string& path) {
  std::vector<ForecastSet> sets;
  ForecastSet set{path, path, Read(path), {}, false};
  set.half = ForecastSet::kAdded;
  Add(std::move(set), sets);
  return sets;
}

}  // namespace bench
