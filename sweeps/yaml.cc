#include "sweeps/yaml.h"

#include <cmath>

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "yaml-cpp/yaml.h"

namespace sweeps {
namespace {

Position At(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

const Form* FormOfKind(const std::vector<Form>& forms, std::initializer_list<Form::Kind> kinds) {
  for (const Form& form : forms) {
    for (const Form::Kind kind : kinds) {
      if (form.kind == kind) return &form;
    }
  }
  return nullptr;
}

// Why `text` is not of this scalar form; empty when it is.
std::string ScalarProblem(const Form& form, const std::string& text) {
  absl::StatusOr<double> number = 0.0;
  switch (form.kind) {
    case Form::Kind::kText:
      return text.empty() ? "is empty" : "";
    case Form::Kind::kWord: {
      for (const std::string& word : form.words) {
        if (word == text) return "";
      }
      return fmt::format("is '{}', not {}{}", text, Describe({form}),
                         core::DidYouMean(text, form.words));
    }
    case Form::Kind::kBool:
      return text == "true" || text == "false" ? ""
                                               : fmt::format("is '{}', not true or false", text);
    case Form::Kind::kDuration: {
      const auto duration = core::ParseDurationMs(text);
      return duration.ok() ? "" : std::string(duration.status().message());
    }
    case Form::Kind::kFraction:
      number = core::ParseFraction(text);
      break;
    default:
      number = core::ParseNumber(text);
  }
  if (!number.ok()) return fmt::format("is '{}', not {}", text, Describe({form}));
  const bool below = form.open ? *number <= form.least : *number < form.least;
  const bool broken = form.kind == Form::Kind::kInteger && *number != std::floor(*number);
  if (below || broken || *number > form.most)
    return fmt::format("is {}, not {}", text, Describe({form}));
  return "";
}

class Checker {
 public:
  explicit Checker(const std::string& file) : file_(file) {}

  // `path` names the value in messages ("budgets[2]").
  absl::StatusOr<Value> Check(const YAML::Node& node, const std::vector<Form>& forms,
                              const std::string& path) {
    Value value;
    value.position = At(node.Mark());
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return CheckScalar(node, forms, path, std::move(value));
      case YAML::NodeType::Sequence:
        value.form = FormOfKind(forms, {Form::Kind::kList});
        if (value.form == nullptr) return Wrong(value, path, "is a list", forms);
        for (size_t i = 0; i < node.size(); ++i) {
          ASSIGN_OR_RETURN(Value item, Check(node[i], value.form->children[0].forms,
                                             fmt::format("{}[{}]", path, i)));
          value.items.push_back(std::move(item));
        }
        return value;
      case YAML::NodeType::Map:
        value.form = FormOfKind(forms, {Form::Kind::kMap, Form::Kind::kObject});
        if (value.form == nullptr) return Wrong(value, path, "is a mapping", forms);
        return CheckMapping(node, path, std::move(value));
      default:
        return Wrong(value, path, "has no value", forms);
    }
  }

 private:
  absl::Status Wrong(const Value& value, const std::string& path, std::string_view what,
                     const std::vector<Form>& forms) {
    return ErrorAt(file_, value.position,
                   fmt::format("{} {}; it takes {}", path, what, Describe(forms)));
  }

  absl::StatusOr<Value> CheckScalar(const YAML::Node& node, const std::vector<Form>& forms,
                                    const std::string& path, Value value) {
    value.text = node.Scalar();
    std::string problem;
    for (const Form& form : forms) {
      if (form.kind == Form::Kind::kList || form.kind == Form::Kind::kMap ||
          form.kind == Form::Kind::kObject)
        continue;
      problem = ScalarProblem(form, value.text);
      if (!problem.empty()) continue;
      value.form = &form;
      return value;
    }
    if (forms.size() == 1 && !problem.empty())
      return ErrorAt(file_, value.position, path + " " + problem);
    return Wrong(value, path, fmt::format("is '{}'", value.text), forms);
  }

  absl::StatusOr<Value> CheckMapping(const YAML::Node& node, const std::string& path, Value value) {
    const bool free = value.form->kind == Form::Kind::kMap;
    std::vector<std::string> names;
    for (const Key& key : value.form->children) names.push_back(key.name);
    const std::string inside = path == "the file" ? "" : path + ".";
    for (const auto& entry : node) {
      const Position at = At(entry.first.Mark());
      if (!entry.first.IsScalar() || entry.first.Scalar().empty())
        return ErrorAt(file_, at, fmt::format("a key of {} is not a word", path));
      const std::string name = entry.first.Scalar();
      if (const Value* before = value.Find(name); before != nullptr) {
        return ErrorAt(file_, at,
                       fmt::format("key '{}' is given twice (its first value is at line {})", name,
                                   before->position.line));
      }
      const Key* key = free ? &value.form->children[0] : nullptr;
      for (const Key& known : value.form->children) {
        if (!free && known.name == name) key = &known;
      }
      if (key == nullptr) return UnknownKey(at, name, names, *value.form, path);
      ASSIGN_OR_RETURN(Value field, Check(entry.second, key->forms, inside + name));
      value.fields.push_back({name, std::move(field)});
    }
    if (free) return value;
    for (const Key& key : value.form->children) {
      if (key.required && value.Find(key.name) == nullptr) {
        return ErrorAt(file_, value.position,
                       fmt::format("{} needs the key '{}' ({})", path, key.name, key.doc));
      }
    }
    return value;
  }

  absl::Status UnknownKey(const Position& at, const std::string& name,
                          const std::vector<std::string>& names, const Form& form,
                          const std::string& path) {
    if (const auto why = form.refused.find(name); why != form.refused.end())
      return ErrorAt(file_, at, why->second);
    std::string message = fmt::format("unknown key '{}'", name);
    const std::string suggestion = core::DidYouMean(name, names);
    if (!suggestion.empty()) return ErrorAt(file_, at, message + suggestion);
    std::string list;
    for (const std::string& known : names) list += (list.empty() ? "" : ", ") + known;
    return ErrorAt(file_, at, fmt::format("{}; {} takes {}", message, path, list));
  }

  const std::string& file_;
};

}  // namespace

const Value* Value::Find(std::string_view key) const {
  for (const auto& [name, value] : fields) {
    if (name == key) return &value;
  }
  return nullptr;
}

absl::Status ErrorAt(const std::string& file, const Position& position, std::string_view message) {
  if (position.line == 0) return absl::InvalidArgumentError(fmt::format("{}: {}", file, message));
  return absl::InvalidArgumentError(
      fmt::format("{}:{}:{}: {}", file, position.line, position.column, message));
}

absl::StatusOr<Value> ReadYaml(std::string_view text, const std::string& file, const Form& root) {
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(std::string(text));
    if (documents.empty() || documents[0].IsNull())
      return ErrorAt(file, {1, 1}, "the file is empty");
    if (documents.size() > 1) {
      return ErrorAt(file, At(documents[1].Mark()),
                     "a second document begins here; a file holds one");
    }
    return Checker(file).Check(documents[0], {root}, "the file");
  } catch (const YAML::Exception& error) {
    return ErrorAt(file, error.mark.is_null() ? Position() : At(error.mark),
                   "not valid YAML: " + error.msg);
  }
}

}  // namespace sweeps
