// What the command line of an import says beside a map, or against it. What is said on the command
// line holds; where the map says something else, Overridden says so.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "fit/where.h"
#include "maps/map_file.h"

namespace maps {

// INVALID_ARGUMENT of all names option, word and the right words.

// `column` is the column of a field or a metric; of one that is a number "NAME*1e9" is it times
// 1e9. A column that the map knows for the field keeps its scale, unless another is given; one that
// it knows as another metric is refused. A metric that the map does not know in that column has an
// unknown evaluation set from then on: whose losses these are, the map does not say. A loss times
// what is neither 1 nor the map's own scale is rescaled (map_file.h): no forecast rests on it.
absl::Status SetColumn(MapFile& map, const std::string& field, const std::string& column);

// What holds for all rows; `unit` and `eval` are of the metrics that SetColumn has redirected, or
// else of the first one. The evaluation set is then also that of the metrics that have the first
// one's, and of all whose set is unknown. REQUIRES: after all SetColumn.
absl::Status SetValue(MapFile& map, const std::string& key, const std::string& value);

// "all" or "last-of-run".
absl::Status SetRows(MapFile& map, const std::string& rows);

// C = 6 N D in place of the map's columns for flops.
void AssumeSixNd(MapFile& map);

// Conditions beside the map's own; texts of one column that rows may hold (=) are alternatives, as
// in `fit --where`.
void AddWhere(MapFile& map, const std::vector<fit::Where>& given);

struct Override {
  std::string code;  // overridden, redirected
  std::string text;  // for people
};
// Where `after`, the map with the command line's words, says something else than the map did.
// Cannot fail.
std::vector<Override> Overridden(const MapFile& before, const MapFile& after);

}  // namespace maps
