#include "attend/text/words.h"

#include <algorithm>

#include "attend/text/subword_tokenizer.h"
#include "text/words.h"

namespace attend {

std::vector<std::string_view> detail::word_views(std::string_view text) {
  std::vector<std::string_view> words;
  for (auto begin = text.find_first_not_of(kWhitespace); begin != std::string_view::npos;) {
    const auto end = std::min(text.find_first_of(kWhitespace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kWhitespace, end);
  }
  return words;
}

std::vector<std::string> split_words(std::string_view text) {
  const auto words = detail::word_views(text);
  return {words.begin(), words.end()};
}

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
      if (rest.starts_with(detail::kSpaceMark)) {
        begins_word = true;
        rest.remove_prefix(detail::kSpaceMark.size());
        continue;
      }
      if (begins_word) ++word;
      begins_word = false;
      for (const auto piece : waiting) words[piece] = word;
      waiting.clear();
      rest.remove_prefix(std::min(rest.find(detail::kSpaceMark), rest.size()));
    }
  }
  for (const auto piece : waiting) words[piece] = word;
  return words;
}

}  // namespace attend
