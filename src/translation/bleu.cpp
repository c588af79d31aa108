#include "attend/translation/bleu.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "translation/bleu_tokenizers.h"
#include "translation/metric_text.h"
#include "translation/ngram_matches.h"

namespace attend {
namespace {

constexpr size_t kMaxOrder = std::tuple_size_v<decltype(BleuScore::precisions)>;

std::string_view name_of(BleuTokenizer tokenizer) {
  switch (tokenizer) {
    case BleuTokenizer::kNone:
      return "none";
    case BleuTokenizer::k13a:
      return "13a";
    case BleuTokenizer::kIntl:
      return "intl";
    case BleuTokenizer::kChar:
      return "char";
  }
  TORCH_CHECK_VALUE(false, "BleuOptions: expected a BleuTokenizer, got ",
                    static_cast<int>(tokenizer));
}

std::string_view name_of(BleuSmoothing smoothing) {
  switch (smoothing) {
    case BleuSmoothing::kNone:
      return "none";
    case BleuSmoothing::kFloor:
      return "floor";
    case BleuSmoothing::kAddK:
      return "add-k";
    case BleuSmoothing::kExp:
      return "exp";
  }
  TORCH_CHECK_VALUE(false, "BleuOptions: expected a BleuSmoothing, got ",
                    static_cast<int>(smoothing));
}

// The parameter of the smoothing, with its default; nullopt if the smoothing has none.
std::optional<double> checked_smoothing_value(const BleuOptions& options) {
  const auto name = name_of(options.smoothing);
  const bool floor = options.smoothing == BleuSmoothing::kFloor;
  if (!floor && options.smoothing != BleuSmoothing::kAddK) {
    TORCH_CHECK_VALUE(!options.smoothing_value,
                      "BleuOptions: expected no smoothing_value with smoothing ", name, ", got ",
                      *options.smoothing_value);
    return std::nullopt;
  }
  const double value = options.smoothing_value.value_or(floor ? 0.1 : 1.0);
  TORCH_CHECK_VALUE(value > 0.0 && std::isfinite(value),
                    "BleuOptions: expected a finite smoothing_value > 0 with smoothing ", name,
                    ", got ", value);
  return value;
}

// Corpus sums for each order of n-grams.
struct Counts {
  std::array<int64_t, kMaxOrder> matched{};
  std::array<int64_t, kMaxOrder> total{};
};

// The smoothed precision of each order in percent. Zero from the first order on that has no
// n-grams.
std::array<double, kMaxOrder> smoothed_precisions(const Counts& counts, BleuSmoothing smoothing,
                                                  double value) {
  std::array<double, kMaxOrder> precisions{};
  double share = 1.0;  // kExp's count of matches, halved for each order without one
  for (size_t n = 0; n < kMaxOrder; ++n) {
    auto matched = static_cast<double>(counts.matched[n]);
    auto total = static_cast<double>(counts.total[n]);
    if (smoothing == BleuSmoothing::kAddK && n > 0) {
      matched += value;
      total += value;
    }
    if (total == 0.0) break;
    if (matched == 0.0 && smoothing == BleuSmoothing::kExp) matched = share /= 2.0;
    if (matched == 0.0 && smoothing == BleuSmoothing::kFloor) matched = value;
    precisions[n] = 100.0 * matched / total;
  }
  return precisions;
}

}  // namespace

BleuScore corpus_bleu(const std::vector<std::string>& hypotheses,
                      const std::vector<std::string>& references, const BleuOptions& options) {
  constexpr auto kName = "corpus_bleu";
  const auto smoothing_value = checked_smoothing_value(options);
  detail::check_line_counts(kName, hypotheses.size(), references.size());
  const auto hypothesis_lines =
      detail::decode_lines(kName, "hypothesis", hypotheses, options.lowercase);
  const auto reference_lines =
      detail::decode_lines(kName, "reference", references, options.lowercase);

  BleuScore result;
  Counts counts;
  for (size_t i = 0; i < hypothesis_lines.size(); ++i) {
    detail::TokenNumbers numbers;
    const auto numbered = [&](const std::u32string& line) {
      const auto text = detail::tokenize_for_bleu(options.tokenizer, line);
      return numbers.number(detail::split_at_spaces(text));
    };
    const auto hypothesis = numbered(hypothesis_lines[i]);
    const auto reference = numbered(reference_lines[i]);
    result.sys_len += static_cast<int64_t>(hypothesis.size());
    result.ref_len += static_cast<int64_t>(reference.size());
    for (size_t n = 0; n < kMaxOrder; ++n) {
      const auto matches = detail::count_matches(hypothesis, reference, n + 1);
      counts.matched[n] += matches.matched;
      counts.total[n] += matches.hypothesis;
    }
  }

  if (result.ref_len > 0) {
    result.ratio = static_cast<double>(result.sys_len) / static_cast<double>(result.ref_len);
  }
  if (result.sys_len < result.ref_len) {
    const auto ratio = static_cast<double>(result.ref_len) / static_cast<double>(result.sys_len);
    result.brevity_penalty = std::exp(1.0 - ratio);  // exp(-inf) = 0 for no tokens
  }
  const bool any = std::any_of(counts.matched.begin(), counts.matched.end(),
                               [](int64_t matched) { return matched > 0; });
  if (!any) return result;  // without any match the score is 0, whatever the smoothing
  result.precisions = smoothed_precisions(counts, options.smoothing, smoothing_value.value_or(0.0));
  double log_sum = 0.0;
  for (const auto precision : result.precisions) log_sum += std::log(precision);
  result.score = result.brevity_penalty * std::exp(log_sum / kMaxOrder);
  return result;
}

std::string bleu_signature(const BleuOptions& options) {
  const auto value = checked_smoothing_value(options);
  return fmt::format("nrefs:1|case:{}|eff:no|tok:{}|smooth:{}{}|version:{}",
                     options.lowercase ? "lc" : "mixed", name_of(options.tokenizer),
                     name_of(options.smoothing), value ? fmt::format("[{:.2f}]", *value) : "",
                     detail::kMetricVersion);
}

}  // namespace attend
