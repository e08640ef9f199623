// sweepctl schema: the JSON Schema of the sweep file.
#include "core/status_macros.h"
#include "sweepctl/verbs.h"
#include "sweeps/schema.h"

namespace sweepctl {

void AddSchemaVerb(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("schema", "print the JSON Schema of sweep files, for editors");
  verb->footer(
      "Example:  sweepctl schema > sweep.schema.json\n"
      "          and in a sweep file:  # yaml-language-server: $schema=sweep.schema.json");
  verb->callback([&session] {
    session.action = []() -> absl::StatusOr<int> {
      RETURN_IF_ERROR(Print(sweeps::SweepFileSchema().dump(2) + "\n"));
      return kDone;
    };
  });
}

}  // namespace sweepctl
