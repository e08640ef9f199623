#include "sweepctl/forecast_warnings.h"

#include <algorithm>

#include "core/status_macros.h"
#include "fmt/format.h"

namespace sweepctl {
namespace {

using core::Json;

// The list under `key`; empty for any other shape, which no program of ours has written.
Json List(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_array()) return Json::array();
  return object[key];
}

// The text under `key`, or "" for any other shape.
std::string Text(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_string()
             ? object[key].get<std::string>()
             : "";
}

bool Promises(const Json& prediction, const Json& forecast) {
  return prediction.is_object() && prediction.value("law", Json()) == forecast.at("law") &&
         prediction.value("budget_flops", Json()) == forecast.at("budget_flops");
}

}  // namespace

absl::StatusOr<Json> StoredFit(orchestrator::Reader& reader, const Json& forecast) {
  ASSIGN_OR_RETURN(const std::vector<Json> rows,
                   reader.Rows("SELECT sweep, fit_json, fit_hash FROM fits WHERE "
                               "observations_hash=?1 ORDER BY fit_id DESC",
                               forecast.at("observations_hash").get<std::string>()));
  const auto record = core::ParseJson(Text(forecast, "record_json"), "registration");
  const std::string promised = record.ok() ? Text(*record, "fit_hash") : "";
  // The same observations may have been fitted for other targets, before and since.
  for (const Json& row : rows) {
    if (row["sweep"] != forecast.at("sweep")) continue;
    if (!promised.empty() && row["fit_hash"] != promised) continue;
    auto fit = core::ParseJson(Text(row, "fit_json"), "a stored fit");
    if (!fit.ok()) continue;
    for (const Json& prediction : List(*fit, "predictions"))
      if (Promises(prediction, forecast) && prediction.value("loss", Json()) == forecast.at("loss"))
        return *std::move(fit);
  }
  return Json();
}

Json WarningsOf(const Json& fit, const Json& forecast) {
  if (fit.is_null()) return Json();
  Json warnings = Json::array();
  const auto add = [&](const Json& of) {
    for (const Json& warning : List(of, "warnings"))
      if (!Text(warning, "code").empty() &&
          std::find(warnings.begin(), warnings.end(), warning) == warnings.end())
        warnings.push_back(warning);
  };
  for (const Json& prediction : List(fit, "predictions"))
    if (Promises(prediction, forecast)) add(prediction);
  for (const Json& law : List(fit, "fits"))
    if (law.is_object() && law.value("law", Json()) == forecast.at("law")) add(law);
  add(fit);
  return warnings;
}

std::string WarningLines(const Json& warnings) {
  if (warnings.is_null()) return "  ! its warnings are unknown: the fit behind it is not stored\n";
  std::string text;
  for (const Json& warning : warnings)
    text += fmt::format("  ! {}: {}\n", warning.value("code", ""), warning.value("text", ""));
  return text;
}

}  // namespace sweepctl
