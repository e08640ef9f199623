#include "sweeps/schema.h"

#include "gtest/gtest.h"
#include "sweeps/keys.h"
#include "sweeps/sweep_file.h"

namespace sweeps {
namespace {

TEST(SchemaTest, EveryKeyOfTheParserIsInTheSchemaWithItsDocumentation) {
  const core::Json schema = SweepFileSchema();
  EXPECT_EQ(schema["additionalProperties"], false);
  for (const Key& key : SweepFileForm().children) {
    ASSERT_TRUE(schema["properties"].contains(key.name)) << key.name;
    EXPECT_EQ(schema["properties"][key.name]["description"], key.doc);
  }
  EXPECT_EQ(schema["required"], (core::Json{"name", "recipe"}));
  EXPECT_EQ(schema["properties"]["method"]["enum"], (core::Json{"isoflop", "search"}));
  const core::Json& source =
      schema["properties"]["data"]["properties"]["mix"]["additionalProperties"];
  EXPECT_EQ(source["properties"]["paths"]["type"], "array");
  EXPECT_EQ(source["additionalProperties"], false);
}

TEST(SchemaTest, KeysOfTheParserAreUniqueAndDocumented) {
  std::vector<const Form*> queue = {&SweepFileForm()};
  while (!queue.empty()) {
    const Form* form = queue.back();
    queue.pop_back();
    for (size_t i = 0; i < form->children.size(); ++i) {
      EXPECT_FALSE(form->children[i].doc.empty()) << form->children[i].name;
      for (size_t j = 0; j < i; ++j) EXPECT_NE(form->children[i].name, form->children[j].name);
      for (const Form& nested : form->children[i].forms) queue.push_back(&nested);
    }
  }
}

}  // namespace
}  // namespace sweeps
