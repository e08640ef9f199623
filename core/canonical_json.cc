#include "core/canonical_json.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "core/check.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace core {
namespace {

constexpr int64_t kMaxSafeInteger = int64_t{1} << 53;

absl::Status Append(const Json& value, const std::string& path, std::string* out) {
  switch (value.type()) {
    case Json::value_t::object: {
      out->push_back('{');
      bool first = true;
      for (const auto& [key, child] : value.items()) {  // nlohmann's map is already sorted by byte
        for (unsigned char c : key) {
          if (c >= 0x80)
            return absl::InvalidArgumentError(
                fmt::format("canonical JSON: non-ASCII key '{}' in {}", key, path));
        }
        if (!first) out->push_back(',');
        first = false;
        *out += Json(key).dump();
        out->push_back(':');
        RETURN_IF_ERROR(Append(child, path + "." + key, out));
      }
      out->push_back('}');
      return absl::OkStatus();
    }
    case Json::value_t::array: {
      out->push_back('[');
      for (size_t i = 0; i < value.size(); ++i) {
        if (i > 0) out->push_back(',');
        RETURN_IF_ERROR(Append(value[i], fmt::format("{}[{}]", path, i), out));
      }
      out->push_back(']');
      return absl::OkStatus();
    }
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      if (!std::isfinite(number))
        return absl::InvalidArgumentError(fmt::format("canonical JSON: {} is not finite", path));
      *out += EcmaNumber(number);
      return absl::OkStatus();
    }
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: {
      const bool too_large = value.is_number_unsigned() &&
                             value.get<uint64_t>() > static_cast<uint64_t>(kMaxSafeInteger);
      const int64_t number = value.get<int64_t>();
      if (too_large || number > kMaxSafeInteger || number < -kMaxSafeInteger) {
        return absl::InvalidArgumentError(
            fmt::format("canonical JSON: integer {} at {} is beyond 2^53", value.dump(), path));
      }
      *out += fmt::format("{}", number);
      return absl::OkStatus();
    }
    case Json::value_t::binary:
    case Json::value_t::discarded:
      return absl::InvalidArgumentError(
          fmt::format("canonical JSON: {} is not a JSON value", path));
    case Json::value_t::string:
      try {
        *out += value.dump();  // nlohmann escapes exactly what RFC 8785 asks for and keeps UTF-8 as
                               // it is
      } catch (const Json::exception&) {
        return absl::InvalidArgumentError(
            fmt::format("canonical JSON: the string at {} is not UTF-8", path));
      }
      return absl::OkStatus();
    default:
      *out += value.dump();
      return absl::OkStatus();
  }
}

}  // namespace

std::string EcmaNumber(double value) {
  SWEEP_CHECK(std::isfinite(value));
  if (value == 0) return "0";
  char buffer[64];
  // Shortest digits in scientific form, "d.ddde+xx"; then laid out by ECMA-262 Number::toString.
  auto end = std::to_chars(buffer, buffer + sizeof(buffer), std::fabs(value),
                           std::chars_format::scientific)
                 .ptr;
  const std::string_view text(buffer, end - buffer);
  const size_t e = text.find('e');
  std::string digits;
  for (char c : text.substr(0, e)) {
    if (c != '.') digits.push_back(c);
  }
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  const int k = static_cast<int>(digits.size());
  const int n = exponent + 1;
  std::string out = value < 0 ? "-" : "";
  if (k <= n && n <= 21) return out + digits + std::string(n - k, '0');
  if (0 < n && n <= 21) return out + digits.substr(0, n) + "." + digits.substr(n);
  if (-6 < n && n <= 0) return out + "0." + std::string(-n, '0') + digits;
  const std::string mantissa = k == 1 ? digits : digits.substr(0, 1) + "." + digits.substr(1);
  return out + fmt::format("{}e{}{}", mantissa, n - 1 < 0 ? "-" : "+", std::abs(n - 1));
}

absl::StatusOr<std::string> CanonicalJson(const Json& value) {
  std::string out;
  RETURN_IF_ERROR(Append(value, "$", &out));
  return out;
}

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not valid JSON (byte {}): {}", what, error.byte, error.what()));
  } catch (const Json::exception& error) {  // a number beyond double
    return absl::InvalidArgumentError(fmt::format("{} is not valid JSON: {}", what, error.what()));
  }
}

}  // namespace core
