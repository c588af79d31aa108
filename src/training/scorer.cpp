#include "training/scorer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>

#include "attend/data/batches.h"
#include "attend/text/words.h"
#include "attend/translation/bleu.h"
#include "attend/translation/chrf.h"
#include "attend/translation/translator.h"
#include "translation/default_precision.h"

namespace attend::detail {
namespace {

constexpr std::array<std::string_view, 4> kOfTheLoss{"cross-entropy", "perplexity",
                                                     "word-cross-entropy", "word-perplexity"};
constexpr std::array<std::string_view, 3> kOfTranslations{"bleu", "chrf", "chrf++"};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

double score_of_translations(std::string_view metric, const std::vector<std::string>& hypotheses,
                             const std::vector<std::string>& references, BleuTokenizer tokenizer) {
  if (metric == "bleu") return corpus_bleu(hypotheses, references, {.tokenizer = tokenizer}).score;
  if (metric == "chrf") return corpus_chrf(hypotheses, references, {.word_order = 0}).score;
  if (metric == "chrf++") return corpus_chrf(hypotheses, references, {.word_order = 2}).score;
  TORCH_INTERNAL_ASSERT(false, "no score for the metric ", metric);
}

}  // namespace

bool is_metric(const std::string& name) {
  return is_one_of(kOfTheLoss, name) || is_one_of(kOfTranslations, name);
}

std::string metric_names() {
  return fmt::format("{}, {}", fmt::join(kOfTheLoss, ", "), fmt::join(kOfTranslations, ", "));
}

bool is_better(const std::string& metric, double score, double best) {
  return is_one_of(kOfTheLoss, metric) ? score < best : score > best;
}

Scorer::Scorer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
               ParallelText text, const TrainerOptions& options, torch::Device device)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      text_(std::move(text)),
      options_(options),
      device_(device) {
  for (size_t i = 0; i < text_.size(); ++i) {
    pairs_.push_back(
        {tokenizer_.encode_source(text_.source[i]), tokenizer_.encode_target(text_.target[i])});
    tokens_ += static_cast<int64_t>(pairs_.back().target.size());
    words_ += static_cast<int64_t>(split_words(text_.target[i]).size());
  }
}

bool Scorer::can_score() const { return text_.size() > 0 && !options_.valid_metrics.empty(); }

double Scorer::loss() {
  const torch::InferenceMode inference;
  const auto special = model_->special_tokens();
  torch::Tensor sum;  // on the device: reading each batch's would wait for it
  for (const auto& chosen : plan_batches_in_order(pairs_, options_.batch_tokens)) {
    const auto batch = make_batch(pairs_, chosen, special.start_id, special.pad_id);
    const auto loss = model_
                          ->loss_sum(batch.source.to(device_), batch.target_input.to(device_),
                                     batch.target.to(device_))
                          .to(torch::kDouble);
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum.defined() ? sum.item<double>() : 0.0;
}

std::vector<std::string> Scorer::translations() {
  // As `translate` does, so that what is scored is what it will give.
  const TranslatorOptions options{.beam_size = options_.valid_beam_size,
                                  .scores = false,
                                  .precision = detail::default_precision(*model_, device_)};
  const Translator translator(model_, tokenizer_, options, device_);
  std::vector<std::string> texts;
  for (auto& best : translator.translate(text_.source)) {
    texts.push_back(std::move(best.front().text));
  }
  return texts;
}

std::vector<std::pair<std::string, double>> Scorer::scores() {
  std::optional<double> nats;
  std::optional<std::vector<std::string>> hypotheses;
  std::vector<std::pair<std::string, double>> scores;
  for (const auto& metric : options_.valid_metrics) {
    double score = 0;
    if (is_one_of(kOfTheLoss, metric)) {
      if (!nats) nats = loss();
      const auto count = metric.starts_with("word-") ? words_ : tokens_;
      score = *nats / static_cast<double>(std::max<int64_t>(count, 1));
      if (metric.ends_with("perplexity")) score = std::exp(score);
    } else {
      if (!hypotheses) hypotheses = translations();
      score = score_of_translations(metric, *hypotheses, text_.target, options_.bleu_tokenizer);
    }
    scores.emplace_back(metric, score);
  }
  return scores;
}

}  // namespace attend::detail
