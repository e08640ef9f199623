#include "sweeps/schema.h"

#include "sweeps/keys.h"

namespace sweeps {
namespace {

using core::Json;

Json SchemaOf(const std::vector<Form>& forms);

Json SchemaOf(const Form& form) {
  switch (form.kind) {
    case Form::Kind::kText:
      return {{"type", "string"}, {"minLength", 1}};
    case Form::Kind::kWord:
      return {{"enum", form.words}};
    case Form::Kind::kBool:
      return {{"type", "boolean"}};
    case Form::Kind::kNumber:
    case Form::Kind::kInteger: {
      // Text too: YAML 1.1 editors take 1e14 for text, and the parser reads it as the number it is.
      Json number = {{"type", form.kind == Form::Kind::kInteger ? "integer" : "number"}};
      number[form.open ? "exclusiveMinimum" : "minimum"] = form.least;
      if (form.most < 1e299) number["maximum"] = form.most;
      return {{"anyOf",
               {number, {{"type", "string"}, {"pattern", "^[+-]?[0-9.]+([eE][+-]?[0-9]+)?$"}}}}};
    }
    case Form::Kind::kFraction:
      return {{"anyOf",
               {{{"type", "number"}, {"exclusiveMinimum", form.least}, {"maximum", form.most}},
                {{"type", "string"}, {"pattern", "^[0-9.]+([eE][+-]?[0-9]+)?%?$"}}}}};
    case Form::Kind::kDuration:
      return {{"anyOf",
               {{{"type", "number"}, {"minimum", 0}},
                {{"type", "string"}, {"pattern", "^[0-9.]+[smhd]?$"}}}}};
    case Form::Kind::kList:
      return {{"type", "array"}, {"items", SchemaOf(form.children[0].forms)}};
    case Form::Kind::kMap:
      return {{"type", "object"}, {"additionalProperties", SchemaOf(form.children[0].forms)}};
    case Form::Kind::kObject:
      break;
  }
  Json properties = Json::object(), required = Json::array();
  for (const Key& key : form.children) {
    properties[key.name] = SchemaOf(key.forms);
    properties[key.name]["description"] = key.doc;
    if (key.required) required.push_back(key.name);
  }
  Json schema = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = required;
  return schema;
}

Json SchemaOf(const std::vector<Form>& forms) {
  if (forms.size() == 1) return SchemaOf(forms[0]);
  Json any = Json::array();
  for (const Form& form : forms) any.push_back(SchemaOf(form));
  return {{"anyOf", any}};
}

}  // namespace

Json FileSchema(const Form& form, const std::string& title) {
  Json schema = SchemaOf(form);
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = title;
  return schema;
}

Json SweepFileSchema() { return FileSchema(SweepFileForm(), "sweepctl sweep file"); }

}  // namespace sweeps
