#include "attend/translation/chrf.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <string_view>

#include "translation/metric_text.h"
#include "translation/ngram_matches.h"

namespace attend {
namespace {

void check_options(const ChrfOptions& options) {
  TORCH_CHECK_VALUE(options.char_order > 0, "ChrfOptions: expected char_order > 0, got ",
                    options.char_order);
  TORCH_CHECK_VALUE(options.word_order >= 0, "ChrfOptions: expected word_order >= 0, got ",
                    options.word_order);
  TORCH_CHECK_VALUE(options.beta > 0, "ChrfOptions: expected beta > 0, got ", options.beta);
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') ||
         (c >= U'{' && c <= U'~');
}

// Words, with a trailing punctuation mark split off, or else a leading one: `(hi)` gives `(hi` and
// `)`, as in chrF++.py.
std::vector<std::u32string_view> split_words(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (const auto word : detail::split_at_spaces(text)) {
    const auto last = word.size() - 1;
    if (last > 0 && is_ascii_punctuation(word[last])) {
      words.insert(words.end(), {word.substr(0, last), word.substr(last)});
    } else if (last > 0 && is_ascii_punctuation(word[0])) {
      words.insert(words.end(), {word.substr(0, 1), word.substr(1)});
    } else {
      words.push_back(word);
    }
  }
  return words;
}

std::u32string without_spaces(std::u32string_view text) {
  std::u32string characters;
  for (const auto part : detail::split_at_spaces(text)) characters.append(part);
  return characters;
}

// Adds a sentence's matches of the orders 1, 2, ... to sums[0], sums[1], ...
void add_matches(std::u32string_view hypothesis, std::u32string_view reference, int64_t orders,
                 detail::NgramMatches* sums) {
  for (int64_t n = 0; n < orders; ++n) {
    const auto matches = detail::count_matches(hypothesis, reference, static_cast<size_t>(n) + 1);
    // As in sacreBLEU: if the reference has no n-grams of an order, the hypothesis's are not
    // counted.
    if (matches.reference > 0) sums[n].hypothesis += matches.hypothesis;
    sums[n].reference += matches.reference;
    sums[n].matched += matches.matched;
  }
}

double f_score(const std::vector<detail::NgramMatches>& sums, int64_t beta) {
  double precision = 0.0, recall = 0.0;
  int64_t effective = 0;  // number of orders with n-grams on both sides
  for (const auto& order : sums) {
    if (order.hypothesis == 0 || order.reference == 0) continue;
    const auto matched = static_cast<double>(order.matched);
    precision += matched / static_cast<double>(order.hypothesis);
    recall += matched / static_cast<double>(order.reference);
    ++effective;
  }
  if (precision + recall == 0.0) return 0.0;
  precision /= static_cast<double>(effective);
  recall /= static_cast<double>(effective);
  const auto factor = static_cast<double>(beta) * static_cast<double>(beta);
  return 100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall);
}

}  // namespace

ChrfScore corpus_chrf(const std::vector<std::string>& hypotheses,
                      const std::vector<std::string>& references, const ChrfOptions& options) {
  constexpr auto kName = "corpus_chrf";
  check_options(options);
  detail::check_line_counts(kName, hypotheses.size(), references.size());
  const auto hypothesis_lines =
      detail::decode_lines(kName, "hypothesis", hypotheses, options.lowercase);
  const auto reference_lines =
      detail::decode_lines(kName, "reference", references, options.lowercase);

  std::vector<detail::NgramMatches> sums(
      static_cast<size_t>(options.char_order + options.word_order));
  for (size_t i = 0; i < hypothesis_lines.size(); ++i) {
    add_matches(without_spaces(hypothesis_lines[i]), without_spaces(reference_lines[i]),
                options.char_order, sums.data());
    if (options.word_order == 0) continue;
    detail::TokenNumbers numbers;
    const auto hypothesis = numbers.number(split_words(hypothesis_lines[i]));
    const auto reference = numbers.number(split_words(reference_lines[i]));
    add_matches(hypothesis, reference, options.word_order, sums.data() + options.char_order);
  }
  return {.score = f_score(sums, options.beta)};
}

std::string chrf_signature(const ChrfOptions& options) {
  check_options(options);
  return fmt::format("nrefs:1|case:{}|eff:yes|nc:{}|nw:{}|space:no|version:{}",
                     options.lowercase ? "lc" : "mixed", options.char_order, options.word_order,
                     detail::kMetricVersion);
}

}  // namespace attend
