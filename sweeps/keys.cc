#include "sweeps/keys.h"

#include "fmt/format.h"

namespace sweeps {
namespace {

Form Nested(Form::Kind kind, std::vector<Key> children) {
  Form form;
  form.kind = kind;
  form.children = std::move(children);
  return form;
}
Form Fraction() {
  Form form;
  form.kind = Form::Kind::kFraction;
  form.most = 0.5;
  return form;
}
Form Duration() {
  Form form;
  form.kind = Form::Kind::kDuration;
  return form;
}

}  // namespace

Form Text() { return Form(); }
Form Word(std::vector<std::string> words) {
  Form form;
  form.kind = Form::Kind::kWord;
  form.words = std::move(words);
  return form;
}
Form Bool() {
  Form form;
  form.kind = Form::Kind::kBool;
  return form;
}
Form Positive() {
  Form form;
  form.kind = Form::Kind::kNumber;
  return form;
}
Form Integer(double least, double most) {
  Form form;
  form.kind = Form::Kind::kInteger;
  form.least = least;
  form.most = most;
  form.open = false;
  return form;
}
Form List(std::string what, std::vector<Form> item) {
  return Nested(Form::Kind::kList, {{"item", std::move(what), std::move(item)}});
}
Form Map(std::string what, std::vector<Form> value) {
  return Nested(Form::Kind::kMap, {{"value", std::move(what), std::move(value)}});
}
Form Object(std::vector<Key> keys) { return Nested(Form::Kind::kObject, std::move(keys)); }

namespace {

Form DataForm() {
  const Form source = Object(
      {{"paths",
        "files or patterns, ** crosses folders; relative to the sweep file or to "
        "--data-root",
        {List("a path or pattern", {Text()})},
        true},
       {"weight", "share of the tokens, normalised over the sources; default 1", {Positive()}},
       {"max_epochs",
        "passes over this source before it is left out; default unlimited",
        {Positive()}}});
  return Object(
      {{"mix", "sources by name", {Map("one source", {source})}, true},
       {"tokenizer",
        "{sentencepiece: N} trains one on the training documents, {model: path} takes "
        "one, bytes needs none (vocabulary 257)",
        {Word({"bytes"}), Object({{"sentencepiece", "vocabulary size", {Integer(260, 1 << 20)}},
                                  {"model", "path of a SentencePiece .model", {Text()}}})},
        true},
       {"holdout",
        "what is kept out of training and scored",
        {Object({{"fraction", "of the documents (or folders); default 0.5%", {Fraction()}},
                 {"by",
                  "unit that is held out whole; default document",
                  {Word({"document", "directory"})}}})}}});
}

Form SweepForm() {
  Form form = Object({
      {"name",
       "the sweep's name in the database: letters, digits, '.', '_', '-', at most 64",
       {Text()},
       true},
      {"recipe", "a recipe of `sweepctl recipe list`", {Text()}, true},
      {"method",
       "isoflop: candidates around each budget; search: one shape under many constants; "
       "default isoflop",
       {Word({"isoflop", "search"})}},
      {"budgets",
       "training FLOPs of each IsoFLOP curve; 1e14 is a number",
       {List("training FLOPs", {Positive()})}},
      {"points",
       "candidates a budget, neighbours centred on `center`; default all",
       {Word({"all"}), Integer(1, 1000)}},
      {"center",
       "auto: the recipe's prior; a number: tokens per param; default auto",
       {Word({"auto"}), Positive()}},
      {"runs",
       "method isoflop: single runs beside the budgets, or instead of them",
       {List("a run",
             {Object({{"budget", "training FLOPs", {Positive()}, true},
                      {"hidden", "width of the candidate", {Integer(1)}, true},
                      {"seed", "of initialisation and data order; default 0", {Integer(0)}}})})}},
      {"data", "what is trained on and scored", {DataForm()}},
      {"vocab",
       "vocabulary size, where the tokenizer does not say it; default the recipe's",
       {Integer(2, 1 << 30)}},
      {"seq_len", "tokens a sequence; default the recipe's", {Integer(2, 1 << 30)}},
      {"numerics", "compute precision; default the recipe's", {Word({"f32", "bf16-mixed"})}},
      {"seeds",
       "runs a candidate, each with its own initialisation and data order; default 1",
       {Integer(1, 1000)}},
      {"trainer",
       "native, or the command of a process that speaks the trainer protocol",
       {Word({"native"}),
        Object({{"command", "program and arguments", {List("argument", {Text()})}, true}})}},
      {"resources",
       "what one trial may use",
       {Object({{"gpus",
                 "GPUs a trial; 0 trains on the CPU; default 1 where there is one",
                 {Integer(0, 1024)}},
                {"time", "wall time a trial, 2h", {Duration()}}})}},
      {"retry",
       "how often a trial is tried again, by cause",
       {Object({{"failure", "crashes; default 2", {Integer(0, 1e6)}},
                {"preemption", "taken machines; default 100", {Integer(0, 1e6)}},
                {"oom", "out of memory; default 1", {Integer(0, 1e6)}}})}},
      {"limits",
       "the sweep stops leasing beyond these",
       {Object({{"flops", "training FLOPs in all", {Positive()}},
                {"gpu_hours", "GPU hours in all", {Positive()}}})}},
      {"forecast",
       "budgets whose loss is forecast from the fit before anything is trained there",
       {Object(
           {{"at", "training FLOPs of each target", {List("training FLOPs", {Positive()})}, true},
            {"register",
             "store the forecast before the target may run; default true",
             {Bool()}}})}},
      {"at",
       "method search: the one candidate that is trained",
       {Object({{"budget", "training FLOPs", {Positive()}, true},
                {"hidden", "width of the candidate", {Integer(1)}, true}})}},
      {"parameters",
       "method search: recipe constants to vary (`sweepctl recipe show NAME`)",
       {Map("values, or a range",
            {List("a value", {Positive()}), Object({{"loguniform",
                                                     "[lo, hi], drawn uniformly in the logarithm",
                                                     {List("bound", {Positive()})},
                                                     true}})})}},
      {"samples",
       "method search: random draws; without it every combination of the lists",
       {Integer(1, 100000)}},
      {"seed", "method search: seed of the draws; default 0", {Integer(0)}},
  });
  form.refused["eval"] =
      "key 'eval': downstream tasks are not supported yet; every trial reports the held-out loss, "
      "so leave the key out";
  return form;
}

}  // namespace

const Form& SweepFileForm() {
  static const Form* const form = new Form(SweepForm());
  return *form;
}

std::string Describe(const std::vector<Form>& forms) {
  std::string out;
  auto bounds = [](const Form& form) {
    std::string text = fmt::format("{} {:g}", form.open ? "above" : "from", form.least);
    if (form.most < 1e299)
      text += fmt::format(" {} {:g}", form.open ? "and up to" : "to", form.most);
    return text;
  };
  for (const Form& form : forms) {
    if (!out.empty()) out += " or ";
    switch (form.kind) {
      case Form::Kind::kText:
        out += "text";
        break;
      case Form::Kind::kWord: {
        std::string words;
        for (const std::string& word : form.words) words += (words.empty() ? "" : " or ") + word;
        out += words;
        break;
      }
      case Form::Kind::kBool:
        out += "true or false";
        break;
      case Form::Kind::kNumber:
        out += "a number " + bounds(form);
        break;
      case Form::Kind::kInteger:
        out += "a whole number " + bounds(form);
        break;
      case Form::Kind::kFraction:
        out += "a fraction (0.5% or 0.005) " + bounds(form);
        break;
      case Form::Kind::kDuration:
        out += "a duration (90s, 15m, 2h, 1d)";
        break;
      case Form::Kind::kList:
        out += "a list [...]";
        break;
      case Form::Kind::kMap:
        out += "a mapping {name: ...}";
        break;
      case Form::Kind::kObject: {
        std::string keys;
        for (const Key& key : form.children) keys += (keys.empty() ? "" : ", ") + key.name;
        out += "a mapping with keys " + keys;
        break;
      }
    }
  }
  return out;
}

}  // namespace sweeps
