#include "core/units.h"

#include <charconv>
#include <cmath>
#include <ctime>

#include "core/status_macros.h"
#include "fmt/format.h"

namespace core {

absl::StatusOr<double> ParseNumber(std::string_view text) {
  const absl::Status error = absl::InvalidArgumentError(
      fmt::format("'{}' is not a number (write 1e14, 3e+18 or 0.5)", text));
  std::string_view digits = text;
  if (!digits.empty() && digits.front() == '+') digits.remove_prefix(1);
  if (digits.size() < text.size() && !digits.empty() && digits.front() == '-') return error;
  double value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (code != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value))
    return error;
  return value;
}

absl::StatusOr<double> ParseFraction(std::string_view text) {
  if (!text.empty() && text.back() == '%') {
    ASSIGN_OR_RETURN(const double percent, ParseNumber(text.substr(0, text.size() - 1)));
    return percent / 100;
  }
  return ParseNumber(text);
}

absl::StatusOr<int64_t> ParseDurationMs(std::string_view text) {
  double unit_ms = 1000;
  std::string_view number = text;
  if (!text.empty()) {
    switch (text.back()) {
      case 's':
        unit_ms = 1e3;
        break;
      case 'm':
        unit_ms = 60e3;
        break;
      case 'h':
        unit_ms = 3600e3;
        break;
      case 'd':
        unit_ms = 86400e3;
        break;
      default:
        unit_ms = 0;
    }
    if (unit_ms > 0)
      number.remove_suffix(1);
    else
      unit_ms = 1000;
  }
  const auto value = ParseNumber(number);
  if (!value.ok() || *value < 0) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a duration (write 90s, 15m, 2h or 1d)", text));
  }
  return static_cast<int64_t>(std::llround(*value * unit_ms));
}

std::string FormatFlops(double flops) {
  if (flops == 0) return "0";
  std::string text = fmt::format("{:.3g}", flops);
  if (text.find('e') == std::string::npos) text = fmt::format("{:.2e}", flops);
  return text;
}

std::string FormatCount(double count) {
  if (std::fabs(count) >= 1e12) return fmt::format("{:.4g}T", count / 1e12);
  if (std::fabs(count) >= 1e9) return fmt::format("{:.4g}B", count / 1e9);
  if (std::fabs(count) >= 1e6) return fmt::format("{:.4g}M", count / 1e6);
  if (std::fabs(count) >= 1e4) return fmt::format("{:.4g}k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

std::string FormatBytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  if (bytes >= 1000) return fmt::format("{:.0f} {}", bytes, units[unit]);
  return fmt::format("{:.3g} {}", bytes, units[unit]);
}

std::string FormatDuration(double seconds) {
  if (!std::isfinite(seconds)) return "unknown";
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  const int64_t s = std::llround(seconds);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02d} s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{} h {:02d} min", s / 3600, s / 60 % 60);
  return fmt::format("{} d {} h", s / 86400, s / 3600 % 24);
}

std::string FormatUnixMs(int64_t unix_ms) {
  const time_t seconds = unix_ms / 1000;
  tm utc{};
  gmtime_r(&seconds, &utc);
  char buffer[32];
  strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return buffer;
}

}  // namespace core
