#include "sweepctl/submission.h"

#include "core/status_macros.h"

namespace sweepctl {

absl::StatusOr<sweep::v1::SubmitSweepRequest> SubmissionOf(
    const sweeps::SweepFile& file, const std::vector<sweeps::PlannedTrial>& trials,
    const SweepData& data, const std::string& db_path) {
  sweep::v1::SubmitSweepRequest request;
  request.set_name(file.name);
  request.set_sweep_file(file.text);
  // The prepared data are science too: the same file on other text is another sweep.
  core::Json spec = sweeps::ResolvedSpec(file);
  spec["prepared"] = {{"tokenizer", data.spec.tokenizer_hash}, {"eval", data.spec.eval_hash}};
  for (const recipes::DataSource& source : data.spec.sources) {
    spec["prepared"]["sources"][source.name] = source.manifest_hash;
  }
  ASSIGN_OR_RETURN(const std::string spec_json, core::CanonicalJson(spec));
  request.set_spec_json(spec_json);
  for (const sweeps::PlannedTrial& trial : trials) {
    ASSIGN_OR_RETURN(const std::string bytes, recipes::PlanBytes(trial.plan));
    auto* added = request.add_trials();
    added->set_trial_id(trial.trial_id);
    added->set_plan(bytes);
  }
  request.set_data_dir(data.data_dir);
  request.set_checkpoint_root(db_path + ".checkpoints");
  for (const std::string& word : file.trainer_command) request.add_trainer_command(word);
  request.mutable_retry()->set_failure(file.retry_failure);
  request.mutable_retry()->set_preemption(file.retry_preemption);
  request.mutable_retry()->set_out_of_memory(file.retry_oom);
  request.set_limit_flops(file.limit_flops);
  return request;
}

}  // namespace sweepctl
