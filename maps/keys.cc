// The keys of a map file as data.
#include "maps/map_file.h"

namespace maps {
namespace {

using sweeps::Form;
using sweeps::List;
using sweeps::Object;
using sweeps::Positive;
using sweeps::Text;
using sweeps::Word;

Form SourceObject() {
  return Object({{"column", "the column", {Text()}},
                 {"product", "columns to multiply", {List("a column", {Text()})}},
                 {"scale", "times this, as 1e9 for billions; default 1", {Positive()}}});
}

std::vector<Form> SourceForms() {
  return {Text(), List("the first of these that the file has", {Text(), SourceObject()}),
          SourceObject()};
}

std::vector<Form> TextOrTexts() { return {Text(), List("a text", {Text()})}; }

Form FilterForm() {
  return Object({{"column", "the column that decides, or the first of these", TextOrTexts(), true},
                 {"is", "its text is one of these", TextOrTexts()},
                 {"is_not", "its text is none of these", TextOrTexts()},
                 {"below", "its number is less than this", {Positive()}},
                 {"at_most", "its number is this or less", {Positive()}},
                 {"above", "its number is more than this", {Positive()}},
                 {"at_least", "its number is this or more", {Positive()}},
                 {"filled", "whether the cell must hold something", {sweeps::Bool()}}});
}

Form MetricForm() {
  return Object({{"name", "the metric's name here", {Text()}, true},
                 {"column", "where it stands", SourceForms(), true},
                 {"unit", "of the numbers as they stand", {Word(UnitWords())}, true},
                 {"eval", "the evaluation set; default that of values, else unknown", {Text()}},
                 {"optional",
                  "a file without the column has no such metric; default false",
                  {sweeps::Bool()}}});
}

}  // namespace

const std::vector<std::string>& UnitWords() {
  static const auto* const words = new std::vector<std::string>{
      "nats_per_token", "bits_per_token", "bits_per_byte", "error", "accuracy"};
  return *words;
}

const Form& MapFileForm() {
  const std::vector<Form> sources = SourceForms();
  static const Form* const form = new Form(Object({
      {"name", "the import's name: letters, digits, '.', '_', '-', at most 64", {Text()}, true},
      {"about", "one line for people", {Text()}},
      {"format", "default by the file's name", {Word({"csv", "jsonl"})}},
      {"columns",
       "where each field stands",
       {Object({
           {"run", "name of the training run; rows of one run are its checkpoints", TextOrTexts()},
           {"params", "N", sources},
           {"params_no_embedding", "N without embeddings, beside it", sources},
           {"tokens", "D, training tokens", sources},
           {"flops", "C, training FLOPs", sources},
           {"budget_flops", "nominal budget the run belongs to", sources},
           {"unique_tokens", "different tokens, where data are repeated", sources},
           {"seed", "an integer", TextOrTexts()},
           {"recipe", "how it was trained", TextOrTexts()},
           {"data", "what it was trained on", TextOrTexts()},
           {"tokenizer", "what its tokens are of", TextOrTexts()},
           {"seq_len", "context of the evaluation", TextOrTexts()},
           {"numerics", "compute precision, as bf16-mixed", TextOrTexts()},
       })},
       true},
      {"values",
       "what is the same for all rows",
       {Object({
           {"recipe", "how it was trained", {Text()}},
           {"data", "what it was trained on", {Text()}},
           {"tokenizer", "what its tokens are of", {Text()}},
           {"eval", "the evaluation set of metrics that name none", {Text()}},
           {"seq_len", "context of the evaluation", {Text()}},
           {"numerics", "compute precision, as bf16-mixed", {Text()}},
           {"n_convention",
            "what the column of params counts",
            {Word({"with-embedding", "no-embedding", "no-input-embedding", kUnknown})}},
           {"flop_convention",
            "how the column of flops was counted",
            {Word({"6nd", "model-flops", "recipe", "given", kUnknown})}},
       })}},
      {"metrics",
       "losses and accuracies; the first is what fit takes by default",
       {List("one metric", {MetricForm()})},
       true},
      {"assume_6nd", "without a column of flops: C = 6 N D", {sweeps::Bool()}},
      {"schedule",
       "whether a row was measured after the whole learning-rate schedule; last-of-run: the row of "
       "a run with the most tokens was",
       {Word({"cooled", "mid-run", kUnknown, "last-of-run"}),
        Object({{"column", "the column that says it", {Text()}, true},
                {"cooled", "its texts for cooled", TextOrTexts(), true},
                {"mid_run", "its texts for mid-run", TextOrTexts()}})}},
      {"rows", "which rows of a run are kept; default all", {Word({"all", "last-of-run"})}},
      {"where", "rows are kept that meet all of these", {List("one condition", {FilterForm()})}},
      {"targets",
       "rows that meet all of these are outcomes, not fitted by default",
       {List("one condition", {FilterForm()})}},
  }));
  return *form;
}

}  // namespace maps
