#include "attend/translation/translator.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/translation/tokenizer_fit.h"
#include "detail/check.h"
#include "detail/thread_team.h"

namespace attend {
namespace {

// A part of a text that fits the model: all of it, but for very long ones.
struct Part {
  size_t text;                   // index of the text
  std::vector<int64_t> ids;      // with the end token
  std::vector<int64_t> word_of;  // of each id, in the whole text; -1 for the end token
};

std::vector<int64_t> words_of(const std::vector<Subword>& subwords) {
  std::vector<int64_t> words;
  words.reserve(subwords.size());
  for (const auto& subword : subwords) words.push_back(subword.word);
  return words;
}

// Cuts the subwords of a text, whose last is the end token, into parts of at most `limit` ids.
void add_parts(std::vector<Part>& parts, size_t text, const std::vector<Subword>& subwords,
               int64_t limit) {
  const auto& end = subwords.back();
  const auto content = static_cast<int64_t>(subwords.size()) - 1;
  const auto step = std::max<int64_t>(limit - 1, 1);
  for (int64_t from = 0; from < content; from += step) {
    Part part{text, {}, {}};
    for (int64_t i = from; i < std::min(content, from + step); ++i) {
      part.ids.push_back(subwords[static_cast<size_t>(i)].id);
      part.word_of.push_back(subwords[static_cast<size_t>(i)].word);
    }
    part.ids.push_back(end.id);
    part.word_of.push_back(-1);
    parts.push_back(std::move(part));
  }
}

torch::Tensor source_batch(const std::vector<Part>& parts, const std::vector<size_t>& order,
                           size_t from, size_t to, int64_t pad_id) {
  size_t longest = 0;
  for (size_t i = from; i < to; ++i) longest = std::max(longest, parts[order[i]].ids.size());
  auto source = torch::full({static_cast<int64_t>(to - from), static_cast<int64_t>(longest)},
                            pad_id, torch::kLong);
  auto* out = source.mutable_data_ptr<int64_t>();
  for (size_t i = from; i < to; ++i) {
    std::ranges::copy(parts[order[i]].ids, out + (i - from) * longest);
  }
  return source;
}

// Rows of zeros below, columns of zeros to the right.
torch::Tensor grown_to(const torch::Tensor& matrix, int64_t rows, int64_t columns) {
  auto result = torch::zeros({rows, columns}, matrix.options());
  result.narrow(0, 0, matrix.size(0)).narrow(1, 0, matrix.size(1)).copy_(matrix);
  return result;
}

// Parts [from, to) in the order of their lengths.
struct TextBatch {
  size_t from, to;
};

// Fewer texts are not worth a thread of their own; and several batches for each, so that all end
// together.
constexpr size_t kFewestTexts = 16, kBatchesOfThread = 4;

// Batches of at most `texts` parts and about `tokens` tokens, padding counted.
std::vector<TextBatch> plan(const std::vector<Part>& parts, const std::vector<size_t>& order,
                            int64_t tokens, size_t texts) {
  std::vector<TextBatch> batches;
  for (size_t from = 0; from < order.size();) {
    // Sorted by length, so the last part of a batch is its longest.
    size_t to = from + 1;
    while (to < order.size() && to - from < texts &&
           parts[order[to]].ids.size() * (to + 1 - from) <= static_cast<size_t>(tokens)) {
      ++to;
    }
    batches.push_back({from, to});
    from = to;
  }
  return batches;
}

// A translation of a part, put behind those of the parts before it. It may be empty and count all
// the same.
void append(Translation& whole, const Translation& part) {
  whole.text += (whole.text.empty() || part.text.empty() ? "" : " ") + part.text;
  whole.log_probability += part.log_probability;
  whole.score += part.score;
  if (!whole.attention.defined()) {
    whole.attention = part.attention;
    whole.alignment = part.alignment;
  } else if (part.attention.defined()) {
    const auto columns = std::max(whole.attention.size(1), part.attention.size(1));
    whole.attention = torch::cat({grown_to(whole.attention, whole.attention.size(0), columns),
                                  grown_to(part.attention, part.attention.size(0), columns)});
    whole.alignment = hard_alignment(whole.attention);
  }
}

}  // namespace

Translator::Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                       const TranslatorOptions& options, torch::Device device)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      device_(device),
      threads_(std::make_shared<Threads>()) {
  TORCH_CHECK_VALUE(model_ != nullptr, "Translator: expected a model, got none");
  detail::check_positive("Translator", "beam_size", options.beam_size);
  TORCH_CHECK_VALUE(options.n_best >= 1 && options.n_best <= options.beam_size,
                    "Translator: expected 1 <= n_best <= beam_size ", options.beam_size, ", got ",
                    options.n_best);
  detail::check_positive("Translator", "batch_tokens", options.batch_tokens);
  TORCH_CHECK_VALUE(std::isfinite(options.length_penalty),
                    "Translator: expected a finite length_penalty, got ", options.length_penalty);
  TORCH_CHECK_VALUE(std::isfinite(options.max_length_factor) && options.max_length_factor >= 0,
                    "Translator: expected a finite max_length_factor >= 0, got ",
                    options.max_length_factor);
  const auto mismatch = tokenizer_mismatch(*model_, tokenizer_);
  TORCH_CHECK_VALUE(!mismatch, "Translator: ", mismatch.value_or(""));
  spare_tokens_ = spare_tokens(*model_, tokenizer_);
  model_->module().to(device_);
  model_->module().eval();
}

Translator Translator::load(const std::filesystem::path& folder, const TranslatorOptions& options,
                            torch::Device device) {
  auto model = load_translation_model(folder);
  auto tokenizer = load_tokenizer_of(*model, folder);
  return {std::move(model), std::move(tokenizer), options, device};
}

// The threads of a translator; whoever holds `busy` may use them.
struct Translator::Threads {
  std::mutex busy;
  std::optional<detail::ThreadTeam> team;

  // `team`, made anew where the number of threads is another one.
  detail::ThreadTeam& of_size(int64_t size) {
    if (!team || team->size() != size) team.emplace(size, /*threads_each=*/1);
    return *team;
  }
};

std::vector<std::vector<Translation>> Translator::translate(
    const std::vector<std::string>& texts) const {
  std::vector<Part> parts;
  for (size_t i = 0; i < texts.size(); ++i) {
    add_parts(parts, i, tokenizer_.source_subwords(texts[i]), model_->max_target_length());
  }
  std::vector<size_t> order(parts.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](size_t i) { return parts[i].ids.size(); });

  const BeamSearchOptions search{.beam_size = options_.beam_size,
                                 .n_best = options_.n_best,
                                 .length_penalty = options_.length_penalty,
                                 .max_length_factor = options_.max_length_factor,
                                 .attention = options_.attention,
                                 .suppressed_tokens = spare_tokens_};
  const auto pad_id = model_->special_tokens().pad_id;
  std::vector<std::vector<Translation>> of_part(parts.size());
  const auto translate_batch = [&](const TextBatch& batch) {
    const auto source = source_batch(parts, order, batch.from, batch.to, pad_id).to(device_);
    const auto found = beam_search(*model_, source, search);
    for (size_t i = batch.from; i < batch.to; ++i) {
      const auto& part = parts[order[i]];
      for (const auto& hypothesis : found[i - batch.from]) {
        Translation translation{tokenizer_.decode_target(hypothesis.tokens),
                                hypothesis.log_probability,
                                hypothesis.score,
                                {},
                                {}};
        if (options_.attention) {
          auto target_words = words_of(tokenizer_.decoded_subwords(hypothesis.tokens));
          target_words.resize(hypothesis.tokens.size());
          target_words.push_back(-1);  // the end token
          translation.attention = merge_subwords(
              hypothesis.attention.narrow(1, 0, static_cast<int64_t>(part.ids.size())),
              target_words, part.word_of);
          translation.alignment = hard_alignment(translation.attention);
        }
        of_part[order[i]].push_back(std::move(translation));
      }
    }
  };

  // Autocast is a state of the calling thread.
  const bool divides = device_.is_cpu() && !at::autocast::is_autocast_enabled(torch::kCPU);
  const auto threads = divides ? static_cast<size_t>(torch::get_num_threads()) : 1;
  std::unique_lock has_threads(threads_->busy, std::defer_lock);
  if (threads > 1 && parts.size() >= threads * kFewestTexts && has_threads.try_lock()) {
    const auto largest = std::max(kFewestTexts, parts.size() / (kBatchesOfThread * threads));
    const auto batches = plan(parts, order, options_.batch_tokens, largest);
    // Longest first, so that no thread is left alone with them.
    std::atomic<size_t> taken = 0;
    threads_->of_size(static_cast<int64_t>(threads)).run([&](int64_t) {
      for (size_t i = 0; (i = taken++) < batches.size();) {
        translate_batch(batches[batches.size() - 1 - i]);
      }
    });
  } else {
    for (const auto& batch : plan(parts, order, options_.batch_tokens, parts.size())) {
      translate_batch(batch);
    }
  }

  std::vector<std::vector<Translation>> results(
      texts.size(), std::vector<Translation>(static_cast<size_t>(options_.n_best)));
  for (size_t p = 0; p < parts.size(); ++p) {
    auto& whole = results[parts[p].text];
    for (size_t n = 0; n < whole.size() && !of_part[p].empty(); ++n) {
      append(whole[n], of_part[p][std::min(n, of_part[p].size() - 1)]);
    }
  }
  return results;
}

Translation Translator::translate(const std::string& text) const {
  return translate(std::vector<std::string>{text}).front().front();
}

std::vector<torch::Tensor> Translator::align(const std::vector<std::string>& sources,
                                             const std::vector<std::string>& targets) const {
  TORCH_CHECK_VALUE(sources.size() == targets.size(),
                    "Translator::align: expected as many targets as sources, got ", targets.size(),
                    " and ", sources.size());
  const torch::InferenceMode inference;
  const auto special = model_->special_tokens();
  const auto limit = static_cast<size_t>(model_->max_target_length());
  std::vector<torch::Tensor> results;
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto source = tokenizer_.source_subwords(sources[i]);
    const auto target = tokenizer_.target_subwords(targets[i]);
    TORCH_CHECK_VALUE(source.size() <= limit && target.size() <= limit,
                      "Translator::align: expected texts of at most ", limit, " tokens, got ",
                      source.size(), " and ", target.size());
    std::vector<int64_t> ids;
    for (const auto& subword : source) ids.push_back(subword.id);
    const auto state = model_->start(torch::tensor(ids, torch::kLong).unsqueeze(0).to(device_));
    std::vector<torch::Tensor> rows;
    int64_t previous = special.start_id;
    for (const auto& subword : target) {
      const auto step = model_->step(torch::tensor({previous}, torch::kLong).to(device_), *state,
                                     /*want_alignment=*/true);
      rows.push_back(step.alignment.to(torch::kCPU, torch::kFloat));
      previous = subword.id;
    }
    results.push_back(merge_subwords(torch::cat(rows), words_of(target), words_of(source)));
  }
  return results;
}

std::vector<std::string> split_words(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  std::vector<std::string> words;
  for (size_t at = text.find_first_not_of(kSpace); at != std::string_view::npos;) {
    const auto end = std::min(text.find_first_of(kSpace, at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = text.find_first_not_of(kSpace, end);
  }
  return words;
}

}  // namespace attend
