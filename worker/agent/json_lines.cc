#include "worker/agent/json_lines.h"

#include <cmath>
#include <filesystem>

#include "core/canonical_json.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;
using core::Json;

// The first 200 bytes, with what a terminal could choke on shown as '?'.
std::string Quote(std::string_view line) {
  std::string text(line.substr(0, 200));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
  return fmt::format("'{}'{}", text, line.size() > 200 ? "..." : "");
}

// Fields of one line, with errors that name them.
class Fields {
 public:
  Fields(const Json& object, std::string_view line) : object_(object), line_(line) {}

  absl::Status Wrong(std::string_view what) const {
    return absl::InvalidArgumentError(
        fmt::format("the trainer wrote a line that {}: {}", what, Quote(line_)));
  }
  absl::StatusOr<int64_t> Count(const char* key) const {
    ASSIGN_OR_RETURN(const double value, Number(key));
    if (value < 0 || value > 9007199254740992.0 || value != std::floor(value))
      return Wrong(fmt::format("has a '{}' that is not a whole number >= 0", key));
    return static_cast<int64_t>(value);
  }
  absl::StatusOr<int64_t> CountOr(const char* key, int64_t fallback) const {
    if (!object_.contains(key)) return fallback;
    return Count(key);
  }
  absl::StatusOr<double> Number(const char* key) const {
    if (!object_.contains(key)) return Wrong(fmt::format("lacks '{}'", key));
    if (!object_[key].is_number()) return Wrong(fmt::format("has a '{}' that is no number", key));
    const double value = object_[key].get<double>();
    if (!std::isfinite(value)) return Wrong(fmt::format("has a '{}' that is not finite", key));
    return value;
  }
  absl::StatusOr<double> NumberOr(const char* key, double fallback) const {
    if (!object_.contains(key)) return fallback;
    return Number(key);
  }
  absl::StatusOr<std::string> Text(const char* key, size_t max_bytes) const {
    if (!object_.contains(key)) return Wrong(fmt::format("lacks '{}'", key));
    return TextOr(key, max_bytes, "");
  }
  absl::StatusOr<std::string> TextOr(const char* key, size_t max_bytes,
                                     std::string fallback) const {
    if (!object_.contains(key)) return fallback;
    if (!object_[key].is_string()) return Wrong(fmt::format("has a '{}' that is no text", key));
    std::string value = object_[key].get<std::string>();
    if (value.size() > max_bytes)
      return Wrong(fmt::format("has a '{}' of more than {} bytes", key, max_bytes));
    return value;
  }

 private:
  const Json& object_;
  std::string_view line_;
};

absl::Status ParseMetric(const Fields& fields, const LineContext& context, v1::MetricPoint* point) {
  ASSIGN_OR_RETURN(const std::string name, fields.Text("name", 128));
  if (name.empty()) return fields.Wrong("has an empty 'name'");
  ASSIGN_OR_RETURN(const int64_t step, fields.Count("step"));
  ASSIGN_OR_RETURN(const double value, fields.Number("value"));
  point->set_name(name);
  point->set_step(step);
  point->set_value(value);
  point->set_unix_ms(context.unix_ms);
  return absl::OkStatus();
}

absl::Status ParseEvaluation(const Fields& fields, const LineContext& context,
                             v1::Evaluation* evaluation) {
  ASSIGN_OR_RETURN(const int64_t step, fields.Count("step"));
  ASSIGN_OR_RETURN(const double sum_nats, fields.Number("sum_nats"));
  ASSIGN_OR_RETURN(const int64_t tokens, fields.Count("scored_tokens"));
  ASSIGN_OR_RETURN(const int64_t bytes, fields.Count("scored_bytes"));
  ASSIGN_OR_RETURN(const std::string hash, fields.TextOr("eval_hash", 128, context.eval_hash));
  if (sum_nats < 0) return fields.Wrong("has a negative 'sum_nats'");
  if (tokens == 0) return fields.Wrong("has scored no token");
  evaluation->set_eval_hash(hash);
  evaluation->set_step(step);
  evaluation->set_sum_nats(sum_nats);
  evaluation->set_scored_tokens(tokens);
  evaluation->set_scored_bytes(bytes);
  return absl::OkStatus();
}

absl::Status ParseCheckpoint(const Fields& fields, const LineContext& context,
                             v1::Checkpoint* checkpoint) {
  ASSIGN_OR_RETURN(const int64_t step, fields.Count("step"));
  ASSIGN_OR_RETURN(const std::string text, fields.Text("path", 4096));
  namespace fs = std::filesystem;
  const fs::path root = fs::path(context.checkpoint_dir).lexically_normal();
  const fs::path path = (root / text).lexically_normal();  // an absolute text replaces root
  const fs::path relative = path.lexically_relative(root);
  if (relative.empty() || relative == "." || *relative.begin() == "..")
    return fields.Wrong("names a checkpoint outside SWEEP_CHECKPOINT_DIR");
  std::error_code missing;
  if (!fs::exists(path, missing)) return fields.Wrong("names a checkpoint that does not exist");
  checkpoint->set_step(step);
  checkpoint->set_path(path.string());
  return absl::OkStatus();
}

absl::Status ParseFinished(const Fields& fields, v1::Outcome outcome, v1::Finished* finished) {
  ASSIGN_OR_RETURN(const int64_t step, fields.CountOr("step", 0));
  ASSIGN_OR_RETURN(const double train_seconds, fields.NumberOr("train_seconds", 0));
  ASSIGN_OR_RETURN(const std::string detail, fields.TextOr("detail", 1 << 16, ""));
  if (train_seconds < 0 || train_seconds > 1e10)
    return fields.Wrong("has an impossible 'train_seconds'");
  finished->set_outcome(outcome);
  finished->set_step(step);
  finished->set_detail(detail);
  finished->set_train_ms(static_cast<int64_t>(train_seconds * 1000));
  return absl::OkStatus();
}

absl::Status ParseReady(const Fields& fields, v1::Ready* ready) {
  v1::Provenance* provenance = ready->mutable_provenance();
  ASSIGN_OR_RETURN(*provenance->mutable_trainer(), fields.TextOr("trainer", 256, ""));
  ASSIGN_OR_RETURN(*provenance->mutable_trainer_version(),
                   fields.TextOr("trainer_version", 256, ""));
  ASSIGN_OR_RETURN(*provenance->mutable_device(), fields.TextOr("device", 256, ""));
  ASSIGN_OR_RETURN(*provenance->mutable_commit(), fields.TextOr("commit", 256, ""));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::FromTrainer> ParseTrainerLine(std::string_view line,
                                                 const LineContext& context) {
  if (line.size() > kMaxLineBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "the trainer wrote a line of more than {} bytes: {}", kMaxLineBytes, Quote(line)));
  }
  const absl::StatusOr<Json> json = core::ParseJson(line, "line");
  static const Json kNothing = Json::object();
  if (!json.ok() || !json->is_object()) {
    return Fields(kNothing, line)
        .Wrong(
            "is not a JSON object (only protocol lines may go to the "
            "descriptor SWEEP_FD; prints belong on stdout)");
  }
  const Fields fields(*json, line);
  ASSIGN_OR_RETURN(const std::string type, fields.Text("type", 64));
  v1::FromTrainer message;
  absl::Status status;
  if (type == "ready") {
    status = ParseReady(fields, message.mutable_ready());
  } else if (type == "metric") {
    status = ParseMetric(fields, context, message.mutable_metric());
  } else if (type == "eval") {
    status = ParseEvaluation(fields, context, message.mutable_evaluation());
  } else if (type == "checkpoint") {
    status = ParseCheckpoint(fields, context, message.mutable_checkpoint());
  } else if (type == "progress") {
    ASSIGN_OR_RETURN(const int64_t step, fields.Count("step"));
    ASSIGN_OR_RETURN(const double rate, fields.NumberOr("tokens_per_s", 0));
    message.mutable_progress()->set_step(step);
    message.mutable_progress()->set_tokens_per_s(rate);
  } else if (type == "done") {
    status = ParseFinished(fields, v1::OUTCOME_COMPLETED, message.mutable_finished());
  } else if (type == "diverged") {
    status = ParseFinished(fields, v1::OUTCOME_DIVERGED, message.mutable_finished());
  } else if (type == "oom") {
    status = ParseFinished(fields, v1::OUTCOME_OUT_OF_MEMORY, message.mutable_finished());
  } else if (type == "failed") {
    status = ParseFinished(fields, v1::OUTCOME_FAILED, message.mutable_finished());
  } else if (type == "stopped") {
    status = ParseFinished(fields, v1::OUTCOME_PREEMPTED, message.mutable_finished());
  } else {
    status = fields.Wrong("has an unknown 'type'");
  }
  RETURN_IF_ERROR(status);
  return message;
}

std::string StopLine(bool save) {
  return save ? "{\"type\":\"stop\",\"save\":true}\n" : "{\"type\":\"stop\",\"save\":false}\n";
}

}  // namespace worker
