// Writer: the one thread that writes. Operations queue up; whatever is waiting when the thread is
// free becomes one group: one transaction, a savepoint for each operation, one fsync (group
// commit). An operation's error undoes only that operation.
//
// When the disk is full (RESOURCE_EXHAUSTED) each operation of the group is tried again on its own,
// so that only what does not fit is refused. disk_full() is true from then on until Probe()
// succeeds. Nothing that was answered OK is ever lost.
// Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "core/mutex.h"
#include "orchestrator/store/store.h"

namespace orchestrator {

class Writer {
 public:
  // Runs on the writer thread, inside a transaction. May run twice (see above), so it overwrites
  // its results and has no other effect than on the store.
  using Operation = std::function<absl::Status(Store&)>;
  // Runs on the writer thread after the group's commit; must not block. OK means durable.
  using Done = std::function<void(absl::Status)>;

  explicit Writer(std::unique_ptr<Store> store);
  // Finishes what is queued.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void Submit(Operation operation, Done done) EXCLUDES(mu_);
  // Submits and waits. REQUIRES: not called on the writer thread.
  absl::Status Run(Operation operation) EXCLUDES(mu_);

  bool disk_full() EXCLUDES(mu_);
  // Tries whether the disk has room again; OK clears disk_full().
  absl::Status Probe() EXCLUDES(mu_);

  // Operations and commits so far; their ratio is the mean group.
  std::pair<int64_t, int64_t> Counts() EXCLUDES(mu_);

 private:
  struct Item {
    Operation operation;
    Done done;
    absl::Status status;
  };
  void Loop() EXCLUDES(mu_);
  void RunGroup(std::deque<Item>* group);

  const std::unique_ptr<Store> store_;  // only the writer thread touches it
  core::Mutex mu_;
  core::CondVar wake_;
  std::deque<Item> queue_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  bool disk_full_ GUARDED_BY(mu_) = false;
  int64_t operations_ GUARDED_BY(mu_) = 0;
  int64_t commits_ GUARDED_BY(mu_) = 0;
  std::thread thread_;
};

}  // namespace orchestrator
