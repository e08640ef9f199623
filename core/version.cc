#include "core/version.h"

#include "commit.h"  // written by every build (core/CMakeLists.txt)

namespace core {

std::string_view Version() { return SWEEP_VERSION; }
std::string_view Commit() { return SWEEP_COMMIT; }

}  // namespace core
