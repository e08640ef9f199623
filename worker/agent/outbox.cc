#include "worker/agent/outbox.h"

namespace worker {

namespace v1 = ::sweep::v1;

void Outbox::AddMetric(const v1::MetricPoint& point) {
  queued_.push_back(point);
  if (queued_.size() <= kMaxQueued) return;
  std::deque<v1::MetricPoint> kept;
  // From the newest backwards, so that the newest stays.
  for (size_t i = queued_.size(); i >= 1; --i) {
    if ((queued_.size() - i) % 2 == 0) kept.push_front(std::move(queued_[i - 1]));
  }
  dropped_ += static_cast<int64_t>(queued_.size() - kept.size());
  queued_ = std::move(kept);
}

void Outbox::AddEvaluation(const v1::Evaluation& evaluation) { evaluations_.push_back(evaluation); }

void Outbox::FillReport(v1::ReportRequest* request) {
  while (sent_.size() < kMaxReport && !queued_.empty()) {
    queued_.front().set_sequence(++last_sequence_);
    sent_.push_back(std::move(queued_.front()));
    queued_.pop_front();
  }
  for (const v1::MetricPoint& point : sent_) *request->add_metrics() = point;
  for (const v1::Evaluation& evaluation : evaluations_) *request->add_evaluations() = evaluation;
  evaluations_sent_ = evaluations_.size();
}

void Outbox::Acknowledge(int64_t sequence) {
  while (!sent_.empty() && sent_.front().sequence() <= sequence) sent_.pop_front();
  evaluations_.erase(evaluations_.begin(),
                     evaluations_.begin() + static_cast<std::ptrdiff_t>(evaluations_sent_));
  evaluations_sent_ = 0;
}

}  // namespace worker
