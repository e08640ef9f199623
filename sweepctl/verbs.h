// The verbs of the program. A new verb is one file cmd_NAME.cc that defines
//   void AddNameVerb(CLI::App& app, Session& session);
// one line below, and its source in CMakeLists.txt. The function adds a subcommand, and its
// callback sets session.action; see cmd_schema.cc, the shortest.
#pragma once

#include "CLI/CLI.hpp"
#include "sweepctl/cli.h"

// In the order of --help.
#define SWEEPCTL_VERBS(V) \
  V(Plan)                 \
  V(Launch)               \
  V(Watch)                \
  V(Resume)               \
  V(Data)                 \
  V(Serve)                \
  V(Worker)               \
  V(Recipe)               \
  V(Doctor)               \
  V(Schema)               \
  V(Status)               \
  V(Show)                 \
  V(Logs)                 \
  V(Cancel)               \
  V(Pause)                \
  V(Retry)                \
  V(Import)               \
  V(Fit)                  \
  V(Compare)              \
  V(Forecasts)            \
  V(Query)                \
  V(Export)               \
  V(Completion)

namespace sweepctl {

#define SWEEPCTL_DECLARE_VERB(Name) void Add##Name##Verb(CLI::App& app, Session& session);
SWEEPCTL_VERBS(SWEEPCTL_DECLARE_VERB)
#undef SWEEPCTL_DECLARE_VERB

}  // namespace sweepctl
