// The JSON Lines form of the trainer protocol, for outside trainers (worker/agent/README.md).
// Pure functions over text that nobody has checked: they never crash and never throw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "sweep/v1/trainer.pb.h"

namespace worker {

// A longer line is an error.
inline constexpr size_t kMaxLineBytes = 1 << 20;

// What the checker needs to know about the trial.
struct LineContext {
  std::string eval_hash;       // of the plan; an eval line may leave it out
  std::string checkpoint_dir;  // checkpoints must lie below it
  int64_t unix_ms = 0;         // stamps metrics
};

// One line as the message it means. A finishing line (done, diverged, oom, failed, stopped) becomes
// Finished. INVALID_ARGUMENT says what is wrong and quotes the line's beginning: not JSON, unknown
// type, a missing field, a wrong type, a number that is not finite or negative where it cannot be,
// a checkpoint outside checkpoint_dir.
absl::StatusOr<sweep::v1::FromTrainer> ParseTrainerLine(std::string_view line,
                                                        const LineContext& context);

// {"type":"stop","save":true} and a newline.
std::string StopLine(bool save);

}  // namespace worker
