#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace attend::detail {

/// N-grams of one order on both sides, and how many they share.
struct NgramMatches {
  int64_t hypothesis = 0;
  int64_t reference = 0;
  int64_t matched = 0;  // each n-gram as often as the side with fewer of it has it
};

/// Counts the n-grams of two sequences of characters, or of tokens by number.
NgramMatches count_matches(std::u32string_view hypothesis, std::u32string_view reference,
                           size_t order);

/// Numbers tokens, so that a sentence is a string and an n-gram of tokens a substring.
class TokenNumbers {
 public:
  std::u32string number(const std::vector<std::u32string_view>& tokens);

 private:
  std::unordered_map<std::u32string, char32_t> numbers_;
};

}  // namespace attend::detail
