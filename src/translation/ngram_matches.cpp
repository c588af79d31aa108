#include "translation/ngram_matches.h"

#include <algorithm>

namespace attend::detail {
namespace {

int64_t ngram_count(std::u32string_view sequence, size_t order) {
  return sequence.size() < order ? 0 : static_cast<int64_t>(sequence.size() - order + 1);
}

}  // namespace

NgramMatches count_matches(std::u32string_view hypothesis, std::u32string_view reference,
                           size_t order) {
  NgramMatches matches{.hypothesis = ngram_count(hypothesis, order),
                       .reference = ngram_count(reference, order),
                       .matched = 0};
  std::unordered_map<std::u32string_view, int64_t> unmatched;
  for (int64_t i = 0; i < matches.reference; ++i) ++unmatched[reference.substr(i, order)];
  for (int64_t i = 0; i < matches.hypothesis; ++i) {
    const auto found = unmatched.find(hypothesis.substr(i, order));
    if (found == unmatched.end() || found->second == 0) continue;
    --found->second;
    ++matches.matched;
  }
  return matches;
}

std::u32string TokenNumbers::number(const std::vector<std::u32string_view>& tokens) {
  std::u32string numbers;
  for (const auto token : tokens) {
    const auto next = static_cast<char32_t>(numbers_.size());
    numbers.push_back(numbers_.try_emplace(std::u32string(token), next).first->second);
  }
  return numbers;
}

}  // namespace attend::detail
