#pragma once

#include <cstdint>
#include <string>

#include "attend/data/parallel_text.h"
#include "attend/text/subword_training.h"

namespace attend::testing_support {

/// A language of digits and its translation into letters, in reverse order.
inline ParallelText reversed_digits(int count, uint64_t seed) {
  ParallelText text;
  uint64_t random = seed;
  for (int i = 0; i < count; ++i) {
    std::string source, target;
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto length = 1 + (random >> 40U) % 4;
    for (uint64_t j = 0; j < length; ++j) {
      random = random * 6364136223846793005ULL + 1442695040888963407ULL;
      const auto digit = static_cast<char>((random >> 40U) % 6);
      source += std::string(j == 0 ? "" : " ") + static_cast<char>('1' + digit);
      target = static_cast<char>('a' + digit) + std::string(j == 0 ? "" : " ") + target;
    }
    text.source.push_back(source);
    text.target.push_back(target);
  }
  return text;
}

inline SubwordTokenizer tokenizer_for(const ParallelText& text,
                                      SubwordModel model = SubwordModel::kUnigram) {
  auto sentences = text.source;
  sentences.insert(sentences.end(), text.target.begin(), text.target.end());
  return train_subwords(sentences, {.model = model, .vocab_size = 40});
}

}  // namespace attend::testing_support
