// The life of a trial, as pure rules: which states exist and what follows when an attempt ends.
// No I/O and no clock; thread-safe. The store applies them inside the transaction that ends the
// attempt.
//
// clang-format off
//   HELD --registration--> PENDING --lease--> LEASED --completed--------------------> COMPLETED
//                             ^                  |-----diverged---------------------> DIVERGED
//                             |                  |-----out of memory, retries used--> OUT_OF_MEMORY
//                             |                  |-----failed or lost, retries used-> FAILED
//                             |                  |-----cancel requested-------------> CANCELLED
//                             `------------------'     anything with a retry left, or paused
// clang-format on
//
// A lease gives liveness only: real schedulers run one job twice at once. Safety is the epoch,
// which grows with every lease of a trial and is compared inside the writing transaction.
// **Source:** DESIGN.md section 8; Jepsen on etcd 3.4.3 (a lease lock cannot exclude).
#pragma once

#include <string>
#include <string_view>

namespace orchestrator {

enum class TrialState {
  kHeld,         // a target without a registered forecast; the store refuses to lease it
  kPending,      // waits for a worker
  kLeased,       // one worker has it, until its lease expires
  kCompleted,    // final evaluation stored
  kDiverged,     // a scientific fact: never retried
  kOutOfMemory,  // a scientific fact once its retries are used up
  kFailed,       // machines failed it too often
  kCancelled,    // every sweep that wanted it cancelled it
};

// "HELD", "PENDING", ...: the words of DESIGN.md, as stored and printed.
std::string_view TrialStateName(TrialState state);

// How an attempt ended. The first six are the worker's words (proto Outcome), the others are ours.
enum class AttemptEnd {
  kCompleted,
  kDiverged,
  kOutOfMemory,
  kFailed,
  kPreempted,
  kCancelled,
  kExpired,
  kSharedCrash,  // the trainer process ended, with other trials in it
};
// "COMPLETED", ..., "EXPIRED"; kSharedCrash is "FAILED"; a running attempt is shown as "RUNNING".
std::string_view AttemptEndName(AttemptEnd end);

// How many times a trial is tried again, by cause. Preemption is the machines' business, so it has
// its own, large allowance. **Source:** Marin's Iris (100 retries for preemption).
struct RetryLimits {
  int failure = 0;
  int preemption = 0;
  int out_of_memory = 0;
};

// What has been used up since submission or the last `retry`.
struct RetryCounts {
  int failures = 0;
  int preemptions = 0;  // given back by workers, and leases that expired
  int out_of_memory = 0;
  int shared_crashes = 0;  // bounded by running alone, see AfterAttempt
};

// What somebody asked of a running trial.
enum class StopRequest { kNone, kCancel, kPause };

struct AttemptVerdict {
  TrialState next = TrialState::kPending;
  RetryCounts counts;
  // The trial must be alone on its worker from now on: it was there twice when a shared trainer
  // crashed, or failed twice, so it is a suspect, and its neighbours should not pay; or a share of
  // the memory was too small.
  bool run_alone = false;
};

// The state after an attempt ended. Stopping because of a pause costs no retry. An end of
// kCancelled that nobody asked for counts as a preemption. A shared crash costs no retry either: a
// neighbour may have caused it. After kMostSharedCrashes of them the trial runs alone, where a
// crash is its own failure, so that one that always crashes its process ends FAILED.
inline constexpr int kMostSharedCrashes = 2;
AttemptVerdict AfterAttempt(AttemptEnd end, StopRequest requested, const RetryCounts& counts,
                            const RetryLimits& limits);

}  // namespace orchestrator
