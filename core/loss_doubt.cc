#include "core/loss_doubt.h"

#include <cmath>

#include "fmt/format.h"

namespace core {

std::string LossDoubt(double value, std::string_view unit) {
  if (unit == "bits_per_byte" && value > kMostBitsPerByte)
    return fmt::format(
        "{:.4g} bits_per_byte is above the {:g} of one guess among the 256 bytes: it is probably a "
        "perplexity, or in another unit, or the run diverged",
        value, kMostBitsPerByte);
  if (unit != "nats_per_token" && unit != "bits_per_token") return "";
  const double nats = unit == "nats_per_token" ? value : value * std::log(2.0);
  if (!(nats > kMostNatsPerToken)) return "";
  return fmt::format(
      "{:.4g} {} is above the {:.3g} of one guess among 440,000 tokens, more than any vocabulary "
      "in use: it is probably a perplexity, or the run diverged",
      value, unit, kMostNatsPerToken * value / nats);
}

}  // namespace core
