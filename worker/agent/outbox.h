// Outbox: what one attempt still owes the coordinator. Metrics get their sequence number when they
// are first put into a report, and are sent again until acknowledged. Memory is bounded: while the
// coordinator is away and more than kMaxQueued points wait, every second waiting point is dropped
// (the curve gets coarser, never shorter).
// Not thread-safe; its slot guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "sweep/v1/results.pb.h"
#include "sweep/v1/worker.pb.h"

namespace worker {

class Outbox {
 public:
  static constexpr size_t kMaxQueued = 100'000;
  static constexpr size_t kMaxReport = 2'000;

  void AddMetric(const sweep::v1::MetricPoint& point);
  void AddEvaluation(const sweep::v1::Evaluation& evaluation);

  bool HasReport() const { return !sent_.empty() || !queued_.empty() || !evaluations_.empty(); }
  // Unacknowledged points, then new ones, and all waiting evaluations. Sets metrics and evaluations
  // of `request` only.
  void FillReport(sweep::v1::ReportRequest* request);
  // The report came back: forgets points up to the sequence number, and the evaluations of the last
  // FillReport.
  void Acknowledge(int64_t sequence);

  // Points that were dropped for want of memory.
  int64_t dropped() const { return dropped_; }

 private:
  std::deque<sweep::v1::MetricPoint> queued_;  // without a sequence number
  std::deque<sweep::v1::MetricPoint> sent_;    // with one, not acknowledged
  std::vector<sweep::v1::Evaluation> evaluations_;
  size_t evaluations_sent_ = 0;
  int64_t last_sequence_ = 0;
  int64_t dropped_ = 0;
};

}  // namespace worker
