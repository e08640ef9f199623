// A fit that takes no time, and what is asked of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fit/fit.h"
#include "gtest/gtest.h"

namespace fit {

inline FitOptions Quick() {
  FitOptions options;
  options.law.bootstrap.resamples = 60;
  options.law.starts = 8;
  options.backtest = false;
  options.predict = {1e22};
  return options;
}

inline std::string TextOf(const std::vector<Warning>& warnings, std::string_view code) {
  for (const Warning& w : warnings)
    if (w.code == code) return w.text;
  return "";
}

inline const LawFit& FitOf(const FitSummary& summary, const std::string& law) {
  for (const LawFit& fit : summary.fits)
    if (fit.law == law) return fit;
  ADD_FAILURE() << "no fit of " << law;
  return summary.fits[0];
}

}  // namespace fit
