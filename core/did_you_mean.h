// Suggestion for a misspelt word.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace core {

// The candidate nearest to `word` in edit distance (transpositions count one), formatted as
// "; did you mean 'budgets'?"; empty when none is within a third of the word's length plus one.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace core
