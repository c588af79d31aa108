#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace attend::detail {

/// The numbers of n-grams of one order on both sides, and of those that match.
struct NgramMatches {
  int64_t hypothesis = 0;
  int64_t reference = 0;
  int64_t matched = 0;  // clipped: min of both counts for each n-gram
};

/// Counts n-grams of characters, or of tokens encoded by TokenNumbers.
NgramMatches count_matches(std::u32string_view hypothesis, std::u32string_view reference,
                           size_t order);

/// Maps each distinct token to a number, so that a sentence becomes a string of numbers.
class TokenNumbers {
 public:
  std::u32string number(const std::vector<std::u32string_view>& tokens);

 private:
  std::unordered_map<std::u32string, char32_t> numbers_;
};

}  // namespace attend::detail
