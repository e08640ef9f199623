// YAML read against a table of keys: every node is checked and keeps its place in the file.
// yaml-cpp is included in yaml.cc only, and its exceptions stop there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "sweeps/keys.h"

namespace sweeps {

// One-based; line 0 means unknown.
struct Position {
  int line = 0, column = 0;
};

// A checked value. Scalars keep their text: YAML's own resolver is never asked, so 1e14 is a number
// and `no` is a word.
struct Field;
struct Value {
  Position position;
  std::string text;            // scalar
  std::vector<Value> items;    // list
  std::vector<Field> fields;   // mapping, in the file's order
  const Form* form = nullptr;  // which form of its key it took

  // nullptr when absent.
  const Value* Find(std::string_view key) const;
};
struct Field {
  std::string key;
  Value value;
};

// Parses `text` and checks it against `root`. Every error is INVALID_ARGUMENT "file:line:column:
// what is wrong": syntax, more than one document, unknown key (with "did you mean"), key given
// twice, missing key, wrong form, number out of bounds.
absl::StatusOr<Value> ReadYaml(std::string_view text, const std::string& file, const Form& root);

// "file:line:column: message".
absl::Status ErrorAt(const std::string& file, const Position& position, std::string_view message);

}  // namespace sweeps
