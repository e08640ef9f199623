// sweepctl: parse the command line, run one verb, turn its status into an exit code.
#include <cstdio>
#include <string>
#include <vector>

#include "core/canonical_json.h"
#include "core/did_you_mean.h"
#include "core/file.h"
#include "core/version.h"
#include "fmt/format.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

constexpr char kAbout[] =
    "From a training-compute budget to a forecast you can bet on: plan IsoFLOP sweeps, train them, "
    "fit scaling laws, and forecast larger runs before they start.";
constexpr char kFooter[] =
    "Start with:  sweepctl plan sweeps/quickstart.yaml\n"
    "Exit codes:  0 done, 1 finished with failed trials, 2 usage, 65 bad input, 69 coordinator\n"
    "             unreachable, 73 cannot write, 75 try again, 77 not allowed, 130 interrupted";

void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.add_option("--db", options.db, "the database file")->capture_default_str()->type_name("FILE");
  app.add_flag("--json", options.json, "print one JSON object; the same as --output json");
  app.add_option("--output", options.output, "how rows are printed")
      ->check(CLI::IsMember({"table", "csv", "json", "jsonl"}))
      ->capture_default_str()
      ->type_name("FORMAT");
  app.add_flag("--no-color", options.no_color, "plain text; NO_COLOR and pipes are honoured too");
  app.set_version_flag("--version",
                       fmt::format("sweepctl {} ({})", core::Version(), core::Commit()));
}

// A first word that is no verb, which CLI11 would call "not expected".
std::string MisspeltVerb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (verb->get_name() == argv[1]) return "";
    names.push_back(verb->get_name());
  }
  return fmt::format("unknown command '{}'{}; `sweepctl --help` lists them", argv[1],
                     core::DidYouMean(argv[1], names));
}

int Main(int argc, char** argv) {
  Session session;
  CLI::App app(kAbout, "sweepctl");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();  // global options may stand after the verb; subcommands inherit this
  app.get_formatter()->column_width(34);
  AddGlobalOptions(app, session.options);
#define SWEEPCTL_ADD_VERB(Name) Add##Name##Verb(app, session);
  SWEEPCTL_VERBS(SWEEPCTL_ADD_VERB)
#undef SWEEPCTL_ADD_VERB

  if (const std::string misspelt = MisspeltVerb(app, argc, argv); !misspelt.empty()) {
    Note("sweepctl: " + misspelt);
    return kUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help) == 0 && std::fflush(stdout) == 0 ? kDone : kCannotWrite;
  } catch (const CLI::ParseError& error) {
    Note(fmt::format("sweepctl: {}; `sweepctl --help` and `sweepctl VERB --help` explain",
                     error.what()));
    return kUsage;
  }
  for (int i = 1; i < argc; ++i) session.options.typed += (i > 1 ? " " : "") + ShellWord(argv[i]);
  absl::StatusOr<int> result = kBug;
  try {
    result = session.action();
  } catch (const core::Json::exception& shape) {
    result = absl::DataLossError(
        fmt::format("a stored text has another shape than this program writes ({}); compare the "
                    "database with a backup",
                    shape.what()));
  }
  if (result.ok()) return *result;
  const int code = ExitCodeOf(result.status());
  Note(fmt::format("sweepctl: {}", std::string(result.status().message())));
  return code;
}

}  // namespace
}  // namespace sweepctl

int main(int argc, char** argv) {
  core::ReportFileSizeLimit();
  return sweepctl::Main(argc, argv);
}
