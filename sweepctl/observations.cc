#include "sweepctl/observations.h"

#include "core/status_macros.h"
#include "fmt/format.h"

namespace sweepctl {

absl::StatusOr<SweepObservations> ObservationsOf(orchestrator::Reader& reader,
                                                 const std::string& sweep) {
  ASSIGN_OR_RETURN(const std::vector<orchestrator::ObservationRow> rows,
                   reader.Observations(sweep));
  SweepObservations out;
  for (const orchestrator::ObservationRow& row : rows) {
    fit::Observation o;
    o.flops = row.flops;
    o.params = static_cast<double>(row.params);
    o.tokens = static_cast<double>(row.tokens);
    o.loss = row.loss;
    o.budget_flops = row.budget_flops;
    o.params_no_embedding = static_cast<double>(row.params_no_embedding);
    o.seed = row.init_seed;
    o.id = row.trial_id;
    o.clamps = row.clamps;
    o.cohort = {{"recipe", row.recipe},
                {"data", row.data},
                {"tokenizer", row.tokenizer},
                {"eval", row.eval_hash},
                {"seq_len", fmt::format("{}", row.seq_len)},
                {"metric", row.metric},
                {"flop_convention", "recipe"},
                {"n_convention", "params"},
                {"numerics", row.numerics}};
    (row.stage == "target" ? out.targets : out.fitted).push_back(std::move(o));
  }
  return out;
}

}  // namespace sweepctl
