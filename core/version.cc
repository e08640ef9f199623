#include "core/version.h"

namespace core {

std::string_view Version() { return SWEEP_VERSION; }
std::string_view Commit() { return SWEEP_COMMIT; }

}  // namespace core
