#include "tests/e2e/harness.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "core/file.h"
#include "core/hash.h"
#include "core/subprocess.h"
#include "fmt/format.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/reader.h"

namespace e2e {
namespace {

namespace fs = std::filesystem;

// Sixty documents of about five kilobytes: words with some grammar, so that there is a loss to
// lower.
void WriteCorpus(const std::string& folder) {
  const std::vector<std::string> words = {"lease", "epoch", "trial", "token", "shard", "model",
                                          "law",   "loss",  "step",  "plan",  "the",   "of",
                                          "and",   "a",     "in",    "is",    "fits",  "runs"};
  fs::create_directories(folder);
  std::mt19937 random(7);
  for (int document = 0; document < 60; ++document) {
    std::ofstream out(fmt::format("{}/{:02}.txt", folder, document));
    size_t word = random() % words.size();
    for (int line = 0; line < 120; ++line) {
      for (int i = 5 + random() % 7; i > 0; --i) {
        word = (word * 5 + random() % 6) % words.size();
        out << words[word] << (i == 1 ? ".\n" : " ");
      }
    }
  }
}

std::string TextOf(const std::string& path) { return core::ReadFile(path).value_or(""); }

}  // namespace

std::string Running::err() const { return TextOf(base_ + ".err"); }

void Running::Signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

Result Running::Wait(int timeout_s) {
  Result result;
  const auto code = core::WaitExit(pid_, timeout_s * 1000);
  if (!code.has_value()) {
    Signal(SIGKILL);
    (void)core::WaitExit(pid_, 5000);
  }
  result.code = code.value_or(-1);
  result.out = TextOf(base_ + ".out");
  result.err = TextOf(base_ + ".err");
  return result;
}

Sandbox::Sandbox(const std::string& parent) {
  std::string pattern = (parent.empty() ? testing::TempDir() : parent + "/") + "e2e_XXXXXX";
  dir_ = mkdtemp(pattern.data());
  WriteCorpus(text());
}

Sandbox::~Sandbox() {
  if (testing::Test::HasFailure()) std::fputs(Logs().c_str(), stderr);
  std::set<int> ours = {CoordinatorPid()};
  for (const core::Json& row : Rows("SELECT pid FROM workers")) ours.insert(row["pid"].get<int>());
  for (const int pid : ours) {
    // A pid may have been given to a stranger since: only our own programs are ended.
    std::error_code ignored;
    const fs::path exe = fs::read_symlink(fmt::format("/proc/{}/exe", pid), ignored);
    if (pid > 0 && exe.parent_path() == fs::path(SWEEPCTL_PROGRAM).parent_path())
      kill(pid, SIGKILL);
  }
  std::error_code ignored;
  for (int i = 0; i < 50 && fs::remove_all(dir_, ignored) == static_cast<uintmax_t>(-1); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

std::string Sandbox::Write(const std::string& name, const std::string& content) const {
  const std::string path = dir_ + "/" + name;
  std::ofstream(path) << content;
  return path;
}

std::string Sandbox::SweepFile(const std::string& name, const std::string& budgets, int points,
                               const std::string& rest) const {
  return Write(name + ".yaml", fmt::format("name: {}\n"
                                           "recipe: delphi-nano\n"
                                           "budgets: {}\n"
                                           "points: {}\n"
                                           "seq_len: 128\n"
                                           "data:\n"
                                           "  mix: {{text: {{paths: [\"*.txt\"]}}}}\n"
                                           "  tokenizer: bytes\n"
                                           "  holdout: {{fraction: 5%, by: document}}\n{}",
                                           name, budgets, points, rest));
}

Running Sandbox::Start(const std::vector<std::string>& argv) const {
  static std::atomic<int> count{0};
  const std::string base = fmt::format("{}/run-{}", dir_, ++count);
  core::SpawnOptions options;
  options.working_dir = dir_;
  options.argv = {"/bin/sh", "-c", "out=$1; shift; exec \"$@\" >\"$out.out\" 2>\"$out.err\"", "sh",
                  base};
  options.argv.insert(options.argv.end(), argv.begin(), argv.end());
  const auto pid = core::Spawn(options);
  EXPECT_TRUE(pid.ok()) << pid.status();
  return Running(pid.value_or(-1), base);
}

Running Sandbox::StartSweepctl(std::vector<std::string> args) const {
  args.insert(args.begin(), SWEEPCTL_PROGRAM);
  args.insert(args.end(), {"--db", db()});
  return Start(args);
}

Result Sandbox::Sweepctl(std::vector<std::string> args, int timeout_s) const {
  return StartSweepctl(std::move(args)).Wait(timeout_s);
}

Running Sandbox::StartLaunch(const std::string& file, std::vector<std::string> more) const {
  more.insert(more.begin(), {"launch", file, "--data-root", text(), "--yes"});
  return StartSweepctl(std::move(more));
}

Result Sandbox::Shell(const std::string& command) const {
  return Start({"/bin/sh", "-c", command}).Wait(150);
}

Result Sandbox::Launch(const std::string& file, std::vector<std::string> more) const {
  return StartLaunch(file, std::move(more)).Wait(150);
}

Running Sandbox::StartCoordinator() const {
  Running running = StartSweepctl({"serve", "--exit-when-idle", "--lease", "2s"});
  EXPECT_TRUE(Eventually([&] {
    const auto found = orchestrator::FindCoordinator(db());
    return found.has_value() && !found->endpoint.empty();
  })) << running.err();
  return running;
}

Running Sandbox::StartAgent() const {
  return Start({SWEEP_WORKER_PROGRAM, "agent", "--coordinator", "file:" + db() + ".lock", "--slots",
                "2", "--threads", "2", "--work-dir", db() + ".worker", "--checkpoint-interval-ms",
                "300", "--exit-when-drained"});
}

std::vector<core::Json> Sandbox::Rows(const std::string& sql) const {
  const auto reader = orchestrator::Reader::Open(db());
  if (!reader.ok()) return {};
  return (*reader)->Rows(sql, "").value_or(std::vector<core::Json>());
}

int64_t Sandbox::Number(const std::string& sql) const {
  const auto rows = Rows(sql);
  if (rows.empty() || rows[0].empty() || !rows[0].begin()->is_number()) return -1;
  return rows[0].begin()->get<int64_t>();
}

int Sandbox::CoordinatorPid() const {
  const auto found = orchestrator::FindCoordinator(db());
  return found.has_value() ? found->pid : -1;
}

std::map<std::string, double> Sandbox::SumNats(const std::string& sweep,
                                               const std::string& stage) const {
  std::map<std::string, double> sums;
  for (const core::Json& row : Rows(fmt::format(
           "SELECT trial_id, sum_nats FROM v_observations WHERE sweep='{}' AND stage='{}'", sweep,
           stage)))
    sums[row["trial_id"]] = row["sum_nats"].get<double>();
  return sums;
}

std::map<std::string, std::string> Sandbox::Weights(const std::string& sweep) const {
  std::map<std::string, std::string> hashes;
  for (const core::Json& row : Rows(fmt::format(
           "SELECT trial_id, checkpoint_path FROM v_trials WHERE sweep='{}' AND state='COMPLETED'",
           sweep))) {
    hashes[row["trial_id"]] =
        core::Sha256HexOfFile(row["checkpoint_path"].get<std::string>() + "/model.safetensors")
            .value_or("none");
  }
  return hashes;
}

std::string Sandbox::Logs() const {
  std::string text;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(dir_, ignored)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".log" && extension != ".err") continue;
    const std::string log = TextOf(entry.path().string());
    text += fmt::format("---- {}\n{}\n", entry.path().string(),
                        log.size() > 3000 ? log.substr(log.size() - 3000) : log);
  }
  return text;
}

bool Eventually(const std::function<bool()>& condition, int timeout_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return condition();
}

std::vector<int> ChildrenOf(int pid) {
  std::vector<int> children;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream status(entry.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("PPid:", 0) == 0 && std::atoi(line.c_str() + 5) == pid)
        children.push_back(std::atoi(name.c_str()));
    }
  }
  return children;
}

bool Alive(int pid) { return pid > 0 && kill(pid, 0) == 0; }

}  // namespace e2e
