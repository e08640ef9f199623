#include "worker/agent/framing.h"

#include <gtest/gtest.h>

#include "sweep/v1/trainer.pb.h"

namespace worker {
namespace {

TEST(FramingTest, FramesComeOutWholeHoweverTheBytesArrive) {
  std::string stream;
  for (int i = 0; i < 50; ++i) {
    sweep::v1::FromTrainer message;
    message.mutable_metric()->set_step(i);
    message.mutable_metric()->set_name(std::string(i * 37, 'n'));
    stream += EncodeFrame(message);
  }
  for (const size_t chunk : {size_t{1}, size_t{3}, size_t{1000}, stream.size()}) {
    FrameBuffer frames;
    int seen = 0;
    for (size_t at = 0; at < stream.size(); at += chunk) {
      frames.Append(std::string_view(stream).substr(at, chunk));
      while (true) {
        auto frame = frames.Next();
        ASSERT_TRUE(frame.ok());
        if (!frame->has_value()) break;
        sweep::v1::FromTrainer message;
        ASSERT_TRUE(message.ParseFromString(**frame));
        EXPECT_EQ(message.metric().step(), seen++);
      }
    }
    EXPECT_EQ(seen, 50);
    EXPECT_TRUE(frames.empty());
  }
}

TEST(FramingTest, ImpossibleLengthIsAnError) {
  FrameBuffer frames;
  frames.Append("\xff\xff\xff\x7f and so on");
  EXPECT_TRUE(absl::IsInvalidArgument(frames.Next().status()));
}

}  // namespace
}  // namespace worker
