// What to do next with a sweep, said alike by status, watch and the end of launch.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "orchestrator/reader.h"
#include "sweepctl/cli.h"

namespace sweepctl {

// Registered forecasts by status; all four are there.
using ForecastCounts = std::map<std::string, int64_t>;
absl::StatusOr<ForecastCounts> CountForecasts(orchestrator::Reader& reader,
                                              const std::string& sweep);

// Whether an agent can take trials of the database: one that launch or resume started on this host
// lives, or one was heard of within a lease time, unless it was of this host and its process is
// gone.
absl::StatusOr<bool> HasWorker(orchestrator::Reader& reader);

// Trials that a worker could be training now: PENDING and LEASED.
int64_t OpenTrials(const orchestrator::SweepStatus& status);

struct Next {
  std::string why, command;
};

// `coordinator`: one is running; `worker`: HasWorker.
Next NextOf(const orchestrator::SweepStatus& status, bool coordinator, bool worker,
            const ForecastCounts& forecasts, const GlobalOptions& options);

}  // namespace sweepctl
