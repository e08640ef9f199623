// Imports, and forecasts made from them.
#pragma once

#include <string>
#include <utility>

#include "core/hash.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {

inline v1::ImportRequest MakeImport(const std::string& name, int runs) {
  v1::ImportRequest request;
  request.set_name(name);
  request.set_source("runs.csv");
  request.set_source_hash(std::string(64, 'a'));
  request.set_map("mine");
  request.set_map_json("{}");
  request.set_excluded_json("[]");
  for (const auto& [metric, unit] : {std::pair{"c4", "nats_per_token"}, {"acc", "accuracy"}}) {
    auto* m = request.add_metrics();
    m->set_name(metric);
    m->set_unit(unit);
    m->set_eval("c4-validation");
  }
  for (int i = 0; i < runs; ++i) {
    auto* run = request.add_runs();
    run->set_source_row(i + 2);
    run->set_run("run-" + std::to_string(i));
    run->set_flops(1e18 * (i + 1));
    run->set_params(1.5e8 + 0.5);
    run->set_tokens(1e9);
    for (std::string* label :
         {run->mutable_recipe(), run->mutable_data(), run->mutable_seq_len(),
          run->mutable_numerics(), run->mutable_flop_convention(), run->mutable_n_convention()})
      *label = "x";
    run->set_tokenizer("unknown");
    run->set_schedule("cooled");
    (*run->mutable_values())["c4"] = 3.0 - 0.1 * i;
    if (i == 0) (*run->mutable_values())["acc"] = 0.5;
  }
  return request;
}

inline v1::ImportRequest KnownImport(const std::string& name, int runs) {
  v1::ImportRequest request = MakeImport(name, runs);
  for (auto& run : *request.mutable_runs()) run.set_tokenizer("t");
  return request;
}

inline v1::ImportedRun* AddOutcome(v1::ImportRequest* request, int row, double params,
                                   double loss) {
  v1::ImportedRun* run = request->add_runs();
  *run = request->runs(0);
  run->set_source_row(row);
  run->set_flops(1e20);
  run->set_params(params);
  run->set_tokens(1.6e10);
  run->set_target(true);
  (*run->mutable_values())["c4"] = loss;
  request->set_source_hash(core::Sha256Hex(std::to_string(row)));  // the file has one more line
  return run;
}

// Of the import "theirs": 1e20 FLOPs by a model of 1e9 parameters.
inline v1::RegisterForecastRequest ForecastElsewhere(const std::string& name) {
  v1::RegisterForecastRequest request = ForecastOf("theirs", name, {}, 1e20);
  request.set_target_params(1e9);
  request.set_target_tokens(1.6e10);
  request.set_metric("c4/nats_per_token");
  request.set_cohort_json(R"({"recipe":"x","tokenizer":"t"})");
  request.set_observations_json("[]");
  return request;
}

}  // namespace orchestrator
