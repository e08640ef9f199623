#include "fit/law_list.h"

#include <algorithm>

#include "core/did_you_mean.h"
#include "fit/bnsl.h"
#include "fit/chinchilla.h"
#include "fit/data_constrained.h"
#include "fit/drift_law.h"
#include "fit/farseer.h"
#include "fit/frontier_model.h"
#include "fit/kaplan.h"
#include "fit/overtrain.h"
#include "fit/surface_model.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

// Every law there is, in the order of reports.
const std::vector<std::unique_ptr<Law>>& AllLaws() {
  static const auto* const laws = [] {
    auto* list = new std::vector<std::unique_ptr<Law>>;
    list->push_back(MakeIsoflopModel());
    list->push_back(WithProfileAverage(MakeFrontierModel(), DriftKind::kFrontier));
    list->push_back(MakeEnvelopeModel());
    list->push_back(WithProfileAverage(MakeSurfaceModel(ChinchillaLaw()), DriftKind::kSurface));
    list->push_back(MakeSurfaceModel(OvertrainLaw()));
    list->push_back(MakeSurfaceModel(DataConstrainedLaw()));
    list->push_back(MakeSurfaceModel(KaplanLaw()));
    list->push_back(MakeSurfaceModel(FarseerLaw()));
    list->push_back(MakeSurfaceModel(BnslLaw()));
    return list;
  }();
  return *laws;
}

}  // namespace

const std::vector<std::string>& LawNames() {
  static const auto* const names = [] {
    auto* list = new std::vector<std::string>;
    for (const auto& law : AllLaws()) list->emplace_back(law->name());
    list->emplace_back(kTwoStep);
    return list;
  }();
  return *names;
}

std::vector<std::string> UsualLaws(const std::vector<Observation>& observations,
                                   bool observations_are_optima) {
  if (observations_are_optima) return {"frontier"};
  std::vector<std::string> usual = {"isoflop", "frontier", "chinchilla"};
  const bool repeats =
      std::any_of(observations.begin(), observations.end(), [](const Observation& o) {
        return o.unique_tokens > 0 && o.unique_tokens < o.tokens * (1 - 1e-9);
      });
  if (repeats) usual.emplace_back("data-constrained");
  return usual;
}

const Law* LawByName(std::string_view name) {
  for (const auto& law : AllLaws())
    if (law->name() == name) return law.get();
  return nullptr;
}

absl::StatusOr<std::vector<const Law*>> ChooseLaws(const std::vector<std::string>& names,
                                                   const std::vector<std::string>& usual) {
  for (const std::string& name : names) {
    const auto& known = LawNames();
    if (name != "all" && name != "default" &&
        std::find(known.begin(), known.end(), name) == known.end())
      return absl::InvalidArgumentError(fmt::format("no law '{}'{}; the laws are: {}, default, all",
                                                    name, core::DidYouMean(name, known),
                                                    fmt::join(known, ", ")));
  }
  std::vector<const Law*> selected;
  for (const auto& law : AllLaws()) {
    const bool is_usual = std::find(usual.begin(), usual.end(), law->name()) != usual.end();
    const auto is_wanted = [&](const std::string& n) {
      return n == "all" || (n == "default" && is_usual) || n == law->name();
    };
    if (std::any_of(names.begin(), names.end(), is_wanted)) selected.push_back(law.get());
  }
  if (names.empty()) return absl::InvalidArgumentError("no law was asked for");
  return selected;
}

}  // namespace fit
