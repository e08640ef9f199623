#include "fit/interval_json.h"

#include <cmath>
#include <string>

namespace fit {

using core::Json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json IntervalJson(const Interval& interval) {
  return {{"lo", Number(interval.lo)},
          {"hi", Number(interval.hi)},
          {"level", interval.level},
          {"kind", std::string(Name(interval.kind))},
          {"method", interval.method}};
}

Json WarningsJson(const std::vector<Warning>& warnings) {
  Json list = Json::array();
  for (const Warning& w : warnings) list.push_back({{"code", w.code}, {"text", w.text}});
  return list;
}

}  // namespace fit
