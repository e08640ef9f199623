// sweepctl doctor: what could stop a sweep here, before it does.
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "core/clock.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/machine.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "core/units.h"
#include "core/version.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/sqlite.h"
#include "sweepctl/follow.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"
#include "worker/data/manifest.h"
#include "worker/data/shard.h"
#include "worker/runtime/cuda/device_probe.h"

namespace sweepctl {
namespace {

namespace fs = std::filesystem;
using orchestrator::Database;

constexpr double kMiB = 1 << 20;
constexpr int64_t kDayMs = 24 * 3600 * 1000;

enum class State { kOk, kWarning, kProblem };

struct Finding {
  std::string check;
  State state = State::kOk;
  std::string found;
  std::string to_do;  // empty when there is nothing to do
};

const char* StateName(State state) {
  return state == State::kOk ? "ok" : state == State::kWarning ? "warning" : "problem";
}

class Doctor {
 public:
  explicit Doctor(std::string db_path) : db_path_(std::move(db_path)) {}

  std::vector<Finding> Examine() {
    Say("version", State::kOk,
        fmt::format("sweepctl {} ({}), protocol {}, database schema {}", core::Version(),
                    core::Commit(), core::kProtocolVersion, orchestrator::kSchemaVersion));
    CheckProgram("sweep-worker");
    CheckProgram("sweep-data");
    CheckCpu();
    CheckMemory();
    CheckGpus();
    CheckDisk();
    CheckDatabase();
    CheckCoordinator();
    if (db_ != nullptr) CheckWorkers();
    if (db_ != nullptr) CheckImports();
    CheckData();
    return std::move(findings_);
  }

 private:
  void Say(std::string check, State state, std::string found, std::string to_do = "") {
    findings_.push_back({std::move(check), state, std::move(found), std::move(to_do)});
  }

  // Beside this program, else in PATH; and of the same build.
  void CheckProgram(const std::string& name) {
    const fs::path beside = fs::path(core::SelfPath()).parent_path() / name;
    std::error_code ignored;
    const std::string program = fs::exists(beside, ignored) ? beside.string() : name;
    const std::string log =
        fmt::format("{}/sweepctl-doctor-{}-{}", fs::temp_directory_path().string(), getpid(), name);
    core::SpawnOptions spawn;
    spawn.argv = {program, "--version"};
    spawn.log_path = log;
    const auto child = core::Spawn(spawn);
    const int code = child.ok() ? core::WaitExit(*child, 10'000).value_or(-1) : -1;
    std::string said = core::ReadFile(log).value_or("");
    fs::remove(log, ignored);
    while (!said.empty() && said.back() == '\n') said.pop_back();
    const std::string expected = fmt::format("{} {} ({})", name, core::Version(), core::Commit());
    const std::string install = "install the programs of one release into one folder";
    if (code != 0) {
      Say(name, State::kProblem,
          said.empty() ? fmt::format("'{}' does not run", program)
                       : fmt::format("'{}' does not run: {}", program, said.substr(0, 200)),
          install);
    } else if (said != expected) {
      Say(name, State::kProblem, fmt::format("{} at {}, not {}", said, program, expected), install);
    } else {
      Say(name, State::kOk, program);
    }
  }

  void CheckCpu() {
    std::ifstream info("/proc/cpuinfo");
    std::string line, model = "unknown CPU";
    while (std::getline(info, line)) {
      if (line.rfind("model name", 0) == 0) model = line.substr(line.find(':') + 2);
    }
    const bool able = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    Say("cpu", able ? State::kOk : State::kWarning,
        fmt::format("{}, {} cores for us{}", model, core::ReadMachine().cores,
                    able ? ", AVX2 and FMA" : ", lacks AVX2 or FMA"),
        able ? "" : "trials cannot run on this CPU; let workers run on other machines");
  }

  void CheckMemory() {
    const core::Machine machine = core::ReadMachine();
    const double available = static_cast<double>(machine.available_bytes);
    const bool tight = available < 512 * kMiB;
    Say("memory", tight ? State::kWarning : State::kOk,
        fmt::format("{} of {} available", core::FormatBytes(available),
                    core::FormatBytes(static_cast<double>(machine.total_bytes))),
        tight ? "trials that need more than is available end OUT_OF_MEMORY; end other programs"
              : "");
  }

  void CheckGpus() {
    std::string why;
    const std::vector<worker::DeviceInfo> devices = worker::ProbeDevices(&why);
    if (devices.empty())
      Say("gpu", State::kOk, fmt::format("no GPU: {}; trials run on the CPU", why));
    for (const worker::DeviceInfo& device : devices) {
      Say(fmt::format("gpu {}", device.index), State::kOk,
          fmt::format("{}, {}, compute capability {}, {} multiprocessors, driver for CUDA {}, "
                      "runtime {}",
                      device.name, core::FormatBytes(static_cast<double>(device.memory_bytes)),
                      device.capability, device.multiprocessors, device.driver, device.runtime));
    }
  }

  void CheckDisk() {
    const std::string folder = fs::path(db_path_).parent_path().string();
    struct statvfs disk {};
    if (statvfs(folder.c_str(), &disk) != 0) {
      Say("disk", State::kProblem, fmt::format("folder {} does not exist", folder),
          "make it, or name another with --db");
      return;
    }
    const double room = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
    const State state = room < 64 * kMiB     ? State::kProblem
                        : room < 1024 * kMiB ? State::kWarning
                                             : State::kOk;
    Say("disk", state, fmt::format("{} free at {}", core::FormatBytes(room), folder),
        state == State::kOk ? "" : "free some space: checkpoints and metrics go there");
    if (access(folder.c_str(), W_OK) != 0)
      Say("disk", State::kProblem, fmt::format("{} is not writable", folder),
          "change its owner or mode, or name another with --db");
  }

  void CheckDatabase() {
    std::error_code none;
    if (!fs::exists(db_path_, none)) {
      Say("database", State::kOk, fmt::format("{} does not exist yet", db_path_),
          "sweepctl launch makes it");
      return;
    }
    auto db = Database::Open(db_path_, Database::Mode::kReadOnly);
    auto version = db.ok() ? (*db)->Int(0, "PRAGMA user_version") : db.status();
    if (!version.ok()) {
      Say("database", State::kProblem, std::string(version.status().message()),
          "restore a backup, or name another file with --db");
      return;
    }
    if (*version != orchestrator::kSchemaVersion) {
      const bool newer = *version > orchestrator::kSchemaVersion;
      Say("database", newer ? State::kProblem : State::kWarning,
          fmt::format("{} has schema version {}, this sweepctl {}", db_path_, *version,
                      orchestrator::kSchemaVersion),
          newer ? "use a newer sweepctl"
                : fmt::format("sweepctl serve --migrate-only --db {}", db_path_));
      return;
    }
    const auto verdict = (*db)->Text("PRAGMA integrity_check");
    if (!verdict.ok() || *verdict != "ok") {
      Say("database", State::kProblem,
          fmt::format("{} is damaged: {}", db_path_,
                      verdict.ok() ? *verdict : std::string(verdict.status().message())),
          "restore a backup; the sqlite3 shell's .recover may save more");
      return;
    }
    const double size = static_cast<double>(fs::file_size(db_path_, none));
    const fs::path wal = db_path_ + "-wal";
    const double wal_size =
        fs::exists(wal, none) ? static_cast<double>(fs::file_size(wal, none)) : 0;
    const bool long_wal = wal_size > 256 * kMiB;
    Say("database", long_wal ? State::kWarning : State::kOk,
        fmt::format("{}: {}, write-ahead log {}, schema {}, intact, {}, {}, {}", db_path_,
                    core::FormatBytes(size), core::FormatBytes(wal_size), *version,
                    Counted((*db)->Int(0, "SELECT count(*) FROM sweeps").value_or(-1), "sweep"),
                    Counted((*db)->Int(0, "SELECT count(*) FROM trials").value_or(-1), "trial"),
                    Counted((*db)->Int(0, "SELECT count(*) FROM imports").value_or(-1), "import")),
        long_wal ? "a reader keeps the log from being emptied; close open queries" : "");
    db_ = *std::move(db);
  }

  void CheckCoordinator() {
    const auto address = orchestrator::FindCoordinator(db_path_);
    if (!address.has_value()) {
      Say("coordinator", State::kOk, "none runs; launch and resume start one");
      return;
    }
    const std::string stop =
        fmt::format("stop it with `kill {}`; resume starts another", address->pid);
    if (address->endpoint.empty()) {
      Say("coordinator", State::kWarning,
          fmt::format("pid {} holds the lock file and has no address yet", address->pid),
          fmt::format("look again in a moment; {}", stop));
      return;
    }
    const auto info = orchestrator::Client::Connect(address->endpoint)->Info(3'000);
    if (!info.ok()) {
      Say("coordinator", State::kProblem,
          fmt::format("pid {} at {} does not answer: {}", address->pid, address->endpoint,
                      std::string(info.status().message())),
          stop);
      return;
    }
    running_ = true;
    lookout_ = info->workers();
    const std::string found = fmt::format(
        "pid {} at {}, {} ({}); {}, {} pending, {} leased, {} held", info->pid(), address->endpoint,
        info->version(), info->commit(), Counted(info->workers(), "worker"),
        Counted(info->pending_trials(), "trial"), info->leased_trials(), info->held_trials());
    pending_ = info->pending_trials();
    if (info->protocol_version() != core::kProtocolVersion) {
      Say("coordinator", State::kProblem,
          fmt::format("{}; protocol {}, not {}", found, info->protocol_version(),
                      core::kProtocolVersion),
          stop);
    } else if (info->leasing_paused()) {
      Say("coordinator", State::kProblem, found + "; " + info->notice(), "free some space");
    } else if (info->commit() != core::Commit()) {
      Say("coordinator", State::kWarning, found + "; another build than this one", stop);
    } else {
      Say("coordinator", State::kOk, found);
    }
  }

  void CheckWorkers() {
    const int64_t now = core::SystemClock().UnixMs();
    auto rows = db_->Prepare(
        "SELECT worker_id, host, version, commit_hash, device, slots, heard_unix_ms FROM workers "
        "WHERE heard_unix_ms>=?1 ORDER BY heard_unix_ms DESC LIMIT 20",
        now - kDayMs);
    int count = 0;
    while (rows.ok() && rows->Step().value_or(false)) {
      ++count;
      // What has not been heard of for a minute is history.
      const bool same = rows->Text(3) == core::Commit() || now - rows->Int(6) > 60'000;
      Say("worker", same ? State::kOk : State::kWarning,
          fmt::format("{} ({}, {} slots, {}), heard of {} ago", rows->Text(0), rows->Text(2),
                      rows->Int(5), rows->Text(4),
                      core::FormatDuration(static_cast<double>(now - rows->Int(6)) / 1000)),
          same ? "" : "another build than this one: end it, resume starts a new one");
    }
    if (count == 0) Say("worker", State::kOk, "none was heard of for a day; launch starts one");
    if (running_ && pending_ > 0 && lookout_ == 0) {
      Say("worker", State::kWarning, fmt::format("{} trials wait and no worker is there", pending_),
          "sweepctl resume NAME, or sweepctl worker");
    }
  }

  // Whether an import is whole, what is unknown of it, and whether its file is what it was.
  void CheckImports() {
    auto rows = db_->Prepare(R"sql(SELECT name, runs, default_metric, coalesce(unknown, ''), source,
          source_hash, runs - (SELECT count(*) FROM v_imported_values v WHERE v.sweep=i.name
                               AND v.is_default)
        FROM v_imports i ORDER BY name)sql");
    while (rows.ok() && rows->Step().value_or(false)) {
      const std::string name = rows->Text(0), unknown = rows->Text(3), source = rows->Text(4);
      const std::string found = fmt::format("{}: {} runs, {}", name, rows->Int(1), rows->Text(2));
      if (rows->Int(1) == 0 || rows->Int(6) != 0) {
        Say("import", State::kProblem,
            fmt::format("{}; {} of them have no value of it", found, rows->Int(6)),
            "import it again with --replace");
        continue;
      }
      std::error_code ignored;
      const auto hash = fs::exists(source, ignored) ? core::Sha256HexOfFile(source)
                                                    : absl::StatusOr<std::string>(rows->Text(5));
      if (hash.ok() && *hash != rows->Text(5)) {
        Say("import", State::kWarning, fmt::format("{}; {} has changed since", found, source),
            "import it again with --replace");
      } else if (!unknown.empty()) {
        Say("import", State::kWarning, fmt::format("{}; unknown: {}", found, unknown),
            "no forecast from it can be registered; --replace --value KEY=TEXT says what you know");
      } else {
        Say("import", State::kOk, found + "; nothing unknown");
      }
    }
  }

  // Every prepared folder that a sweep names or that lies beside the database.
  void CheckData() {
    std::set<std::string> folders;
    if (db_ != nullptr) {
      auto rows = db_->Prepare("SELECT DISTINCT data_dir FROM sweeps WHERE data_dir<>''");
      while (rows.ok() && rows->Step().value_or(false)) folders.insert(rows->Text(0));
    }
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(db_path_ + ".data", ignored)) {
      if (fs::exists(entry.path() / "manifest.json", ignored))
        folders.insert(entry.path().string());
    }
    for (const std::string& folder : folders) {
      const absl::StatusOr<int64_t> tokens = TokensOf(folder);
      if (tokens.ok()) {
        Say("data", State::kOk,
            fmt::format("{}: {} tokens, every shard is there", folder,
                        core::FormatCount(static_cast<double>(*tokens))));
      } else {
        Say("data", State::kProblem, std::string(tokens.status().message()),
            "remove the folder and launch the sweep file again");
      }
    }
  }

  // Sizes only; trainers compare every hash before they use a folder.
  static absl::StatusOr<int64_t> TokensOf(const std::string& folder) {
    ASSIGN_OR_RETURN(const worker::Manifest manifest, worker::ReadManifest(folder));
    std::vector<worker::SourceEntry> sources = manifest.sources;
    sources.push_back(manifest.heldout);
    int64_t tokens = 0;
    for (const worker::SourceEntry& source : sources) {
      for (const worker::ShardEntry& entry : source.shards) {
        ASSIGN_OR_RETURN(const worker::Shard shard, worker::Shard::Open(folder + "/" + entry.path));
        if (shard.tokens() != entry.tokens) {
          return absl::DataLossError(fmt::format("{}/{} has {} tokens, its manifest says {}",
                                                 folder, entry.path, shard.tokens(), entry.tokens));
        }
        tokens += shard.tokens();
      }
    }
    return tokens;
  }

  const std::string db_path_;
  std::unique_ptr<Database> db_;  // when it is usable
  bool running_ = false;
  int64_t pending_ = 0, lookout_ = 0;
  std::vector<Finding> findings_;
};

absl::StatusOr<int> RunDoctor(const GlobalOptions& global) {
  const std::vector<Finding> findings =
      Doctor(fs::absolute(global.db).lexically_normal().string()).Examine();
  int64_t problems = 0, warnings = 0;
  Table table({{"check", "check", true},
               {"state", "state", true},
               {"found", "found", true},
               {"to_do", "what to do", true}});
  for (const Finding& finding : findings) {
    problems += finding.state == State::kProblem;
    warnings += finding.state == State::kWarning;
    table.AddRow({{finding.check, ""},
                  {StateName(finding.state), ""},
                  {finding.found, ""},
                  {finding.to_do, ""}});
  }
  if (global.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(
        PrintJson({{"checks", table.Rows()}, {"problems", problems}, {"warnings", warnings}}));
  } else {
    RETURN_IF_ERROR(table.Print(global));
    Note(problems + warnings == 0
             ? "all is well"
             : Counted(problems, "problem") + ", " + Counted(warnings, "warning"));
  }
  return problems > 0 ? kFailedTrials : kDone;
}

}  // namespace

void AddDoctorVerb(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("doctor", "check programs, database, coordinator, workers, GPUs and data");
  verb->footer("Only looks. Ends with 0 when there is no problem, else 1.");
  verb->callback(
      [&session] { session.action = [&session] { return RunDoctor(session.options); }; });
}

}  // namespace sweepctl
