#include "orchestrator/writer.h"

#include <algorithm>

namespace orchestrator {
namespace {

// Bounds how long the first of a group waits for the last.
constexpr size_t kMaxGroup = 256;

}  // namespace

Writer::Writer(std::unique_ptr<Store> store) : store_(std::move(store)) {
  thread_ = std::thread([this] { Loop(); });
}

Writer::~Writer() {
  {
    core::MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  thread_.join();
}

void Writer::Submit(Operation operation, Done done) {
  core::MutexLock lock(&mu_);
  queue_.push_back({std::move(operation), std::move(done), absl::OkStatus()});
  wake_.Signal();
}

absl::Status Writer::Run(Operation operation) {
  core::Mutex mu;
  core::CondVar finished;
  bool done = false;
  absl::Status result;
  Submit(std::move(operation), [&](absl::Status status) {
    core::MutexLock lock(&mu);
    result = std::move(status);
    done = true;
    finished.SignalAll();
  });
  core::MutexLock lock(&mu);
  while (!done) finished.Wait(&mu);
  return result;
}

bool Writer::disk_full() {
  core::MutexLock lock(&mu_);
  return disk_full_;
}

absl::Status Writer::Probe() {
  absl::Status status = Run([](Store& store) { return store.ProbeSpace(); });
  if (status.ok()) status = Run([](Store& store) { return store.ClearProbe(); });
  if (status.ok()) {
    core::MutexLock lock(&mu_);
    disk_full_ = false;
  }
  return status;
}

std::pair<int64_t, int64_t> Writer::Counts() {
  core::MutexLock lock(&mu_);
  return {operations_, commits_};
}

void Writer::Loop() {
  while (true) {
    std::deque<Item> group;
    {
      core::MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
      if (queue_.empty()) return;
      while (!queue_.empty() && group.size() < kMaxGroup) {
        group.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    RunGroup(&group);
    {
      core::MutexLock lock(&mu_);
      operations_ += static_cast<int64_t>(group.size());
      ++commits_;
      for (const Item& item : group)
        disk_full_ = disk_full_ || absl::IsResourceExhausted(item.status);
    }
    for (Item& item : group) item.done(std::move(item.status));
  }
}

void Writer::RunGroup(std::deque<Item>* group) {
  const auto run = [this](auto begin, auto end) {
    Transaction transaction(&store_->db());
    if (!transaction.status().ok()) return transaction.status();
    for (auto item = begin; item != end; ++item) {
      Transaction savepoint(&store_->db());
      item->status = savepoint.status();
      if (item->status.ok()) item->status = item->operation(*store_);
      if (item->status.ok()) item->status = savepoint.Commit();
      if (absl::IsResourceExhausted(item->status)) return item->status;
    }
    return transaction.Commit();
  };
  const absl::Status all = run(group->begin(), group->end());
  if (all.ok()) return;
  for (auto item = group->begin(); item != group->end(); ++item) {
    const absl::Status alone = group->size() == 1 ? all : run(item, item + 1);
    if (!alone.ok()) item->status = alone;
  }
}

}  // namespace orchestrator
