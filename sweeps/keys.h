// The keys of a file as data: names, forms, documentation. The one source of the parser (yaml.h),
// of the suggestions for misspelt keys and of the JSON Schema (schema.h). Here those of the sweep
// file; maps/keys.h has another table.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace sweeps {

struct Key;

// One way to write a value.
struct Form {
  enum class Kind {
    kText,      // any text
    kWord,      // one of `words`
    kBool,      // true or false
    kNumber,    // 1e14; core::ParseNumber, bounds below
    kInteger,   // a whole kNumber
    kFraction,  // 0.005 or 0.5%
    kDuration,  // 2h
    kList,      // items as children[0]
    kMap,       // free keys, values as children[0]
    kObject,    // exactly `children`
  };
  Kind kind = Kind::kText;
  std::vector<std::string> words;
  // kNumber, kInteger, kFraction: least < value when `open`, least <= value otherwise; value <=
  // most.
  double least = 0, most = 1e300;
  bool open = true;
  std::vector<Key> children;
  // kObject: names that are no keys, and what to say to somebody who tries them.
  std::map<std::string, std::string> refused;
};

struct Key {
  std::string name;
  std::string doc;
  std::vector<Form> forms;  // tried in order; at most one list and one mapping form
  bool required = false;
};

// The top level of a sweep file; a kObject.
const Form& SweepFileForm();

// Makers of forms, for such tables.
Form Text();
Form Word(std::vector<std::string> words);
Form Bool();
Form Positive();  // a number above 0
Form Integer(double least, double most = 1e9);
Form List(std::string what, std::vector<Form> item);
Form Map(std::string what, std::vector<Form> value);
Form Object(std::vector<Key> keys);

// "a number above 0", "one of native, local", ...: what a form accepts, for messages.
std::string Describe(const std::vector<Form>& forms);

}  // namespace sweeps
