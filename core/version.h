// What this build is: the provenance of attempts, fits and registrations, and the handshake between
// programs.
#pragma once

#include <string_view>

namespace core {

// "0.1.0".
std::string_view Version();
// `git describe` of the source, "-dirty" when it had changes; "unknown" outside a checkout.
std::string_view Commit();
// Programs talk only when this number is equal; it grows with every incompatible change of proto/.
inline constexpr int kProtocolVersion = 1;

}  // namespace core
