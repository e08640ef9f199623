// SubmitSweep and SubmitTarget: how plans become trials.
#include <cmath>
#include <set>

#include "core/canonical_json.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/store.h"

namespace orchestrator {
namespace {

// "a.b[2]: 1 -> 2" for every leaf that differs, at most 20 lines.
void DiffJson(const core::Json& before, const core::Json& after, const std::string& path,
              std::vector<std::string>* lines) {
  if (before == after || lines->size() >= 20) return;
  if (before.is_object() && after.is_object()) {
    for (const auto& [key, value] : before.items()) {
      DiffJson(value, after.contains(key) ? after[key] : core::Json("(absent)"),
               path.empty() ? key : path + "." + key, lines);
    }
    for (const auto& [key, value] : after.items()) {
      if (!before.contains(key))
        DiffJson(core::Json("(absent)"), value, path.empty() ? key : path + "." + key, lines);
    }
    return;
  }
  if (before.is_array() && after.is_array() && before.size() == after.size()) {
    for (size_t i = 0; i < before.size(); ++i)
      DiffJson(before[i], after[i], fmt::format("{}[{}]", path, i), lines);
    return;
  }
  lines->push_back(fmt::format("  {}: {} -> {}", path, before.dump().substr(0, 200),
                               after.dump().substr(0, 200)));
}

// SHA-256 over everything of the plan that says which tokens are seen in which order.
absl::StatusOr<std::string> DataHash(const core::Json& plan) {
  core::Json data = core::Json::object();
  if (plan.contains("data") && plan["data"].is_object()) {
    for (const char* key : {"sources", "order_rule"})
      if (plan["data"].contains(key)) data[key] = plan["data"][key];
  }
  ASSIGN_OR_RETURN(const std::string bytes, core::CanonicalJson(data));
  return core::Sha256Hex(bytes);
}

// Rank of each trial in the queue (AcquireLeases).
absl::StatusOr<std::vector<double>> LeaseRanks(const v1::SubmitSweepRequest& request) {
  const bool as_listed = request.lease_order() == "as-listed";
  if (!as_listed && !request.lease_order().empty() && request.lease_order() != "largest-first") {
    return absl::InvalidArgumentError(
        fmt::format("sweep {}: lease order '{}'; use largest-first or as-listed", request.name(),
                    request.lease_order()));
  }
  std::vector<double> ranks;
  double largest = 0;
  for (const v1::TrialSpec& spec : request.trials()) {
    ASSIGN_OR_RETURN(const core::Json plan,
                     core::ParseJson(spec.plan(), "plan of trial " + spec.trial_id()));
    const core::Json flops = plan.is_object() ? plan.value("recipe_flops", core::Json()) : plan;
    ranks.push_back(flops.is_number() ? flops.get<double>() : 0);
    largest = std::max(largest, ranks.back());
  }
  if (as_listed) ranks.assign(ranks.size(), largest);
  return ranks;
}

}  // namespace

absl::Status CheckSweepName(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= 64 &&
                    name.find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-") == std::string_view::npos;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "sweep name '{}': use 1 to 64 letters, digits, dots, dashes and underscores", name));
}

absl::StatusOr<Store::StoredTrial> Store::InsertTrial(const v1::TrialSpec& spec, TrialState state,
                                                      double lease_rank, int64_t now_ms) {
  const std::string hash = core::Sha256Hex(spec.plan());
  if (hash != spec.trial_id()) {
    return absl::InvalidArgumentError(fmt::format(
        "trial {}: the SHA-256 of its plan is {}; the plan's bytes were changed on the way",
        spec.trial_id(), hash));
  }
  StoredTrial stored;
  {
    ASSIGN_OR_RETURN(Statement row,
                     db_->Prepare("SELECT trial_key, state FROM trials WHERE trial_id=?1", hash));
    ASSIGN_OR_RETURN(const bool found, row.Step());
    if (found) {
      stored.key = row.Int(0);
      stored.state = row.Text(1);
      return stored;
    }
  }
  ASSIGN_OR_RETURN(const core::Json plan, core::ParseJson(spec.plan(), "plan of trial " + hash));
  if (!plan.is_object())
    return absl::InvalidArgumentError("trial " + hash + ": the plan is not a JSON object");
  ASSIGN_OR_RETURN(const std::string data_hash, DataHash(plan));
  const absl::Status inserted = db_->Run(
      R"sql(INSERT INTO trials(trial_id, plan, state, lease_rank, created_unix_ms, data,
        recipe, recipe_version, budget_flops, family, hidden, layers, heads, ffn, vocab, params,
        params_no_embedding, tokens, seq_len, batch, steps, recipe_flops, model_flops, init_seed,
        data_seed, numerics, clamps, tokenizer, eval_hash, loss_definition)
      VALUES(?1, ?2, ?3, ?4, ?5, ?6,
        json_extract(?2,'$.recipe'), json_extract(?2,'$.recipe_version'),
        json_extract(?2,'$.budget.amount'), json_extract(?2,'$.model.family'),
        json_extract(?2,'$.model.config.hidden_size'),
        json_extract(?2,'$.model.config.num_hidden_layers'),
        json_extract(?2,'$.model.config.num_attention_heads'),
        json_extract(?2,'$.model.config.intermediate_size'),
        json_extract(?2,'$.model.config.vocab_size'), json_extract(?2,'$.params'),
        json_extract(?2,'$.params_no_embedding'), json_extract(?2,'$.tokens'),
        json_extract(?2,'$.seq_len'), json_extract(?2,'$.batch'), json_extract(?2,'$.steps'),
        json_extract(?2,'$.recipe_flops'), json_extract(?2,'$.model_flops'),
        json_extract(?2,'$.init_seed'), json_extract(?2,'$.data_seed'),
        json_extract(?2,'$.numerics'), json_extract(?2,'$.clamps'),
        json_extract(?2,'$.data.tokenizer_hash'), json_extract(?2,'$.data.eval_hash'),
        json_extract(?2,'$.data.loss_definition')))sql",
      hash, spec.plan(), TrialStateName(state), lease_rank, now_ms, data_hash);
  if (inserted.code() == absl::StatusCode::kInvalidArgument) {
    return absl::InvalidArgumentError(
        fmt::format("trial {}: its plan lacks a field or has one of the wrong type: {}", hash,
                    std::string(inserted.message()).substr(0, 200)));
  }
  RETURN_IF_ERROR(inserted);
  stored.key = db_->LastInsertRowid();
  stored.added = true;
  stored.state = TrialStateName(state);
  return stored;
}

// A plan says nothing of who trains it, so a trial that two sweeps share would be a native result
// in one and an outside trainer's in the other.
absl::Status Store::CheckSameTrainer(const std::string& sweep, int64_t key) {
  ASSIGN_OR_RETURN(const std::string other,
                   db_->Text(R"sql(SELECT s.sweep FROM sweep_trials JOIN sweeps s USING(sweep)
                  JOIN sweeps mine ON mine.sweep=?1
                  WHERE trial_key=?2 AND s.trainer_command_json<>mine.trainer_command_json
                  LIMIT 1)sql",
                             sweep, key));
  if (other.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("sweep {}: sweep {} has trials of the same plans and another trainer; results of "
                  "two trainers are not mixed, so give this one a database of its own (--db FILE)",
                  sweep, other));
}

absl::StatusOr<v1::SubmitSweepResponse> Store::SubmitSweep(const v1::SubmitSweepRequest& request,
                                                           int64_t now_ms) {
  const std::string& name = request.name();
  RETURN_IF_ERROR(CheckSweepName(name));
  ASSIGN_OR_RETURN(const core::Json spec,
                   core::ParseJson(request.spec_json(), "resolved spec of sweep " + name));
  ASSIGN_OR_RETURN(const std::vector<double> ranks, LeaseRanks(request));

  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  ASSIGN_OR_RETURN(const int64_t imported,
                   db_->Int(0, "SELECT 1 FROM imports WHERE name=?1", name));
  if (imported != 0) {
    return absl::FailedPreconditionError(
        fmt::format("sweep {}: imported runs have this name; give the sweep another", name));
  }
  bool exists = false;
  std::string stored_spec;
  {
    ASSIGN_OR_RETURN(Statement row,
                     db_->Prepare("SELECT spec_json FROM sweeps WHERE sweep=?1", name));
    ASSIGN_OR_RETURN(exists, row.Step());
    if (exists) stored_spec = row.Text(0);
  }
  if (exists && !request.extend()) {
    ASSIGN_OR_RETURN(const core::Json before, core::ParseJson(stored_spec, "stored spec"));
    if (before != spec) {
      std::vector<std::string> lines;
      DiffJson(before, spec, "", &lines);
      std::string diff;
      for (const std::string& line : lines) diff += line + "\n";
      return absl::FailedPreconditionError(
          fmt::format("sweep {} exists with another spec:\n{}give the new one another name; trials "
                      "that both have are trained once",
                      name, diff));
    }
  }
  const core::Json command =
      std::vector<std::string>(request.trainer_command().begin(), request.trainer_command().end());
  const std::string order = request.lease_order().empty() ? "largest-first" : request.lease_order();
  RETURN_IF_ERROR(db_->Run(
      R"sql(INSERT INTO sweeps(sweep, sweep_file, spec_json, data_dir, checkpoint_root,
        trainer_command_json, retry_failure, retry_preemption, retry_out_of_memory, limit_flops,
        lease_order, created_unix_ms)
      VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)
      ON CONFLICT(sweep) DO UPDATE SET sweep_file=excluded.sweep_file,
        spec_json=excluded.spec_json, data_dir=excluded.data_dir,
        checkpoint_root=excluded.checkpoint_root,
        trainer_command_json=excluded.trainer_command_json, retry_failure=excluded.retry_failure,
        retry_preemption=excluded.retry_preemption,
        retry_out_of_memory=excluded.retry_out_of_memory, limit_flops=excluded.limit_flops,
        lease_order=excluded.lease_order)sql",
      name, request.sweep_file(), request.spec_json(), request.data_dir(),
      request.checkpoint_root(), command.dump(), request.retry().failure(),
      request.retry().preemption(), request.retry().out_of_memory(), request.limit_flops(), order,
      now_ms));
  ASSIGN_OR_RETURN(int64_t position,
                   db_->Int(0, "SELECT count(*) FROM sweep_trials WHERE sweep=?1", name));
  v1::SubmitSweepResponse response;
  int64_t joined = 0;
  for (int i = 0; i < request.trials_size(); ++i) {
    ASSIGN_OR_RETURN(const StoredTrial trial,
                     InsertTrial(request.trials(i), TrialState::kPending, ranks[i], now_ms));
    RETURN_IF_ERROR(
        db_->Run("INSERT OR IGNORE INTO sweep_trials(sweep, trial_key, stage, position, released) "
                 "VALUES(?1, ?2, 'fit', ?3, 1)",
                 name, trial.key, position));
    const bool new_member = db_->Changes() > 0;
    position += new_member;
    joined += new_member;
    if (trial.added) {
      response.set_trials_added(response.trials_added() + 1);
      continue;
    }
    RETURN_IF_ERROR(CheckSameTrainer(name, trial.key));
    response.set_trials_shared(response.trials_shared() + 1);
    if (trial.state == "COMPLETED") response.set_trials_completed(response.trials_completed() + 1);
    if (new_member) RETURN_IF_ERROR(SettleWaiting(trial.key, now_ms));
  }
  if (exists && joined > 0 && !request.extend()) {
    return absl::FailedPreconditionError(fmt::format(
        "sweep {} exists with the same spec, but {} of {} plans are new: the recipe's code or the "
        "data changed since; use another name; trials that both have are trained once",
        name, joined, request.trials_size()));
  }
  if (!exists || joined > 0) {
    RETURN_IF_ERROR(AddEvent(
        now_ms, exists ? "sweep extended" : "sweep submitted", name, "", "",
        fmt::format("{} trials added, {} shared, {} of these completed", response.trials_added(),
                    response.trials_shared(), response.trials_completed())));
  }
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

absl::StatusOr<v1::SubmitTargetResponse> Store::SubmitTarget(const v1::SubmitTargetRequest& request,
                                                             int64_t now_ms) {
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  ASSIGN_OR_RETURN(const int64_t known,
                   db_->Int(0, "SELECT 1 FROM sweeps WHERE sweep=?1", request.sweep()));
  if (known == 0) {
    return absl::NotFoundError(
        fmt::format("target for sweep {}: no such sweep; submit it first", request.sweep()));
  }
  ASSIGN_OR_RETURN(const core::Json plan,
                   core::ParseJson(request.trial().plan(), "plan of target"));
  const core::Json flops = plan.is_object() ? plan.value("recipe_flops", core::Json()) : plan;
  ASSIGN_OR_RETURN(const StoredTrial trial,
                   InsertTrial(request.trial(), TrialState::kHeld,
                               flops.is_number() ? flops.get<double>() : 0, now_ms));
  ASSIGN_OR_RETURN(const std::string stage,
                   db_->Text("SELECT stage FROM sweep_trials WHERE sweep=?1 AND trial_key=?2",
                             request.sweep(), trial.key));
  if (stage == "fit") {
    return absl::FailedPreconditionError(
        fmt::format("target {}: it is a fit trial of sweep {}, a forecast of it would not be "
                    "blind; choose a larger budget",
                    request.trial().trial_id(), request.sweep()));
  }
  if (stage.empty()) {
    ASSIGN_OR_RETURN(
        const int64_t position,
        db_->Int(0, "SELECT count(*) FROM sweep_trials WHERE sweep=?1", request.sweep()));
    RETURN_IF_ERROR(
        db_->Run("INSERT INTO sweep_trials(sweep, trial_key, stage, position, released) "
                 "VALUES(?1, ?2, 'target', ?3, 0)",
                 request.sweep(), trial.key, position));
    if (!trial.added) {
      RETURN_IF_ERROR(CheckSameTrainer(request.sweep(), trial.key));
      RETURN_IF_ERROR(SettleWaiting(trial.key, now_ms));
    }
    RETURN_IF_ERROR(AddEvent(now_ms, "target submitted", request.sweep(),
                             request.trial().trial_id(), "", "waits for its registration"));
  }
  v1::SubmitTargetResponse response;
  response.set_already_present(!trial.added);
  ASSIGN_OR_RETURN(*response.mutable_state(),
                   db_->Text("SELECT state FROM trials WHERE trial_key=?1", trial.key));
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

}  // namespace orchestrator
