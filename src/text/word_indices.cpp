#include "text/word_indices.h"

#include <algorithm>
#include <string_view>

#include "text/words.h"

namespace attend::detail {

std::vector<int64_t> word_indices(const std::vector<std::string>& pieces,
                                  const SpecialTokens& special) {
  std::vector<int64_t> words(pieces.size(), -1);
  std::vector<size_t> waiting;  // pieces of spaces only, which belong to the next word
  int64_t word = -1;
  bool begins_word = true;
  for (size_t i = 0; i < pieces.size(); ++i) {
    std::string_view rest = pieces[i];
    if (rest == special.pad || rest == special.eos || rest == special.unk) continue;
    waiting.push_back(i);
    while (!rest.empty()) {
      if (rest.starts_with(kSpaceMark)) {
        begins_word = true;
        rest.remove_prefix(kSpaceMark.size());
        continue;
      }
      if (begins_word) ++word;
      begins_word = false;
      for (const auto piece : waiting) words[piece] = word;
      waiting.clear();
      rest.remove_prefix(std::min(rest.find(kSpaceMark), rest.size()));
    }
  }
  for (const auto piece : waiting) words[piece] = word;
  return words;
}

}  // namespace attend::detail
