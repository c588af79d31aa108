#include "translation/bleu_tokenizers.h"

#include <c10/util/Exception.h>
#include <unicode/uchar.h>

#include <string_view>
#include <utility>

#include "translation/metric_text.h"

namespace attend::detail {
namespace {

// s/(left)(right)/<before>\1 \2<after>/g: inserts a space between two characters that match. The
// search continues after them, so matches do not overlap.
template <typename Left, typename Right>
std::u32string set_apart(std::u32string_view before, const Left& is_left, const Right& is_right,
                         std::u32string_view after, const std::u32string& text) {
  std::u32string result;
  result.reserve(2 * text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && is_left(text[i]) && is_right(text[i + 1])) {
      result.append(before).append({text[i], U' ', text[i + 1]}).append(after);
      ++i;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

// s/(fits)/ \1 /g
template <typename Fits>
std::u32string set_off(const Fits& fits, const std::u32string& text) {
  std::u32string result;
  result.reserve(2 * text.size());
  for (const auto character : text) {
    if (fits(character)) {
      result.append({U' ', character, U' '});
    } else {
      result.push_back(character);
    }
  }
  return result;
}

std::u32string replace_all(const std::u32string& text, std::u32string_view from,
                           std::u32string_view to) {
  std::u32string result;
  size_t start = 0;
  for (size_t found; (found = text.find(from, start)) != text.npos; start = found + from.size()) {
    result.append(text, start, found - start).append(to);
  }
  return result.append(text, start);
}

bool is_ascii_digit(char32_t c) { return c >= U'0' && c <= U'9'; }

// ASCII punctuation and space, except for apostrophe, comma, hyphen and full stop.
bool is_mteval_punctuation(char32_t c) {
  return (c >= U'{' && c <= U'~') || (c >= U'[' && c <= U'`') || (c >= U' ' && c <= U'&') ||
         (c >= U'(' && c <= U'+') || (c >= U':' && c <= U'@') || c == U'/';
}

std::u32string tokenize_13a(const std::u32string& line) {
  auto text = line;
  const std::pair<std::u32string_view, std::u32string_view> replacements[] = {
      {U"<skipped>", U""}, {U"-\n", U""},   {U"\n", U" "},   {U"&quot;", U"\""},
      {U"&amp;", U"&"},    {U"&lt;", U"<"}, {U"&gt;", U">"},
  };
  for (const auto& [from, to] : replacements) text = replace_all(text, from, to);

  const auto not_digit = [](char32_t c) { return !is_ascii_digit(c); };
  const auto point = [](char32_t c) { return c == U'.' || c == U','; };
  const auto dash = [](char32_t c) { return c == U'-'; };
  text = set_off(is_mteval_punctuation, U" " + text + U" ");
  text = set_apart(U"", not_digit, point, U" ", text);
  text = set_apart(U" ", point, not_digit, U"", text);
  return set_apart(U"", is_ascii_digit, dash, U" ", text);
}

std::u32string tokenize_intl(const std::u32string& line) {
  const auto in = [](char32_t c, uint32_t categories) {
    return (U_GET_GC_MASK(static_cast<UChar32>(c)) & categories) != 0;
  };
  const auto not_number = [&](char32_t c) { return !in(c, U_GC_N_MASK); };
  const auto punctuation = [&](char32_t c) { return in(c, U_GC_P_MASK); };
  const auto symbol = [&](char32_t c) { return in(c, U_GC_S_MASK); };
  auto text = set_apart(U"", not_number, punctuation, U" ", line);
  text = set_apart(U" ", punctuation, not_number, U"", text);
  return set_off(symbol, text);
}

std::u32string tokenize_char(const std::u32string& line) {
  std::u32string result;
  for (const auto character : line) result.append({character, U' '});
  return result;
}

// Removes line breaks and spaces at the end of a line.
std::u32string strip_end(std::u32string line) {
  while (!line.empty() && is_space(line.back())) line.pop_back();
  return line;
}

}  // namespace

std::u32string tokenize_for_bleu(BleuTokenizer tokenizer, const std::u32string& line) {
  const auto stripped = strip_end(line);
  switch (tokenizer) {
    case BleuTokenizer::kNone:
      return stripped;
    case BleuTokenizer::k13a:
      return tokenize_13a(stripped);
    case BleuTokenizer::kIntl:
      return tokenize_intl(stripped);
    case BleuTokenizer::kChar:
      return tokenize_char(stripped);
  }
  TORCH_CHECK_VALUE(false, "corpus_bleu: expected a BleuTokenizer, got ",
                    static_cast<int>(tokenizer));
}

}  // namespace attend::detail
