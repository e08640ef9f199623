#include "worker/protocol/framing.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sweep/v1/trainer.pb.h"

namespace worker {
namespace {

using sweep::v1::FromTrainer;

FromTrainer Metric(int step, size_t name_length) {
  FromTrainer message;
  message.mutable_metric()->set_step(step);
  message.mutable_metric()->set_name(std::string(name_length, 'n'));
  return message;
}

TEST(FrameBufferTest, FramesComeOutWholeHoweverTheBytesArrive) {
  std::string stream;
  for (int i = 0; i < 50; ++i) stream += EncodeFrame(Metric(i, i * 37));
  for (const size_t chunk : {size_t{1}, size_t{3}, size_t{1000}, stream.size()}) {
    FrameBuffer frames;
    int seen = 0;
    for (size_t at = 0; at < stream.size(); at += chunk) {
      frames.Append(std::string_view(stream).substr(at, chunk));
      while (true) {
        auto frame = frames.Next();
        ASSERT_TRUE(frame.ok());
        if (!frame->has_value()) break;
        FromTrainer message;
        ASSERT_TRUE(message.ParseFromString(**frame));
        EXPECT_EQ(message.metric().step(), seen++);
      }
    }
    EXPECT_EQ(seen, 50);
    EXPECT_TRUE(frames.empty());
  }
}

TEST(FrameBufferTest, ImpossibleLengthIsAnError) {
  FrameBuffer frames;
  frames.Append("\xff\xff\xff\x7f and so on");
  EXPECT_TRUE(absl::IsInvalidArgument(frames.Next().status()));
}

class FrameSocketTest : public testing::Test {
 protected:
  FrameSocketTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ours_ = fds[0];
    other_ = fds[1];
  }
  ~FrameSocketTest() override {
    close(ours_);
    CloseOther();
  }
  void CloseOther() {
    if (other_ >= 0) close(other_);
    other_ = -1;
  }
  void SendBytes(std::string_view bytes) {
    ASSERT_EQ(write(other_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  int ours_ = -1, other_ = -1;
};

TEST_F(FrameSocketTest, HalfAFrameIsWaitedForAndTwoAreReadOneByOne) {
  FrameSocket socket(ours_);
  FromTrainer message;
  EXPECT_TRUE(absl::IsDeadlineExceeded(socket.Read(0, &message)));
  const std::string first = EncodeFrame(Metric(1, 500)), second = EncodeFrame(Metric(2, 5));
  SendBytes(first.substr(0, 100));
  EXPECT_TRUE(absl::IsDeadlineExceeded(socket.Read(0, &message)))
      << "does not block inside a frame";
  SendBytes(first.substr(100) + second);
  ASSERT_TRUE(socket.Read(0, &message).ok());
  EXPECT_EQ(message.metric().step(), 1);
  ASSERT_TRUE(socket.Read(0, &message).ok());
  EXPECT_EQ(message.metric().step(), 2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(socket.Read(0, &message)));
}

TEST_F(FrameSocketTest, FramesBeforeTheEndAreReadAndThenTheEndIsSeenOnBothWays) {
  FrameSocket socket(ours_);
  SendBytes(EncodeFrame(Metric(7, 3)));
  CloseOther();
  FromTrainer message;
  ASSERT_TRUE(socket.Read(-1, &message).ok());
  EXPECT_EQ(message.metric().step(), 7);
  EXPECT_TRUE(absl::IsOutOfRange(socket.Read(-1, &message)));
  EXPECT_TRUE(absl::IsUnavailable(socket.Write(message)));
}

TEST_F(FrameSocketTest, WhatIsNoMessageIsAnError) {
  FrameSocket socket(ours_);
  SendBytes(std::string("\x03\0\0\0", 4) + "\xff\xff\xff");
  FromTrainer message;
  EXPECT_TRUE(absl::IsInvalidArgument(socket.Read(0, &message)));
}

}  // namespace
}  // namespace worker
