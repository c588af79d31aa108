#include "attend/translation/translator.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <exception>
#include <filesystem>
#include <future>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "attend/checkpoint/generation_config.h"
#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/continuous_beam_search.h"
#include "attend/file_error.h"
#include "attend/inference/graphed_decoder.h"
#include "attend/translation/tokenizer_fit.h"
#include "detail/check.h"
#include "detail/thread_team.h"
#include "translation/default_precision.h"
#include "translation/tokenizer_check.h"
#include "translation/translation_stream.h"

namespace attend {
namespace {

// A part of a text, short enough for the model. Most texts have one part.
struct Part {
  size_t text;                   // index of the text
  std::vector<int64_t> ids;      // with the end token
  std::vector<int64_t> word_of;  // word index in the whole text of each id; -1 for the end token
  std::vector<int64_t> prefix = {};  // of the translation
};

std::vector<int64_t> words_of(const std::vector<Subword>& subwords) {
  std::vector<int64_t> words;
  words.reserve(subwords.size());
  for (const auto& subword : subwords) words.push_back(subword.word);
  return words;
}

// Splits the subwords of a text (end token last) into parts of at most `limit` ids.
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

// Gives each prefix to its text's first part.
void add_prefixes(std::vector<Part>& parts, const std::vector<std::string>& prefixes, size_t texts,
                  const SubwordTokenizer& tokenizer, int64_t limit) {
  if (prefixes.empty()) return;
  TORCH_CHECK_VALUE(prefixes.size() == texts,
                    "Translator::translate: expected as many prefixes as texts, got ",
                    prefixes.size(), " and ", texts);
  for (size_t p = 0; p < parts.size(); ++p) {
    if (p > 0 && parts[p - 1].text == parts[p].text) continue;
    auto& prefix = parts[p].prefix;
    prefix = tokenizer.encode_target(prefixes[parts[p].text]);
    prefix.pop_back();  // the end token
    TORCH_CHECK_VALUE(static_cast<int64_t>(prefix.size()) < limit,
                      "Translator::translate: expected prefixes of less than ", limit,
                      " tokens, got ", prefix.size());
  }
}

// Pads a matrix with zeros to [rows, columns].
torch::Tensor grown_to(const torch::Tensor& matrix, int64_t rows, int64_t columns) {
  auto result = torch::zeros({rows, columns}, matrix.options());
  result.narrow(0, 0, matrix.size(0)).narrow(1, 0, matrix.size(1)).copy_(matrix);
  return result;
}

// Each thread gets at least kFewestTexts texts, and several batches, to balance the load.
constexpr size_t kFewestTexts = 16, kBatchesOfThread = 4;
// A prepared model is fastest on few sentences, so that what belongs to them stays in the cache, but on more
// where its weights do not stay there.
constexpr size_t kMostOfSmall = 32, kMostOfLarge = 64, kBytesOfSmall = 32U << 20U;
// The part of a batch that is replaced at a time: the encoder is slow on few tokens.
constexpr size_t kGroupsOfBatch = 2;

// The parts that no thread has taken. Longest first, so that all threads finish at about the same time.
class PartQueue {
 public:
  explicit PartQueue(const std::vector<Part>& parts) : parts_(parts), order_(parts.size()) {
    std::iota(order_.begin(), order_.end(), 0);
    std::ranges::stable_sort(order_, {}, [&](size_t i) { return parts[i].ids.size(); });
  }

  // Up to `most` parts to decode beside parts of up to `longest` tokens, `count` of them, so that
  // all have at most `tokens` tokens, padding counted. At least one where there are none.
  std::vector<size_t> take(size_t longest, size_t count, size_t most, size_t tokens) {
    const std::scoped_lock lock(mutex_);
    std::vector<size_t> taken;
    while (!order_.empty() && count + taken.size() < most) {
      longest = std::max(longest, parts_[order_.back()].ids.size());
      const auto all = count + taken.size() + 1;
      if (all > 1 && longest * all > tokens) break;
      taken.push_back(order_.back());
      order_.pop_back();
    }
    return taken;
  }

 private:
  const std::vector<Part>& parts_;
  std::vector<size_t> order_;  // longest last
  std::mutex mutex_;
};

// Appends the translation of a text's next part. A part with an empty translation still counts in
// the scores.
void append(Translation& whole, const Translation& part) {
  whole.text += (whole.text.empty() || part.text.empty() ? "" : " ") + part.text;
  whole.log_probability += part.log_probability;
  whole.score += part.score;
  whole.source_tokens += part.source_tokens;
  whole.target_tokens += part.target_tokens;
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

// Converts a part's hypotheses to translations.
std::vector<Translation> spelled(const Part& part, const std::vector<Hypothesis>& found,
                                 const SubwordTokenizer& tokenizer, bool with_attention) {
  std::vector<Translation> translations;
  const auto source_tokens = static_cast<int64_t>(part.ids.size());
  for (const auto& hypothesis : found) {
    const auto written =
        static_cast<int64_t>(hypothesis.tokens.size()) + (hypothesis.ended ? 1 : 0);
    auto& translation =
        translations.emplace_back(Translation{.text = tokenizer.decode_target(hypothesis.tokens),
                                              .log_probability = hypothesis.log_probability,
                                              .score = hypothesis.score,
                                              .source_tokens = source_tokens,
                                              .target_tokens = written,
                                              .attention = {},
                                              .alignment = {}});
    if (!with_attention) continue;
    auto target_words = words_of(tokenizer.decoded_subwords(hypothesis.tokens));
    if (hypothesis.ended) target_words.push_back(-1);  // the end token
    translation.attention = merge_subwords(hypothesis.attention.narrow(1, 0, source_tokens),
                                           target_words, part.word_of);
    translation.alignment = hard_alignment(translation.attention);
  }
  return translations;
}

// Joins the translations of each text's parts. A text without parts has an empty translation.
std::vector<std::vector<Translation>> joined(const std::vector<Part>& parts,
                                             const std::vector<std::vector<Translation>>& of_part,
                                             size_t texts, int64_t n_best) {
  std::vector<std::vector<Translation>> results(
      texts, std::vector<Translation>(static_cast<size_t>(n_best)));
  for (size_t p = 0; p < parts.size(); ++p) {
    auto& whole = results[parts[p].text];
    for (size_t n = 0; n < whole.size() && !of_part[p].empty(); ++n) {
      append(whole[n], of_part[p][std::min(n, of_part[p].size() - 1)]);
    }
  }
  return results;
}

constexpr int64_t kBeamSize = 5;  // default if neither the caller nor the folder sets it

// The search options that save_model writes into generation_config.json.
BeamSearchOptions search_of_saved(const IncrementalModel& model) {
  return {.beam_size = kBeamSize, .max_length = model.max_target_length(), .forced_eos = true};
}

// `otherwise`, with the options that the caller has set.
BeamSearchOptions search_options(const TranslatorOptions& options,
                                 const BeamSearchOptions& otherwise) {
  auto search = otherwise;
  search.beam_size = options.beam_size.value_or(std::max(otherwise.beam_size, options.n_best));
  search.n_best = options.n_best;
  search.length_penalty = options.length_penalty.value_or(otherwise.length_penalty);
  search.early_stopping = options.early_stopping.value_or(otherwise.early_stopping);
  auto& rules = search.rules;
  rules.repetition_penalty = options.repetition_penalty.value_or(rules.repetition_penalty);
  rules.no_repeat_ngram_size = options.no_repeat_ngram_size.value_or(rules.no_repeat_ngram_size);
  if (options.min_length) {
    rules.min_length = *options.min_length;
    rules.min_new_tokens.reset();
  }
  search.max_length_factor = options.max_length_factor;
  search.attention = options.attention;
  search.scores = options.scores;
  return search;
}

void check_n_best(int64_t n_best, int64_t beam_size) {
  TORCH_CHECK_VALUE(n_best >= 1 && n_best <= beam_size,
                    "Translator: expected 1 <= n_best <= beam_size ", beam_size, ", got ", n_best);
}

// The model on the device, in evaluation mode; prepared, if there is a precision.
std::shared_ptr<IncrementalModel> ready(std::shared_ptr<TranslationModel> model,
                                        const SubwordTokenizer& tokenizer,
                                        const TranslatorOptions& options, torch::Device device) {
  TORCH_CHECK_VALUE(model != nullptr, "Translator: expected a model, got none");
  TORCH_CHECK_VALUE(!options.precision || device.is_cpu(),
                    "Translator: expected the device cpu with a precision, got ", device.str());
  TORCH_CHECK_VALUE(options.precision || !options.shortlist,
                    "Translator: expected a precision with a shortlist, got none");
  TORCH_CHECK_VALUE(!options.precision || !options.graphed,
                    "Translator: expected no precision with graphed, got one");
  model->module().to(device);
  model->module().eval();
  if (options.graphed) return std::make_shared<GraphedDecoder>(std::move(model));
  if (!options.precision) return model;
  InferenceOptions inference{.precision = *options.precision, .shortlist = {}};
  if (const auto& shortlist = options.shortlist) {
    shortlist->validate();
    TORCH_CHECK_VALUE(!shortlist->file.empty(),
                      "Translator: expected a file of a shortlist, got none");
    inference.shortlist =
        target_shortlist(load_lexicon(shortlist->file, tokenizer), tokenizer, *shortlist);
  }
  return prepare_for_inference(*model, inference);
}

}  // namespace

Translator::Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                       const TranslatorOptions& options, torch::Device device)
    : Translator(std::move(model), std::move(tokenizer), options, device, std::nullopt) {}

Translator::Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                       const TranslatorOptions& options, torch::Device device,
                       const std::optional<BeamSearchOptions>& of_folder)
    : model_(ready(std::move(model), tokenizer, options, device)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      search_(search_options(options, of_folder ? *of_folder : search_of_saved(*model_))),
      device_(device),
      threads_(std::make_shared<Threads>()) {
  detail::check_positive("Translator", "beam_size", search_.beam_size);
  check_n_best(options.n_best, search_.beam_size);
  detail::check_positive("Translator", "batch_tokens", options.batch_tokens);
  search_.validate();
  const auto mismatch = tokenizer_mismatch(*model_, tokenizer_);
  TORCH_CHECK_VALUE(!mismatch, "Translator: ", mismatch.value_or(""));
  const auto spare = spare_tokens(*model_, tokenizer_);
  auto& never = search_.rules.suppress_tokens;
  never.insert(never.end(), spare.begin(), spare.end());
  // Probabilities are then over the ids that a text may have.
  search_.renormalize_logits |= !spare.empty();
}

Translator Translator::load(const std::filesystem::path& folder, const TranslatorOptions& options,
                            torch::Device device) {
  // Meanwhile, since it takes as long. Where the model cannot be loaded that is what is said.
  auto reading = std::async(std::launch::async, SubwordTokenizer::load, folder);
  auto model = load_translation_model(folder);
  model->module().to(device);
  auto own = options;
  if (!own.precision && !own.graphed) own.precision = detail::default_precision(*model, device);
  TORCH_CHECK_VALUE(own.precision || !own.shortlist || own.graphed || !device.is_cpu(),
                    "Translator, with a shortlist: ", inference_obstacle(*model));
  if (own.shortlist && own.shortlist->file.empty()) {
    own.shortlist->file = folder / kLexiconFile;
    if (!std::filesystem::exists(own.shortlist->file)) {
      throw FileError(own.shortlist->file,
                      "expected the lexicon that `attend-seq2seq train --shortlist` learns");
    }
  }
  auto tokenizer = reading.get();
  detail::check_tokenizer(*model, tokenizer, folder);
  const auto search =
      load_search_options(folder, model->special_tokens(), {.beam_size = kBeamSize});
  return {std::move(model), std::move(tokenizer), own, device, search};
}

// A translator's threads. One call at a time uses them, the one that holds `busy`.
struct Translator::Threads {
  std::mutex busy;
  std::optional<detail::ThreadTeam> team;

  // The team, recreated if the number of threads has changed.
  detail::ThreadTeam& of_size(int64_t size) {
    if (!team || team->size() != size) team.emplace(size, /*threads_each=*/1);
    return *team;
  }
};

std::vector<std::vector<Translation>> Translator::translate(
    const std::vector<std::string>& texts, const std::vector<std::string>& prefixes) const {
  return translate(texts, prefixes, options_.n_best, options_.attention);
}

std::vector<std::vector<Translation>> Translator::translate(const std::vector<std::string>& texts,
                                                            int64_t n_best, bool attention) const {
  return translate(texts, {}, n_best, attention);
}

std::vector<std::vector<Translation>> Translator::translate(
    const std::vector<std::string>& texts, const std::vector<std::string>& prefixes, int64_t n_best,
    bool attention) const {
  check_n_best(n_best, search_.beam_size);
  auto options = search_;
  options.n_best = n_best;
  options.attention = attention;
  std::vector<Part> parts;
  for (size_t i = 0; i < texts.size(); ++i) {
    add_parts(parts, i, tokenizer_.source_subwords(texts[i]), model_->max_target_length());
  }
  add_prefixes(parts, prefixes, texts.size(), tokenizer_, model_->max_target_length());
  PartQueue queue(parts);
  std::vector<std::vector<Translation>> of_part(parts.size());
  // Translates parts of the queue, up to `most` at a time.
  const auto translate_parts = [&](size_t most) {
    ContinuousBeamSearch search(*model_, options, static_cast<int64_t>(most), device_);
    std::multiset<size_t> lengths;  // of the parts in the search
    while (true) {
      const auto tokens = static_cast<size_t>(options_.batch_tokens);
      const auto longest = lengths.empty() ? 0 : *lengths.rbegin();
      const auto capacity = std::min(most, tokens / std::max<size_t>(longest, 1));
      if (lengths.size() + std::max<size_t>(capacity / kGroupsOfBatch, 1) <= capacity) {
        for (const auto i : queue.take(longest, lengths.size(), most, tokens)) {
          search.admit(i, parts[i].ids, {.prefix = parts[i].prefix});
          lengths.insert(parts[i].ids.size());
        }
      }
      if (lengths.empty()) return;
      for (const auto& [i, hypotheses, error] : search.step()) {
        if (error) std::rethrow_exception(error);
        lengths.erase(lengths.find(parts[i].ids.size()));
        of_part[i] = spelled(parts[i], hypotheses, tokenizer_, attention);
      }
    }
  };

  // The autocast state is thread-local, so the threads of the team would not have it.
  const bool divides = device_.is_cpu() && !at::autocast::is_autocast_enabled(torch::kCPU);
  const auto threads = divides ? static_cast<size_t>(torch::get_num_threads()) : 1;
  std::unique_lock has_threads(threads_->busy, std::defer_lock);
  if (threads > 1 && parts.size() >= threads * kFewestTexts && has_threads.try_lock()) {
    auto most = std::max(kFewestTexts, parts.size() / (kBatchesOfThread * threads));
    if (const auto* prepared = dynamic_cast<const PreparedModel*>(model_.get())) {
      most = std::min(most, prepared->weight_bytes() > kBytesOfSmall ? kMostOfLarge : kMostOfSmall);
    }
    threads_->of_size(static_cast<int64_t>(threads)).run([&](int64_t) { translate_parts(most); });
  } else if (!parts.empty()) {
    translate_parts(parts.size());
  }

  return joined(parts, of_part, texts.size(), n_best);
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
    std::vector<int64_t> read{special.start_id};
    for (const auto& subword : target) read.push_back(subword.id);
    const auto fed = torch::tensor(read, torch::kLong).to(device_);
    std::vector<torch::Tensor> rows;
    for (size_t t = 0; t < target.size(); ++t) {
      const auto token = fed.narrow(0, static_cast<int64_t>(t), 1);
      rows.push_back(model_->step(token, *state, /*want_alignment=*/true).alignment);
    }
    results.push_back(merge_subwords(torch::cat(rows), words_of(target), words_of(source)));
  }
  return results;
}

namespace detail {

struct TranslationStream::State {
  struct Text {
    int64_t n_best;
    bool attention;
    std::vector<Part> parts;
    std::vector<std::vector<Translation>> of_part;
    size_t missing;  // parts without a translation
  };
  // A part's place.
  struct Place {
    size_t text, part;
  };

  State(const Translator& used, IncrementalModel& model, const BeamSearchOptions& options,
        torch::Device device, int64_t max_parts)
      : translator(used), search(model, options, max_parts, device) {}

  void drop(size_t id);
  void add(const Place& place, const std::vector<Hypothesis>& hypotheses);
  void fail(size_t id, std::exception_ptr error);

  const Translator& translator;
  ContinuousBeamSearch search;
  std::unordered_map<size_t, Text> texts;
  std::deque<Place> waiting;
  std::unordered_map<size_t, Place> decoding;  // by the search's ids
  size_t next_id = 0;
  std::vector<Ended> ended;  // what the next step returns
};

TranslationStream::TranslationStream(const Translator& translator, int64_t max_parts)
    : state_(std::make_unique<State>(translator, *translator.model_, translator.search_,
                                     translator.device_, max_parts)) {}

TranslationStream::~TranslationStream() = default;

void TranslationStream::admit(size_t id, const std::string& text, int64_t n_best, bool attention) {
  const auto& translator = state_->translator;
  try {
    State::Text added{n_best, attention, {}, {}, 0};
    add_parts(added.parts, 0, translator.tokenizer_.source_subwords(text),
              translator.model_->max_target_length());
    added.missing = added.parts.size();
    added.of_part.resize(added.missing);
    if (added.missing == 0) {
      state_->ended.push_back({.id = id, .translations = joined({}, {}, 1, n_best).front()});
      return;
    }
    for (size_t part = 0; part < added.missing; ++part) state_->waiting.push_back({id, part});
    state_->texts.emplace(id, std::move(added));
  } catch (...) {
    state_->ended.push_back({.id = id, .error = std::current_exception()});
  }
}

void TranslationStream::State::drop(size_t id) {
  texts.erase(id);
  std::erase_if(waiting, [&](const Place& place) { return place.text == id; });
  std::erase_if(decoding, [&](const auto& one) {
    if (one.second.text != id) return false;
    search.cancel(one.first);
    return true;
  });
}

void TranslationStream::cancel(size_t id) { state_->drop(id); }

size_t TranslationStream::size() const { return state_->texts.size() + state_->ended.size(); }

// Adds the translation of a part.
void TranslationStream::State::add(const Place& place, const std::vector<Hypothesis>& hypotheses) {
  auto& text = texts.at(place.text);
  text.of_part[place.part] =
      spelled(text.parts[place.part], hypotheses, translator.tokenizer_, text.attention);
  if (--text.missing > 0) return;
  ended.push_back(
      {.id = place.text, .translations = joined(text.parts, text.of_part, 1, text.n_best).front()});
  texts.erase(place.text);
}

void TranslationStream::State::fail(size_t id, std::exception_ptr error) {
  drop(id);
  ended.push_back({.id = id, .error = std::move(error)});
}

std::vector<TranslationStream::Ended> TranslationStream::step() {
  auto& s = *state_;
  while (!s.waiting.empty() && s.search.has_room()) {
    const auto place = s.waiting.front();
    s.waiting.pop_front();
    const auto& text = s.texts.at(place.text);
    try {
      s.search.admit(s.next_id, text.parts[place.part].ids,
                     {.n_best = text.n_best, .attention = text.attention, .prefix = {}});
      s.decoding.emplace(s.next_id++, place);
    } catch (...) {
      s.fail(place.text, std::current_exception());
    }
  }
  for (const auto& [id, hypotheses, error] : s.search.step()) {
    const auto found = s.decoding.find(id);
    if (found == s.decoding.end()) continue;  // of a text that has failed
    const auto place = found->second;
    s.decoding.erase(found);
    try {
      if (error) std::rethrow_exception(error);
      s.add(place, hypotheses);
    } catch (...) {
      s.fail(place.text, std::current_exception());
    }
  }
  return std::exchange(s.ended, {});
}

}  // namespace detail
}  // namespace attend
