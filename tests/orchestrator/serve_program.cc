// What `sweepctl serve --db PATH [--exit-when-idle] [--idle-ms N]` does, as a program of its own
// for the tests of the launcher; and `fails`, a program that does not come up.
#include <cstdio>
#include <cstring>
#include <string>

#include "orchestrator/serve.h"

int main(int argc, char** argv) {
  orchestrator::ServeOptions options;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--db") == 0) options.db_path = argv[++i];
    if (std::strcmp(argv[i], "--exit-when-idle") == 0) options.exit_when_idle = true;
    if (std::strcmp(argv[i], "--idle-ms") == 0) options.idle_ms = std::stoll(argv[++i]);
  }
  const absl::Status status = orchestrator::Serve(options);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
