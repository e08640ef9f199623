// What the end-to-end tests share: a folder with a small text corpus, the real programs started in
// it, and a look at the database. Whatever a test started is killed when its Sandbox goes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/canonical_json.h"

namespace e2e {

struct Result {
  int code = -1;
  std::string out, err;
};

// A program in the background, with its output in files.
class Running {
 public:
  Running() = default;
  Running(int pid, std::string base) : pid_(pid), base_(std::move(base)) {}
  int pid() const { return pid_; }
  // What it has written to stderr until now.
  std::string err() const;
  void Signal(int number) const;
  // Waits for its end; code -1 when it does not end in time (it is killed then).
  Result Wait(int timeout_s = 120);

 private:
  int pid_ = -1;
  std::string base_;
};

class Sandbox {
 public:
  // `parent`: where the folder is made; empty: the temporary folder.
  explicit Sandbox(const std::string& parent = "");
  // Kills coordinator, agents and children that the database and lock file name; removes the
  // folder.
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;

  const std::string& dir() const { return dir_; }
  std::string db() const { return dir_ + "/s.db"; }
  std::string text() const { return dir_ + "/text"; }

  // dir()/name with the content; returns the path.
  std::string Write(const std::string& name, const std::string& content) const;
  // A sweep file over the corpus with seq_len 128 and a tokenizer of bytes; `rest` is appended.
  std::string SweepFile(const std::string& name, const std::string& budgets, int points,
                        const std::string& rest = "") const;

  // `sweepctl ARGS --db DB` to its end.
  Result Sweepctl(std::vector<std::string> args, int timeout_s = 150) const;
  Running StartSweepctl(std::vector<std::string> args) const;
  // A shell command to its end.
  Result Shell(const std::string& command) const;
  // launch FILE --data-root TEXT --yes MORE.
  Result Launch(const std::string& file, std::vector<std::string> more = {}) const;
  Running StartLaunch(const std::string& file, std::vector<std::string> more = {}) const;
  // A coordinator that notices lost workers after two seconds.
  Running StartCoordinator() const;
  // An agent with two slots that checkpoints every 300 ms.
  Running StartAgent() const;

  // Rows of `sql`; empty when there is no database yet. For asking again and again.
  std::vector<core::Json> Rows(const std::string& sql) const;
  // First column of the first row as an integer; -1 when there is none.
  int64_t Number(const std::string& sql) const;
  // Process of the coordinator that holds the database, -1 when none does.
  int CoordinatorPid() const;
  // Final sum of nats of each COMPLETED trial of a stage of a sweep.
  std::map<std::string, double> SumNats(const std::string& sweep,
                                        const std::string& stage = "fit") const;
  // SHA-256 of the final weights of each COMPLETED trial of a sweep, fit stage and targets.
  std::map<std::string, std::string> Weights(const std::string& sweep) const;
  // The tails of all logs, for messages.
  std::string Logs() const;

 private:
  Running Start(const std::vector<std::string>& argv) const;
  std::string dir_;
};

// Asks until the condition holds or the time is over.
bool Eventually(const std::function<bool()>& condition, int timeout_s = 60);
// Processes whose parent is `pid`.
std::vector<int> ChildrenOf(int pid);
bool Alive(int pid);

}  // namespace e2e
