// Canonical JSON (RFC 8785): one byte string per value, so that hashing a plan identifies it.
// Keys sorted, no whitespace, numbers in the shortest form that reads back (ECMAScript's rules).
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace core {

using Json = nlohmann::json;

// INVALID_ARGUMENT names the path of a value RFC 8785 cannot hold: NaN, infinity, an integer beyond
// 2^53, a non-ASCII key (the sort order of UTF-16 is not implemented, and no key of ours needs it).
absl::StatusOr<std::string> CanonicalJson(const Json& value);

// Parses; INVALID_ARGUMENT with `what` and the byte offset on a syntax error. Never throws.
absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what);

// A double as ECMAScript prints it: 1e+21 and above and below 1e-6 in exponent form. REQUIRES:
// finite.
std::string EcmaNumber(double value);

}  // namespace core
