// sweepctl schema: the JSON Schema of sweep files and of map files.
#include "core/status_macros.h"
#include "maps/map_file.h"
#include "sweepctl/verbs.h"
#include "sweeps/schema.h"

namespace sweepctl {

void AddSchemaVerb(CLI::App& app, Session& session) {
  auto map = std::make_shared<bool>(false);  // shared by the parser and the callback
  CLI::App* verb =
      app.add_subcommand("schema", "print the JSON Schema of sweep files, for editors");
  verb->add_flag("--map", *map, "of map files, which import takes");
  verb->footer(
      "Example:  sweepctl schema > sweep.schema.json\n"
      "          and in a sweep file:  # yaml-language-server: $schema=sweep.schema.json");
  verb->callback([map, &session] {
    session.action = [map]() -> absl::StatusOr<int> {
      const core::Json schema = *map ? sweeps::FileSchema(maps::MapFileForm(), "sweepctl map file")
                                     : sweeps::SweepFileSchema();
      RETURN_IF_ERROR(Print(schema.dump(2) + "\n"));
      return kDone;
    };
  });
}

}  // namespace sweepctl
