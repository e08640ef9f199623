#include "recipes/plan.h"

#include <cmath>

#include "core/check.h"
#include "core/did_you_mean.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace recipes {
namespace {

using core::Json;

// Grows with every change of the field list below; a reader of another format refuses the bytes.
constexpr int kPlanFormat = 1;

// The field list of every struct exists once, as Fields(visitor, object), and serves both
// directions: Writer fills a Json from the struct, Reader fills the struct from a Json.
template <typename V, typename T>
void Fields(V& v, T& x);

class Writer {
 public:
  explicit Writer(Json* out) : out_(out) { *out_ = Json::object(); }

  template <typename T>
  void Field(const char* key, const T& value) {
    (*out_)[key] = ToJson(value);
  }

 private:
  static Json ToJson(const Json& value) { return value; }
  static Json ToJson(const std::string& value) { return value; }
  static Json ToJson(double value) { return value; }
  static Json ToJson(int32_t value) { return value; }
  static Json ToJson(int64_t value) { return value; }
  static Json ToJson(uint64_t value) { return value; }
  template <typename T>
  static Json ToJson(const std::vector<T>& values) {
    Json out = Json::array();
    for (const T& value : values) out.push_back(ToJson(value));
    return out;
  }
  template <typename T>
  static Json ToJson(const T& value) {
    Json out;
    Writer writer(&out);
    Fields(writer, value);
    return out;
  }

  Json* out_;
};

// Reads one object; the first problem is kept and everything after it is skipped.
class Reader {
 public:
  Reader(const Json& object, std::string path, absl::Status* status)
      : object_(object), path_(std::move(path)), status_(status) {
    if (!object_.is_object()) Fail(path_, "is not an object");
  }

  template <typename T>
  void Field(const char* key, T& value) {
    known_.push_back(key);
    if (!status_->ok()) return;
    const auto found = object_.find(key);
    if (found == object_.end()) return Fail(path_ + "." + key, "is missing");
    Read(*found, path_ + "." + key, value);
  }

  void RefuseUnknown() {
    if (!status_->ok()) return;
    for (const auto& [key, unused] : object_.items()) {
      bool known = false;
      for (const std::string& name : known_) known |= name == key;
      if (!known) return Fail(path_ + "." + key, "is unknown" + core::DidYouMean(key, known_));
    }
  }

 private:
  void Fail(const std::string& path, const std::string& what) {
    if (status_->ok())
      *status_ = absl::InvalidArgumentError(fmt::format("reading a plan: {} {}", path, what));
  }

  void Read(const Json& json, const std::string& path, Json& value) {
    if (!json.is_object()) return Fail(path, "is not an object");
    value = json;
  }
  void Read(const Json& json, const std::string& path, std::string& value) {
    if (!json.is_string()) return Fail(path, "is not a string");
    value = json.get<std::string>();
  }
  void Read(const Json& json, const std::string& path, double& value) {
    if (!json.is_number()) return Fail(path, "is not a number");
    value = json.get<double>();
  }
  void Read(const Json& json, const std::string& path, int64_t& value) {
    if (!json.is_number_integer()) return Fail(path, "is not an integer");
    if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{1} << 53)
      return Fail(path, "is beyond 2^53");
    value = json.get<int64_t>();
  }
  void Read(const Json& json, const std::string& path, int32_t& value) {
    int64_t wide = 0;
    Read(json, path, wide);
    value = static_cast<int32_t>(wide);
    if (value != wide) Fail(path, "is beyond 32 bits");
  }
  void Read(const Json& json, const std::string& path, uint64_t& value) {
    if (!json.is_number_unsigned()) return Fail(path, "is not a natural number");
    value = json.get<uint64_t>();
  }
  template <typename T>
  void Read(const Json& json, const std::string& path, std::vector<T>& values) {
    if (!json.is_array()) return Fail(path, "is not an array");
    values.resize(json.size());
    for (size_t i = 0; i < json.size(); ++i)
      Read(json[i], fmt::format("{}[{}]", path, i), values[i]);
  }
  template <typename T>
  void Read(const Json& json, const std::string& path, T& value) {
    Reader reader(json, path, status_);
    Fields(reader, value);
    reader.RefuseUnknown();
  }

  const Json& object_;
  const std::string path_;
  absl::Status* status_;
  std::vector<std::string> known_;
};

// T is the struct or its const; V a Writer or a Reader.
template <typename V, typename T>
void Fields(V& v, T& x) {
  using S = std::remove_const_t<T>;
  if constexpr (std::is_same_v<S, Budget>) {
    v.Field("kind", x.kind);
    v.Field("amount", x.amount);
  } else if constexpr (std::is_same_v<S, ModelSpec>) {
    v.Field("family", x.family);
    v.Field("config", x.config);
  } else if constexpr (std::is_same_v<S, InitRule>) {
    v.Field("role", x.role);
    v.Field("distribution", x.distribution);
    v.Field("std", x.std);
    v.Field("fan_in_power", x.fan_in_power);
    v.Field("truncation", x.truncation);
  } else if constexpr (std::is_same_v<S, OptimizerGroup>) {
    v.Field("name", x.name);
    v.Field("algorithm", x.algorithm);
    v.Field("roles", x.roles);
    v.Field("peak_lr", x.peak_lr);
    v.Field("beta1", x.beta1);
    v.Field("beta2", x.beta2);
    v.Field("epsilon", x.epsilon);
    v.Field("weight_decay", x.weight_decay);
    v.Field("clip_norm", x.clip_norm);
  } else if constexpr (std::is_same_v<S, Schedule>) {
    v.Field("kind", x.kind);
    v.Field("warmup_steps", x.warmup_steps);
    v.Field("stable_steps", x.stable_steps);
    v.Field("decay_steps", x.decay_steps);
    v.Field("final_fraction", x.final_fraction);
  } else if constexpr (std::is_same_v<S, Phase>) {
    v.Field("program", x.program);
    v.Field("steps", x.steps);
  } else if constexpr (std::is_same_v<S, DataSource>) {
    v.Field("name", x.name);
    v.Field("weight", x.weight);
    v.Field("max_epochs", x.max_epochs);
    v.Field("manifest_hash", x.manifest_hash);
    v.Field("tokens", x.tokens);
  } else if constexpr (std::is_same_v<S, DataSpec>) {
    v.Field("sources", x.sources);
    v.Field("order_rule", x.order_rule);
    v.Field("tokenizer_hash", x.tokenizer_hash);
    v.Field("eval_hash", x.eval_hash);
    v.Field("loss_definition", x.loss_definition);
  } else {
    static_assert(std::is_same_v<S, Plan>);
    v.Field("recipe", x.recipe);
    v.Field("recipe_version", x.recipe_version);
    v.Field("budget", x.budget);
    v.Field("model", x.model);
    v.Field("params", x.params);
    v.Field("params_no_qk_norm", x.params_no_qk_norm);
    v.Field("params_no_embedding", x.params_no_embedding);
    v.Field("tokens", x.tokens);
    v.Field("seq_len", x.seq_len);
    v.Field("batch", x.batch);
    v.Field("steps", x.steps);
    v.Field("recipe_flops", x.recipe_flops);
    v.Field("model_flops", x.model_flops);
    v.Field("optimizer", x.optimizer);
    v.Field("schedule", x.schedule);
    v.Field("init", x.init);
    v.Field("z_loss_weight", x.z_loss_weight);
    v.Field("phases", x.phases);
    v.Field("init_seed", x.init_seed);
    v.Field("data_seed", x.data_seed);
    v.Field("data", x.data);
    v.Field("numerics", x.numerics);
    v.Field("clamps", x.clamps);
  }
}

}  // namespace

absl::StatusOr<std::string> PlanBytes(const Plan& plan) {
  Json json;
  Writer writer(&json);
  Fields(writer, plan);
  json["plan_format"] = kPlanFormat;
  return core::CanonicalJson(json);
}

absl::StatusOr<Plan> ParsePlan(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Json json, core::ParseJson(bytes, "the plan"));
  absl::Status status;
  Plan plan;
  Reader reader(json, "$", &status);
  int32_t format = kPlanFormat;
  reader.Field("plan_format", format);
  if (status.ok() && format != kPlanFormat) {
    return absl::InvalidArgumentError(
        fmt::format("reading a plan: its format is {} and this build reads {}; use the version "
                    "that wrote it",
                    format, kPlanFormat));
  }
  Fields(reader, plan);
  reader.RefuseUnknown();
  RETURN_IF_ERROR(status);
  ASSIGN_OR_RETURN(const std::string again, PlanBytes(plan));
  if (again != bytes) {
    return absl::InvalidArgumentError(
        "reading a plan: the bytes are not canonical JSON; pass plans on unchanged, never "
        "re-serialised");
  }
  return plan;
}

absl::StatusOr<std::string> TrialId(const Plan& plan) {
  const DataSpec& data = plan.data;
  bool prepared = !data.sources.empty() && !data.tokenizer_hash.empty() && !data.eval_hash.empty();
  for (const DataSource& source : data.sources) prepared &= !source.manifest_hash.empty();
  if (!prepared) {
    return absl::FailedPreconditionError(
        "a trial has no id before its data are prepared: run `sweepctl data prepare` first");
  }
  ASSIGN_OR_RETURN(const std::string bytes, PlanBytes(plan));
  return core::Sha256Hex(bytes);
}

bool Distorts(std::string_view clamp) { return clamp != "beta2_steps" && clamp != "beta_floor"; }

double ScheduleFactor(const Schedule& schedule, int64_t k) {
  const int64_t warmup = schedule.warmup_steps, stable = schedule.stable_steps;
  if (k < warmup) return static_cast<double>(k) / static_cast<double>(warmup);
  if (k < warmup + stable || schedule.decay_steps == 0) return 1;
  const double progress =
      static_cast<double>(k - warmup - stable) / static_cast<double>(schedule.decay_steps);
  if (schedule.kind == "cosine") {
    return schedule.final_fraction +
           (1 - schedule.final_fraction) * 0.5 * (1 + std::cos(3.141592653589793 * progress));
  }
  return 1 - progress * (1 - schedule.final_fraction);
}

}  // namespace recipes
