// What not knowing the asymptote E does to a forecast. Far out, a law is its asymptote: where the
// runs allow a range of E, the forecast is no better known than the losses at its two ends, however
// close together the resamples lie.
#pragma once

#include <optional>
#include <vector>

#include "fit/law.h"

namespace fit {

// Unites `mean` with the losses at both ends of E, and then makes `prediction` reach further on
// each side than `mean` by the scatter of single runs (independent, so squares of ln L add).
// `noise`: residuals ln L - ln Lhat of single runs; without any, a prediction interval is NaN.
// Where `mean` is NaN (too few resamples could be fitted), the range of E is all that is known.
void UniteWithAsymptote(double loss, double loss_at_E_lo, double loss_at_E_hi,
                        const std::vector<double>& noise, Interval* mean, Interval* prediction);

// The warning asymptote-unidentified when moving E over its range moves the forecast by more than
// half of its prediction interval, or of `unwidened`, that interval before past forecasts widened
// or narrowed it: they know of laws that are wrong, not of E, and would hide an E that nobody
// knows.
std::optional<Warning> UnidentifiedAsymptote(const Forecast& forecast, const Interval& unwidened);

// A forecast with E given, held against `free`, the same with E fitted: it says what the runs
// themselves allow (`free.asymptote`), which the intervals then cover, and whether that holds the
// given E.
void VaryPinnedAsymptote(double pinned_E, const Forecast& free, Forecast* forecast);

}  // namespace fit
