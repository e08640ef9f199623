#include "worker/agent/outbox.h"

#include <gtest/gtest.h>

#include "worker/agent/agent.h"

namespace worker {
namespace {

sweep::v1::MetricPoint Point(int64_t step) {
  sweep::v1::MetricPoint point;
  point.set_name("train_loss");
  point.set_step(step);
  return point;
}

TEST(OutboxTest, PointsAreSentAgainWithTheSameNumbersUntilAcknowledged) {
  Outbox outbox;
  for (int i = 1; i <= 5; ++i) outbox.AddMetric(Point(i));
  sweep::v1::ReportRequest first, second, third;
  outbox.FillReport(&first);
  outbox.AddMetric(Point(6));
  outbox.FillReport(&second);
  ASSERT_EQ(first.metrics_size(), 5);
  ASSERT_EQ(second.metrics_size(), 6);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(first.metrics(i).SerializeAsString(), second.metrics(i).SerializeAsString());
  outbox.Acknowledge(4);
  outbox.FillReport(&third);
  ASSERT_EQ(third.metrics_size(), 2);
  EXPECT_EQ(third.metrics(0).sequence(), 5);
  EXPECT_EQ(third.metrics(1).sequence(), 6);
  outbox.Acknowledge(6);
  EXPECT_FALSE(outbox.HasReport());
}

TEST(OutboxTest, EvaluationThatArrivesDuringAReportIsNotForgotten) {
  Outbox outbox;
  outbox.AddEvaluation({});
  sweep::v1::ReportRequest report, next;
  outbox.FillReport(&report);
  outbox.AddEvaluation({});
  outbox.Acknowledge(0);
  outbox.FillReport(&next);
  EXPECT_EQ(next.evaluations_size(), 1);
}

TEST(OutboxTest, MemoryIsBoundedAndTheCurveKeepsItsEndsAndItsOrder) {
  Outbox outbox;
  const int64_t points = 10 * static_cast<int64_t>(Outbox::kMaxQueued);
  for (int64_t i = 1; i <= points; ++i) outbox.AddMetric(Point(i));
  EXPECT_GT(outbox.dropped(), 0);
  int64_t kept = 0, last_step = 0, sequence = 0;
  while (outbox.HasReport()) {
    sweep::v1::ReportRequest report;
    outbox.FillReport(&report);
    EXPECT_LE(report.metrics_size(), static_cast<int>(Outbox::kMaxReport));
    for (const auto& point : report.metrics()) {
      EXPECT_EQ(point.sequence(), ++sequence);
      EXPECT_GT(point.step(), last_step);
      last_step = point.step();
      ++kept;
    }
    outbox.Acknowledge(sequence);
  }
  EXPECT_LE(kept, static_cast<int64_t>(Outbox::kMaxQueued));
  EXPECT_EQ(kept + outbox.dropped(), points);
  EXPECT_EQ(last_step, points);
}

TEST(ThreadsForTrialTest, LoneTrialGetsAllThreadsAndBusySlotsShare) {
  EXPECT_EQ(ThreadsForTrial(8, 4, 1, 0), 8);
  EXPECT_EQ(ThreadsForTrial(8, 4, 2, 0), 4);
  EXPECT_EQ(ThreadsForTrial(8, 4, 1, 100), 2);
  EXPECT_EQ(ThreadsForTrial(2, 8, 8, 8), 1);
}

}  // namespace
}  // namespace worker
