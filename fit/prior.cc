#include "fit/prior.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/canonical_json.h"
#include "core/check.h"
#include "core/did_you_mean.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/bootstrap.h"
#include "fit/chinchilla.h"
#include "fit/equation_fit.h"
#include "fit/fit.h"
#include "fit/stats.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

constexpr int kStarts = 64;

// theta = (lnA, lnB, E, alpha, beta).
std::vector<double> ChinchillaTheta(double E, double A, double B, double alpha, double beta) {
  return {std::log(A), std::log(B), E, alpha, beta};
}

// The published priors, each with the arithmetic that made it.
std::vector<Prior> Published() {
  std::vector<Prior> priors(3);
  for (Prior& prior : priors) prior.law = &ChinchillaLaw();

  Prior& chinchilla = priors[0];
  chinchilla.name = "chinchilla";
  chinchilla.draws = {ChinchillaTheta(1.81686, 482.006, 2085.43, 0.347813, 0.365854)};
  chinchilla.source = "Besiroglu et al. 2024 (arXiv:2404.10102), 240 runs of Hoffmann et al. 2022";
  // Mean |residual| 1.12949/240 = 0.47 % of the same fit, as a normal standard deviation.
  chinchilla.noise = {0.0059, 0};
  chinchilla.noise_source = "mean residual of that fit, digitised from a figure";
  chinchilla.smallest_flops = 1.4e18, chinchilla.largest_flops = 1.3e22;

  // No surface of Delphi is published, only its frontier. The one Chinchilla surface with that
  // frontier: E and R C^-p as fitted to the seven optima (R = 1.32806 at 1e20, p = 0.10061), N* ~
  // C^0.4026 and D* ~ C^0.5682 through (1.514e9, 1.110e10) at 1e20. With b = .5682 / (.4026 +
  // .5682): alpha = p / (1 - b), beta = p / b, and alpha A N*^-alpha = beta B D*^-beta. It gives
  // back the optima within 0.6 % and the three held-out runs within 0.4 %.
  Prior& delphi = priors[1];
  delphi.name = "delphi";
  delphi.draws = {ChinchillaTheta(1.6951, 92.918, 41.435, 0.242603, 0.171898)};
  delphi.source =
      "made from the seven published Delphi optima (Paloma macro loss): a frontier, no fitted "
      "surface";
  delphi.noise = {0.003, 0.001};
  delphi.noise_source =
      "shape: a guess, the residuals of Llama 3's IsoFLOP runs; seed: Delphi's report";
  delphi.smallest_flops = 3e18, delphi.largest_flops = 3e20;

  // Our own record: Huber fits through the 20 trials of sweeps/quickstart.yaml (2026-11-22), which
  // leave E open: one refit at each of five values of its 90 % range, 0 to 1.19.
  Prior& nano = priors[2];
  nano.name = "nano";
  nano.draws = {ChinchillaTheta(0.6, 28.382, 20.512, 0.29964, 0.19728),
                ChinchillaTheta(0, 20.245, 13.838, 0.24920, 0.15180),
                ChinchillaTheta(0.4, 22.636, 18.547, 0.26574, 0.18800),
                ChinchillaTheta(0.8, 33.237, 25.313, 0.32197, 0.21901),
                ChinchillaTheta(1.1, 39.217, 43.506, 0.34401, 0.27365)};
  nano.source =
      "20 trials of sweeps/quickstart.yaml on Linux 6.1's source, SentencePiece 512; E is open, so "
      "five fits with E from 0 to 1.1";
  nano.noise = {0.011, 0.0035};
  nano.noise_source =
      "residuals of that fit; seed: 8 runs of widths 64 and 80 at 2e13 FLOPs, four seeds each";
  nano.smallest_flops = 1e11, nano.largest_flops = 3e12;
  return priors;
}

const std::vector<Prior>& AllPublished() {
  static const auto* const priors = new std::vector<Prior>(Published());
  return *priors;
}

bool IsLog(const Coordinate& c) { return c.name.starts_with("ln"); }
std::string Letter(const Coordinate& c) { return IsLog(c) ? c.name.substr(2) : c.name; }

// Index of the coordinate that a letter names; -1 where there is none.
int IndexOf(const SurfaceLaw& law, std::string_view letter) {
  const std::vector<Coordinate>& coordinates = law.coordinates();
  for (size_t i = 0; i < coordinates.size(); ++i)
    if (Letter(coordinates[i]) == letter) return static_cast<int>(i);
  return -1;
}

absl::StatusOr<const SurfaceLaw*> SurfaceByName(std::string_view name) {
  const Law* law = LawByName(name);
  if (law != nullptr && law->surface() != nullptr) return law->surface();
  std::vector<std::string> surfaces;
  for (const std::string& known : LawNames()) {
    const Law* other = LawByName(known);
    if (other != nullptr && other->surface() != nullptr) surfaces.push_back(known);
  }
  return absl::InvalidArgumentError(fmt::format("a prior is a surface L(N, D), not '{}'; one of {}",
                                                name, fmt::join(surfaces, ", ")));
}

// Mean square within groups of runs of one shape and token count; 0 without repeats.
double SeedVariance(const std::vector<Observation>& runs, const std::vector<double>& residuals) {
  std::map<std::pair<double, double>, std::vector<double>> groups;
  for (size_t i = 0; i < runs.size(); ++i)
    groups[{runs[i].params, runs[i].tokens}].push_back(residuals[i]);
  double sum = 0;
  size_t dof = 0;
  for (const auto& [where, values] : groups) {
    const double mean = Mean(values);
    for (const double r : values) sum += (r - mean) * (r - mean);
    dof += values.size() - 1;
  }
  return dof > 0 ? sum / static_cast<double>(dof) : 0;
}

absl::StatusOr<std::vector<double>> ThetaOf(const SurfaceLaw& law, const core::Json& params) {
  std::vector<double> theta;
  for (const Coordinate& c : law.coordinates()) {
    const auto found = params.find(Letter(c));
    if (found == params.end() || !found->is_number())
      return absl::InvalidArgumentError(
          fmt::format("law {} needs the number \"{}\" in its params", law.name(), Letter(c)));
    const double value = found->get<double>();
    const double coordinate = IsLog(c) ? std::log(value) : value;
    if (!(coordinate >= c.lower && coordinate <= c.upper))
      return absl::InvalidArgumentError(
          fmt::format("{} = {} is outside the bounds of law {}", Letter(c), value, law.name()));
    theta.push_back(coordinate);
  }
  return theta;
}

// Mean Huber loss of normal residuals.
double MeanHuber(double delta, double sd) {
  const double c = delta / sd;
  const double density = std::exp(-0.5 * c * c) / std::sqrt(2 * std::acos(-1.0));
  const double outside = std::erfc(c / std::sqrt(2.0));
  return 0.5 * sd * sd * (1 - outside - 2 * c * density) + 2 * delta * sd * density -
         0.5 * delta * delta * outside;
}

// Standard deviation of normal residuals with this mean loss, Huber's or squared.
double SdOfMeanLoss(bool huber, double delta, double mean) {
  if (!huber) return std::sqrt(2 * mean);
  double low = 0, high = std::sqrt(0.5 * std::acos(-1.0)) * (mean / delta + 0.5 * delta);
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (MeanHuber(delta, middle) < mean ? low : high) = middle;
  }
  return high;
}

// What a fit's residuals say of single runs; 0 where its entry does not tell.
double NoiseOfObjective(const core::Json& fit) {
  const auto number = [&](const char* key) {
    const auto found = fit.find(key);
    return found != fit.end() && found->is_number() ? found->get<double>() : 0.0;
  };
  const auto text = [&](const char* key) {
    const auto found = fit.find(key);
    return found != fit.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const bool huber = text("loss") == Name(LossKind::kHuber);
  const double n = number("n"), free = n - number("constants"), delta = number("delta");
  if ((!huber && text("loss") != Name(LossKind::kL2)) || (huber && !(delta > 0)) ||
      text("residual") != Name(ResidualKind::kLog) || number("over") != 1 ||
      !(number("objective") > 0) || !(free > 0))
    return 0;
  return SdOfMeanLoss(huber, delta, number("objective") / n) * std::sqrt(n / free);
}

// "noise" of an entry: a number, the scatter as a power of C (--noise-by-flops), or null or
// missing.
absl::Status ReadNoise(const core::Json& entry, Prior* prior) {
  const auto noise = entry.find("noise");
  if (noise == entry.end() || noise->is_null()) {
    prior->noise.shape = NoiseOfObjective(entry);
    if (prior->noise.shape > 0)
      prior->noise_source = "the objective of that fit, as of normal residuals";
    return absl::OkStatus();
  }
  const bool power = noise->is_object() && noise->contains("sd") && noise->contains("at_flops");
  const core::Json& sd = power ? (*noise)["sd"] : *noise;
  if (!sd.is_number() || !(sd.get<double>() > 0) || (power && !(*noise)["at_flops"].is_number()))
    return absl::InvalidArgumentError(
        "\"noise\" is the standard deviation of ln L, above 0, or null, or what `fit "
        "--noise-by-flops --json` says of it");
  prior->noise.shape = sd.get<double>();
  prior->noise_source = "the same file";
  if (power)
    prior->noise_source += fmt::format(", at {} FLOPs, the middle of its runs",
                                       core::FormatFlops((*noise)["at_flops"].get<double>()));
  return absl::OkStatus();
}

absl::StatusOr<Prior> FromEntry(const core::Json& entry) {
  if (!entry.is_object() || !entry.contains("law") || !entry["law"].is_string() ||
      !entry.contains("params") || !entry["params"].is_object())
    return absl::InvalidArgumentError(
        "a prior is {\"law\": \"chinchilla\", \"params\": {\"E\": ..., ...}} or what `fit --json` "
        "prints");
  Prior prior;
  ASSIGN_OR_RETURN(prior.law, SurfaceByName(entry["law"].get<std::string>()));
  ASSIGN_OR_RETURN(prior.draws.emplace_back(), ThetaOf(*prior.law, entry["params"]));
  RETURN_IF_ERROR(ReadNoise(entry, &prior));
  return prior;
}

// Of several fits chinchilla, else the first that can be a prior; `source` then names all of them.
absl::StatusOr<Prior> FromParsedJson(const core::Json& json) {
  if (!json.contains("fits") || !json["fits"].is_array()) return FromEntry(json);
  absl::StatusOr<Prior> best =
      absl::InvalidArgumentError("none of its fits is a surface law; fit --law chinchilla");
  std::vector<std::string> laws;
  for (const core::Json& fit : json["fits"]) {
    const bool named = fit.is_object() && fit.contains("law") && fit["law"].is_string();
    laws.push_back(named ? fit["law"].get<std::string>() : "?");
    if (!SurfaceByName(laws.back()).ok()) continue;
    absl::StatusOr<Prior> prior = FromEntry(fit);
    if (!best.ok() || (prior.ok() && laws.back() == ChinchillaLaw().name()))
      best = std::move(prior);
  }
  const auto flops = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_number() ? found->get<double>() : 0.0;
  };
  if (best.ok() && flops("smallest_flops") > 0 && flops("largest_flops") > 0)
    best->smallest_flops = flops("smallest_flops"), best->largest_flops = flops("largest_flops");
  if (best.ok() && laws.size() > 1)
    best->source = fmt::format(", of its fits {}", fmt::join(laws, ", "));
  return best;
}

}  // namespace

double RunNoise::Total() const { return std::hypot(shape, seed); }

const std::vector<std::string>& PublishedPriorNames() {
  static const auto* const names = [] {
    auto* list = new std::vector<std::string>;
    for (const Prior& prior : AllPublished()) list->push_back(prior.name);
    return list;
  }();
  return *names;
}

absl::StatusOr<Prior> PublishedPrior(std::string_view name) {
  for (const Prior& prior : AllPublished())
    if (prior.name == name) return prior;
  return absl::NotFoundError(fmt::format("no published prior '{}'{}; there are {}", name,
                                         core::DidYouMean(std::string(name), PublishedPriorNames()),
                                         fmt::join(PublishedPriorNames(), ", ")));
}

absl::StatusOr<Prior> PriorFromRuns(const std::vector<Observation>& runs, std::string_view law_name,
                                    int draws, uint64_t seed) {
  SWEEP_CHECK(!runs.empty());
  Prior prior;
  ASSIGN_OR_RETURN(prior.law, SurfaceByName(law_name));
  const auto coordinates = static_cast<double>(prior.law->coordinates().size());
  const std::vector<FitPoint> points = SurfacePoints(runs);
  std::set<std::pair<double, double>> different;
  for (const Observation& run : runs) different.emplace(run.params, run.tokens);
  if (static_cast<double>(different.size()) <= coordinates)
    return absl::FailedPreconditionError(
        fmt::format("{} different (params, tokens) pairs do not determine the {} constants of {}; "
                    "finish more runs or name another prior",
                    different.size(), prior.law->coordinates().size(), prior.law->name()));
  const std::vector<double> ones(points.size(), 1);
  const std::vector<std::vector<double>> starts = prior.law->Starts(points, ones, kStarts);
  const LossSpec loss;
  const EquationFit best = FitGlobally(*prior.law, points, ones, loss, starts);
  if (best.theta.empty())
    return absl::FailedPreconditionError(
        fmt::format("{}: no start gave a finite objective; check the runs for extreme values{}",
                    prior.law->name(), MostExtreme(runs)));
  std::vector<std::vector<double>> warm = {best.theta};
  for (size_t i = 0; i < starts.size() && i < 2; ++i) warm.push_back(starts[i]);
  BootstrapOptions options;
  options.resamples = draws;
  options.seed = seed;
  const BootstrapDraws refits =
      RunBootstrap(options, best.theta.size(), [&](core::Rng& rng, int, std::vector<double>& row) {
        const std::vector<double> weights = CaseWeights(rng, points.size());
        std::set<std::pair<double, double>> kept;
        for (size_t i = 0; i < runs.size(); ++i)
          if (weights[i] > 0) kept.emplace(runs[i].params, runs[i].tokens);
        if (static_cast<double>(kept.size()) <= coordinates) return false;
        row = Refit(*prior.law, points, weights, loss, warm);
        return !row.empty();
      });
  prior.draws = {best.theta};
  for (size_t i = 0; i < refits.size(); ++i) prior.draws.push_back(refits.Row(i));

  const auto n = static_cast<double>(points.size());
  std::vector<double> residuals;
  for (const FitPoint& p : points)
    residuals.push_back(p.log_y - std::log(prior.law->Value(best.theta.data(), p.x)));
  const double total =
      RootMeanSquare(residuals) * (n > coordinates ? std::sqrt(n / (n - coordinates)) : 1);
  const double seed_variance = std::min(SeedVariance(runs, residuals), total * total);
  prior.noise = {std::sqrt(total * total - seed_variance), std::sqrt(seed_variance)};
  prior.noise_source = seed_variance > 0 ? "residuals of that fit, seeds apart"
                                         : "residuals of that fit; no repeats, so seeds unknown";
  const auto [smallest, largest] = std::minmax_element(
      runs.begin(), runs.end(),
      [](const Observation& a, const Observation& b) { return a.flops < b.flops; });
  prior.smallest_flops = smallest->flops, prior.largest_flops = largest->flops;
  prior.source = fmt::format("{} through {} finished runs, {} bootstrap refits", prior.law->name(),
                             runs.size(), refits.size());
  return prior;
}

absl::StatusOr<Prior> PriorFromJson(std::string_view text, std::string_view origin) {
  const core::Json json = core::Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object())
    return absl::InvalidArgumentError(fmt::format("{}: not a JSON object", origin));
  auto prior = FromParsedJson(json);
  if (!prior.ok())
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", origin, std::string(prior.status().message())));
  prior->name = origin;
  prior->source = fmt::format("constants of {} in {}{}, taken as exact", prior->law->name(), origin,
                              prior->source);
  return prior;
}

absl::StatusOr<Prior> WithRanges(const Prior& prior, const ConstantRanges& ranges, double params,
                                 double tokens, int draws, uint64_t seed) {
  SWEEP_CHECK(params > 0 && tokens > 0 && draws > 0);
  const SurfaceLaw& law = *prior.law;
  Prior ranged = prior;
  ranged.draws.assign(1 + static_cast<size_t>(draws), prior.draws.front());
  uint64_t stream = 0;
  std::string text;
  for (const auto& [letter, range] : ranges) {
    const int found = IndexOf(law, letter);
    if (found < 0)
      return absl::InvalidArgumentError(fmt::format("prior {} has no constant '{}'; it is {}",
                                                    prior.name, letter, law.equation()));
    const auto index = static_cast<size_t>(found);
    const Coordinate& c = law.coordinates()[index];
    const auto coordinate = [&](double value) { return IsLog(c) ? std::log(value) : value; };
    if (!(range.first <= range.second) || !(coordinate(range.first) >= c.lower) ||
        !(coordinate(range.second) <= c.upper))
      return absl::InvalidArgumentError(
          fmt::format("{} cannot range from {:g} to {:g}", letter, range.first, range.second));
    // A stratified sample; the middle for the best guess.
    std::vector<double> shares(static_cast<size_t>(draws));
    for (size_t i = 0; i < shares.size(); ++i)
      shares[i] = (static_cast<double>(i) + 0.5) / static_cast<double>(draws);
    core::Rng rng(seed, stream++);
    for (size_t i = shares.size(); i > 1; --i) std::swap(shares[i - 1], shares[rng.Below(i)]);
    shares.insert(shares.begin(), 0.5);
    const int level = IndexOf(law, letter == "alpha" ? "A" : letter == "beta" ? "B" : "");
    const bool level_given =
        level >= 0 && ranges.count(Letter(law.coordinates()[static_cast<size_t>(level)])) > 0;
    for (size_t i = 0; i < ranged.draws.size(); ++i) {
      std::vector<double>& theta = ranged.draws[i];
      const double before = theta[index];
      theta[index] = coordinate(range.first + shares[i] * (range.second - range.first));
      if (level >= 0 && !level_given)
        theta[static_cast<size_t>(level)] +=
            (theta[index] - before) * std::log(letter == "alpha" ? params : tokens);
    }
    text += fmt::format("{}{} {:g} .. {:g}", text.empty() ? "" : ", ", letter, range.first,
                        range.second);
  }
  ranged.source += "; with " + text;
  return ranged;
}

}  // namespace fit
