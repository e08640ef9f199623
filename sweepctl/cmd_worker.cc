// sweepctl worker: an agent on this host for the coordinator of a database, in the foreground.
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/machine.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/lock_file.h"
#include "sweepctl/follow.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

struct WorkerArgs {
  std::string endpoint, work_dir;
  int slots = 0, threads = 0, cuda = -1;
};

absl::StatusOr<int> RunWorker(const WorkerArgs& args, const GlobalOptions& global) {
  std::string endpoint = args.endpoint;
  if (endpoint.empty()) {
    const auto address = orchestrator::FindCoordinator(global.db);
    if (!address.has_value()) {
      return absl::UnavailableError(fmt::format(
          "no coordinator serves {}; start one with `{}` or name one with --coordinator", global.db,
          CommandLine(global, "serve")));
    }
    endpoint = address->endpoint;
  }
  const int cores = core::ReadMachine().cores;
  std::vector<std::string> argv = {
      WorkerProgram(), "agent",      "--coordinator",
      endpoint,        "--threads",  std::to_string(args.threads > 0 ? args.threads : cores),
      "--work-dir",    args.work_dir};
  // As `launch` names them, so that a GPU or host has one agent for the database.
  if (args.work_dir.empty())
    argv.back() = global.db + ".worker" + (args.cuda >= 0 ? fmt::format("/gpu-{}", args.cuda) : "");
  if (args.cuda >= 0) argv.insert(argv.end(), {"--cuda", std::to_string(args.cuda)});
  // On a GPU the agent knows how many trials go best at once.
  const int slots = args.slots > 0 ? args.slots : args.cuda >= 0 ? 0 : cores;
  if (slots > 0) argv.insert(argv.end(), {"--slots", std::to_string(slots)});
  std::vector<char*> raw;
  for (std::string& word : argv) raw.push_back(word.data());
  raw.push_back(nullptr);
  execvp(raw[0], raw.data());
  return absl::NotFoundError(fmt::format("cannot run '{}': {}", argv[0], std::strerror(errno)));
}

}  // namespace

void AddWorkerVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<WorkerArgs>();
  CLI::App* verb = app.add_subcommand("worker", "run an agent that trains here, in the foreground");
  verb->add_option("--coordinator", args->endpoint, "HOST:PORT; default: the one of --db");
  verb->add_option("--cuda", args->cuda, "train on this GPU, as CUDA counts; default: on the CPU")
      ->check(CLI::Range(0, 1023));
  verb->add_option("--slots", args->slots,
                   "trials at once; default: one a core, on a GPU as the agent thinks best")
      ->check(CLI::Range(1, 1024));
  verb->add_option("--threads", args->threads, "CPU threads of all slots together")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--work-dir", args->work_dir, "private files, of one agent; default: DB.worker");
  verb->footer("Ends with 75 when it was stopped and gave its trials back: requeue it.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunWorker(*args, session.options); };
  });
}

}  // namespace sweepctl
