// Numbers people write and read: "3e18", "2h", "0.5%", "1.5 GiB".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace core {

// A finite decimal number, with or without exponent ("1e14", "3e+18", "0.5"); YAML's resolver is
// never asked. INVALID_ARGUMENT names the text.
absl::StatusOr<double> ParseNumber(std::string_view text);

// As ParseNumber, with an optional trailing "%": "0.5%" is 0.005.
absl::StatusOr<double> ParseFraction(std::string_view text);

// "90s", "15m", "2h", "1d", or plain seconds. Result in milliseconds, >= 0.
absl::StatusOr<int64_t> ParseDurationMs(std::string_view text);

// For people: "3e+18", "1.25e+12".
std::string FormatFlops(double flops);
// "1.24M", "10.96B", "512".
std::string FormatCount(double count);
// "1.5 GiB".
std::string FormatBytes(double bytes);
// "850 ms", "42 s", "3 min 05 s", "2 h 10 min", "3 d 4 h".
std::string FormatDuration(double seconds);
// UTC to the second, "2026-01-31T12:00:00Z".
std::string FormatUnixMs(int64_t unix_ms);

}  // namespace core
