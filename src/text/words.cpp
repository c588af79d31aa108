#include "attend/text/words.h"

#include <algorithm>

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

}  // namespace attend
