#include "sweepctl/next_step.h"

#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/launcher.h"

namespace sweepctl {
namespace {

using core::Json;
using orchestrator::SweepStatus;

constexpr int64_t kHeardMs = 30'000;  // a lease time; agents call three times in it

int64_t CountOf(const SweepStatus& status, const std::string& state) {
  const auto it = status.counts.find(state);
  return it == status.counts.end() ? 0 : it->second;
}

// A process that was killed and not waited for still has a folder, but no command line.
bool ProcessLives(int64_t pid) {
  const auto words = core::ReadFile(fmt::format("/proc/{}/cmdline", pid));
  return words.ok() && !words->empty();
}

}  // namespace

absl::StatusOr<ForecastCounts> CountForecasts(orchestrator::Reader& reader,
                                              const std::string& sweep) {
  ASSIGN_OR_RETURN(const std::vector<Json> rows,
                   reader.Rows("SELECT status, count(*) AS n FROM v_forecasts WHERE sweep=?1 "
                               "GROUP BY status",
                               sweep));
  ForecastCounts counts = {{"open", 0}, {"scored", 0}, {"abandoned", 0}, {"void", 0}};
  for (const Json& row : rows) counts[row["status"]] = row["n"];
  return counts;
}

absl::StatusOr<bool> HasWorker(orchestrator::Reader& reader) {
  if (orchestrator::LocalWorkerLives(reader.path())) return true;
  ASSIGN_OR_RETURN(const std::vector<Json> rows,
                   reader.Rows("SELECT host, pid FROM workers WHERE heard_unix_ms>="
                               "CAST(?1 AS INTEGER)",
                               std::to_string(core::SystemClock().UnixMs() - kHeardMs)));
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  for (const Json& row : rows)
    if (row["host"] != host || ProcessLives(row["pid"].get<int64_t>())) return true;
  return false;
}

int64_t OpenTrials(const SweepStatus& status) {
  return CountOf(status, "PENDING") + CountOf(status, "LEASED");
}

Next NextOf(const SweepStatus& status, bool coordinator, bool worker,
            const ForecastCounts& forecasts, const GlobalOptions& options) {
  const auto command = [&](const std::string& verb, const std::string& rest = "") {
    return CommandLine(options, verb + " " + status.sweep + rest);
  };
  const int64_t failed = CountOf(status, "FAILED"), oom = CountOf(status, "OUT_OF_MEMORY");
  const int64_t waiting = OpenTrials(status);
  if (status.paused) return {"paused", command("resume")};
  if (status.waiting_for_registration)
    return {"waiting for registration of the forecast", command("resume")};
  if (waiting > 0 && !coordinator)
    return {fmt::format("{} trials to do and no coordinator running", waiting), command("resume")};
  if (waiting > 0 && !worker) {
    return {
        fmt::format("no worker: {} {}", Counted(waiting, "trial"), waiting == 1 ? "waits" : "wait"),
        command("resume")};
  }
  if (waiting > 0) return {"running", command("watch")};
  if (failed > 0) {
    return {fmt::format("{} trials failed; `{}` says why", failed,
                        CommandLine(options, "logs --sweep " + status.sweep)),
            command("retry", " --failed")};
  }
  if (oom > 0) {
    return {fmt::format("{} trials ran out of memory; retry them on a larger device", oom),
            command("retry", " --oom")};
  }
  if (forecasts.at("scored") > 0)
    return {"the forecast is scored", CommandLine(options, "forecasts --sweep " + status.sweep)};
  if (CountOf(status, "COMPLETED") > 0)
    return {"finished", CommandLine(options, "fit --sweep " + status.sweep)};
  return {"nothing left to do", command("resume")};
}

}  // namespace sweepctl
