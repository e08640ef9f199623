// sweepctl completion bash: a script made from the verbs and options themselves.
#include "core/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

// Words that may follow: subcommands and long options.
std::vector<std::string> WordsOf(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    words.push_back(sub->get_name());
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  return words;
}

std::string BashScript(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    cases += fmt::format("    {}) words=\"{} $global\";;\n", verb->get_name(),
                         fmt::join(WordsOf(*verb), " "));
  std::vector<std::string> global;
  for (const std::string& word : WordsOf(app))
    if (word[0] == '-') global.push_back(word);
  return fmt::format(
      "_sweepctl() {{\n"
      "  local word=\"${{COMP_WORDS[COMP_CWORD]}}\" global=\"{}\" words\n"
      "  case \"${{COMP_WORDS[1]}}\" in\n{}"
      "    *) words=\"{}\";;\n"
      "  esac\n"
      "  [ \"$COMP_CWORD\" = 1 ] && words=\"{}\"\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "}}\n"
      "complete -o default -F _sweepctl sweepctl\n",
      fmt::join(global, " "), cases, fmt::join(WordsOf(app), " "), fmt::join(WordsOf(app), " "));
}

}  // namespace

void AddCompletionVerb(CLI::App& app, Session& session) {
  auto shell = std::make_shared<std::string>("bash");  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("completion", "print the completion script of a shell");
  verb->add_option("SHELL", *shell, "bash")->check(CLI::IsMember({"bash"}))->capture_default_str();
  verb->footer("Example:  source <(sweepctl completion bash)");
  verb->callback([shell, &app, &session] {
    session.action = [&app]() -> absl::StatusOr<int> {
      RETURN_IF_ERROR(Print(BashScript(app)));
      return kDone;
    };
  });
}

}  // namespace sweepctl
