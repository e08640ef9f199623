#include "orchestrator/lease.h"

namespace orchestrator {

std::string_view TrialStateName(TrialState state) {
  switch (state) {
    case TrialState::kHeld:
      return "HELD";
    case TrialState::kPending:
      return "PENDING";
    case TrialState::kLeased:
      return "LEASED";
    case TrialState::kCompleted:
      return "COMPLETED";
    case TrialState::kDiverged:
      return "DIVERGED";
    case TrialState::kOutOfMemory:
      return "OUT_OF_MEMORY";
    case TrialState::kFailed:
      return "FAILED";
    case TrialState::kCancelled:
      return "CANCELLED";
  }
  return "?";
}

std::string_view AttemptEndName(AttemptEnd end) {
  switch (end) {
    case AttemptEnd::kCompleted:
      return "COMPLETED";
    case AttemptEnd::kDiverged:
      return "DIVERGED";
    case AttemptEnd::kOutOfMemory:
      return "OUT_OF_MEMORY";
    case AttemptEnd::kFailed:
      return "FAILED";
    case AttemptEnd::kPreempted:
      return "PREEMPTED";
    case AttemptEnd::kCancelled:
      return "CANCELLED";
    case AttemptEnd::kExpired:
      return "EXPIRED";
    case AttemptEnd::kSharedCrash:
      return "FAILED";
  }
  return "?";
}

AttemptVerdict AfterAttempt(AttemptEnd end, StopRequest requested, const RetryCounts& counts,
                            const RetryLimits& limits) {
  AttemptVerdict verdict;
  verdict.counts = counts;
  switch (end) {
    case AttemptEnd::kCompleted:
      verdict.next = TrialState::kCompleted;
      return verdict;
    case AttemptEnd::kDiverged:
      verdict.next = TrialState::kDiverged;
      return verdict;
    case AttemptEnd::kOutOfMemory:
      ++verdict.counts.out_of_memory;
      if (counts.out_of_memory >= limits.out_of_memory) verdict.next = TrialState::kOutOfMemory;
      break;
    case AttemptEnd::kFailed:
      ++verdict.counts.failures;
      if (counts.failures >= limits.failure) verdict.next = TrialState::kFailed;
      break;
    case AttemptEnd::kSharedCrash:
      ++verdict.counts.shared_crashes;
      break;
    case AttemptEnd::kPreempted:
    case AttemptEnd::kCancelled:
    case AttemptEnd::kExpired:
      if (requested == StopRequest::kPause && end != AttemptEnd::kExpired) break;
      if (requested == StopRequest::kCancel) break;
      ++verdict.counts.preemptions;
      if (counts.preemptions >= limits.preemption) verdict.next = TrialState::kFailed;
      break;
  }
  // Whatever ended the attempt, a cancelled trial is not tried again.
  if (requested == StopRequest::kCancel && verdict.next == TrialState::kPending)
    verdict.next = TrialState::kCancelled;
  // Out of memory: alone there is more of it.
  verdict.run_alone = verdict.counts.failures >= 2 || verdict.counts.out_of_memory >= 1 ||
                      verdict.counts.shared_crashes >= kMostSharedCrashes;
  return verdict;
}

}  // namespace orchestrator
