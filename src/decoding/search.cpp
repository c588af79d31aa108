#include "decoding/search.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <span>
#include <unordered_map>
#include <utility>

#include "detail/check.h"

namespace attend::detail {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// The number of tokens of each source without padding; not counted if no limit depends on it.
std::vector<double> source_lengths(const torch::Tensor& source, int64_t pad_id,
                                   double max_length_factor) {
  const auto batch = source.size(0);
  std::vector<double> lengths(static_cast<size_t>(batch), static_cast<double>(source.size(1)));
  if (pad_id < 0 || max_length_factor == 0.0) return lengths;
  const auto counts = source.ne(pad_id).sum(1).to(torch::kCPU);
  const auto* data = counts.const_data_ptr<int64_t>();
  std::copy(data, data + batch, lengths.begin());
  return lengths;
}

}  // namespace

std::vector<int64_t> SentenceSearch::tokens_to(int node) const {
  std::vector<int64_t> tokens;
  for (int at = node; at != kNoParent; at = nodes[static_cast<size_t>(at)].parent) {
    tokens.push_back(nodes[static_cast<size_t>(at)].token);
  }
  std::ranges::reverse(tokens);
  return tokens;
}

Search::Search(IncrementalModel& model, BeamSearchOptions options)
    : model_(model),
      options_(std::move(options)),
      special_(model.special_tokens()),
      beam_(static_cast<size_t>(options_.beam_size)),
      has_scores_(options_.scores || beam_ > 1 || options_.on_step != nullptr),
      rules_(options_.rules, special_),
      vocab_(model.vocabulary_sizes().target) {
  TORCH_CHECK_VALUE(!options_.forced_eos || !has(options_.rules.suppress_tokens, special_.eos_id),
                    kBeamSearch, ": expected suppress_tokens without the forced end token, got it");
}

bool Search::can_start() const {
  const auto* state = state_ != nullptr   ? state_.get()
                      : !started_.empty() ? started_.front().state.get()
                                          : nullptr;
  return live_.empty() || state->can_admit();
}

// Of a hypothesis of `length` tokens, the prefix included.
double Search::score(const SentenceSearch& sentence, double log_probability, int64_t length) const {
  const auto own = length - static_cast<int64_t>(sentence.request.prefix.size());
  return log_probability / std::pow(static_cast<double>(own), options_.length_penalty);
}

// The tokens that the model and the options allow behind a prefix, whatever the source's length.
int64_t Search::room(const DecoderState& state, int64_t source_length,
                     int64_t prefix_length) const {
  auto room = model_.max_target_length() - state.position();
  TORCH_CHECK_VALUE(room >= 1, kBeamSearch, ": expected a source that leaves room for tokens, got ",
                    source_length, " tokens of at most ", model_.max_target_length());
  TORCH_CHECK_VALUE(prefix_length < room, kBeamSearch,
                    ": expected a prefix that leaves room for tokens, got ", prefix_length,
                    " tokens of at most ", room);
  room -= prefix_length;
  if (options_.max_length) {
    const auto fed_first = state.position() + 1 + prefix_length;
    TORCH_CHECK_VALUE(*options_.max_length > fed_first, kBeamSearch,
                      ": expected max_length above the ", fed_first,
                      " tokens that are fed first, got ", *options_.max_length);
    room = std::min(room, *options_.max_length - fed_first);
  }
  return std::min(room, options_.max_new_tokens.value_or(room));
}

int64_t Search::limit(int64_t room, double source_length) const {
  // Compared as doubles, since the product may exceed int64. The factor may be infinite, and
  // infinity times 0 tokens would be NaN.
  const auto allowed = (source_length > 0 ? options_.max_length_factor * source_length : 0.0) +
                       static_cast<double>(options_.max_length_extra);
  return allowed < static_cast<double>(room) ? static_cast<int64_t>(allowed) : room;
}

void Search::start(const torch::Tensor& source, const AttentionMask& mask,
                   const std::vector<SearchRequest>& requests) {
  Started started{model_.start(source, mask), {}};
  started.tokens = started.state->first_tokens();
  const bool are_continued = started.tokens.defined();
  if (!are_continued) {
    started.tokens =
        torch::full({source.size(0)}, special_.start_id, source.options().dtype(torch::kLong));
  }
  const auto lengths = source_lengths(source, special_.pad_id, options_.max_length_factor);
  std::vector<std::vector<int64_t>> fed(requests.size());
  if (rules_.looks_at_tokens() || options_.rules.forced_bos_token_id) {
    fed = fed_first(kBeamSearch, *started.state, special_, source, mask);
  }
  std::vector<SentenceSearch> sentences;
  for (size_t b = 0; b < requests.size(); ++b) {
    const auto& prefix = requests[b].prefix;
    TORCH_CHECK_VALUE(!has(prefix, special_.eos_id), kBeamSearch,
                      ": expected prefixes without the end token, got it");
    const auto given = static_cast<int64_t>(prefix.size());
    const auto most = room(*started.state, source.size(1), given);
    sentences.push_back({.request = requests[b],
                         .fed_first = std::move(fed[b]),
                         .limit = given + limit(most, lengths[b]),
                         .keys = requests[b].source_length,
                         .keys_grow = are_continued});
  }
  started_.push_back(std::move(started));
  std::ranges::move(sentences, std::back_inserter(live_));
}

// What the rules look at. Rows whose next token is given, or that are impossible, are left out.
std::vector<RowTokens> Search::tokens_of_rows() const {
  std::vector<RowTokens> rows;
  int64_t row = 0;
  for (const auto& sentence : live_) {
    const auto prefix = static_cast<int64_t>(sentence.request.prefix.size());
    for (const auto& one : sentence.beam) {
      const auto at = row++;
      if (sentence.step < prefix || one.log_probability == kImpossible) continue;
      auto tokens = sentence.fed_first;
      std::ranges::copy(sentence.tokens_to(one.node), std::back_inserter(tokens));
      rows.push_back({.row = at,
                      .tokens = std::move(tokens),
                      .given = static_cast<int64_t>(sentence.fed_first.size()) + prefix});
    }
  }
  return rows;
}

// The best continuations of every row, where rules change some.
BestTokens Search::best_by_rules(const StepOutput& output) const {
  // Even if nothing changes, so that a row's bits do not depend on what changes in others.
  const auto changes = rules_.changes(tokens_of_rows(), vocab_);
  // As in `generate`, penalties are of logits in greedy search and of log-probabilities with a beam.
  auto scores = logits_of_all(output, vocab_).to(torch::kFloat).contiguous();
  if (beam_ > 1) scores = torch::log_softmax(scores, 1);
  rules_.penalise(scores, changes);
  if (beam_ == 1 && has_scores_) scores = torch::log_softmax(scores, 1);
  ban(scores, changes);
  auto request = request_;
  if (request.normaliser == Normaliser::kAll) request.normaliser = Normaliser::kNone;
  return best_tokens({scores, {}}, request);
}

// The best 2K continuations of every row, among which are the best 2K of each sentence. Greedy search ends
// where the best one is the end token, so that without scores it needs no other.
void Search::set_request(torch::Device device) {
  if (request_.excluded.defined()) return;
  request_.count = options_.beam_size < vocab_ / 2 ? 2 * options_.beam_size : vocab_;
  request_.excluded = never_chosen(special_, options_.rules, vocab_, device);
  if (options_.renormalize_logits) request_.normaliser = Normaliser::kAllowed;
  if (!has_scores_) {
    request_.count = 1;
    request_.normaliser = Normaliser::kNone;
  }
}

// Runs one model step.
BestTokens Search::advance(const torch::Tensor& tokens) {
  const bool attention =
      std::ranges::any_of(live_, [](const auto& one) { return one.request.attention; });
  if (vocab_ > 0) set_request(tokens.device());
  auto output = vocab_ == 0 || rules_.looks_at_tokens()
                    ? model_.step(tokens, *state_, attention)
                    : model_.step_best(tokens, *state_, request_, attention);
  if (attention) {
    const auto weights = output.alignment.to(torch::kFloat).contiguous();
    for (auto& sentence : live_) {
      if (sentence.request.attention) sentence.attention.push_back(weights);
    }
  }
  if (output.best) return *std::move(output.best);
  if (vocab_ == 0) vocab_ = output.logits.size(1);
  set_request(tokens.device());
  return rules_.looks_at_tokens() ? best_by_rules(output) : best_tokens(output, request_);
}

// The token that all hypotheses of a sentence must go on with, if any.
std::optional<int64_t> Search::forced_token(const SentenceSearch& sentence) const {
  const auto& prefix = sentence.request.prefix;
  const auto step = static_cast<size_t>(sentence.step);
  std::optional<int64_t> token;
  if (step < prefix.size()) {
    token = prefix[step];
  } else if (options_.forced_eos && sentence.step + 1 == sentence.limit) {
    token = special_.eos_id;
  } else if (step == 0) {
    token = rules_.forced(static_cast<int64_t>(sentence.fed_first.size()));
  }
  TORCH_CHECK_VALUE(!token || (*token >= 0 && *token < vocab_), kBeamSearch,
                    ": expected forced tokens among the model's ", vocab_, ", got ",
                    token.value_or(0));
  return token;
}

std::vector<Search::Candidate> Search::candidates(const SentenceSearch& sentence, int64_t first_row,
                                                  const BestTokens& step) const {
  const auto forced = forced_token(sentence);
  std::vector<Candidate> all;
  for (size_t k = 0; k < sentence.beam.size(); ++k) {
    const auto row = first_row + static_cast<int64_t>(k);
    const double so_far = sentence.beam[k].log_probability;
    if (so_far == kImpossible) continue;
    // topk orders NaN above all numbers, so checking the first column is enough.
    TORCH_CHECK(!std::isnan(step.log_probability(row, 0)), kBeamSearch,
                ": expected logits without NaN, got NaN in step ", sentence.step, " of sentence ",
                sentence.request.id);
    if (forced) {
      all.push_back({k, *forced, so_far});
      continue;
    }
    for (int64_t c = 0; c < step.count; ++c) {
      const auto log_probability = so_far + step.log_probability(row, c);
      if (log_probability == kImpossible) break;  // sorted, so the rest is impossible too
      all.push_back({k, step.token(row, c), log_probability});
    }
  }
  std::ranges::stable_sort(all, std::ranges::greater{}, &Candidate::log_probability);
  return all;
}

// Adds a finished hypothesis. Returns whether it is among the K best finished ones.
bool Search::finish(SentenceSearch& sentence, const Candidate& candidate, int64_t row) const {
  SentenceSearch::Finished one{
      .node = sentence.beam[candidate.parent].node,
      .log_probability = candidate.log_probability,
      .score = score(sentence, candidate.log_probability, sentence.step + 1),
      .ended = candidate.token == special_.eos_id,
      .row = row};
  auto& best = sentence.finished;
  const auto place = std::ranges::upper_bound(best, one.score, std::ranges::greater{},
                                              &SentenceSearch::Finished::score);
  if (place - best.begin() == static_cast<std::ptrdiff_t>(beam_)) return false;
  if (!one.ended) {
    sentence.nodes.push_back({candidate.token, one.node, row});
    one.node = static_cast<int>(sentence.nodes.size()) - 1;
  }
  best.insert(place, one);
  if (best.size() > beam_) best.pop_back();
  return true;
}

// Extends the hypotheses of a sentence by one token.
void Search::grow(SentenceSearch& sentence, int64_t first_row, const BestTokens& step) const {
  const bool at_limit = sentence.step + 1 == sentence.limit;
  std::vector<SentenceSearch::Live> grown;
  size_t rank = 0;
  BeamStep seen{.sentence = sentence.request.id, .step = static_cast<size_t>(sentence.step)};
  for (const auto& candidate : candidates(sentence, first_row, step)) {
    const auto row = first_row + static_cast<int64_t>(candidate.parent);
    auto fate = BeamCandidate::kDropped;
    if (at_limit || candidate.token == special_.eos_id) {
      // An end token below the K best candidates would displace a better unfinished hypothesis.
      if (rank < beam_ && finish(sentence, candidate, row)) fate = BeamCandidate::kFinished;
    } else if (grown.size() < beam_) {
      fate = BeamCandidate::kKept;
      sentence.nodes.push_back({candidate.token, sentence.beam[candidate.parent].node, row});
      grown.push_back({static_cast<int>(sentence.nodes.size()) - 1, candidate.log_probability});
    }
    ++rank;
    if (options_.on_step) {
      seen.candidates.push_back(
          {candidate.parent, candidate.token, candidate.log_probability, fate});
    }
  }
  TORCH_CHECK(rank > 0 || !sentence.finished.empty(), kBeamSearch,
              ": expected a token that may be chosen, got probability 0 for all in step ",
              sentence.step, " of sentence ", sentence.request.id);
  if (options_.on_step) options_.on_step(seen);
  sentence.beam = std::move(grown);
  ++sentence.step;
}

// Whether the search of a sentence has ended.
bool Search::is_done(const SentenceSearch& grown) const {
  if (grown.beam.empty()) return true;
  if (grown.finished.size() < beam_) return false;
  if (options_.early_stopping == EarlyStopping::kTrue || beam_ == 1) return true;
  const bool at_its_longest =
      options_.early_stopping == EarlyStopping::kNever && options_.length_penalty > 0;
  const auto length = at_its_longest ? grown.limit : grown.step;
  return score(grown, grown.beam.front().log_probability, length) <= grown.finished.back().score;
}

// Selects the rows of the sentences that have taken a step, and returns the tokens to feed.
torch::Tensor Search::go_on() {
  const auto all = std::ranges::find(live_, 0, &SentenceSearch::step) - live_.begin();
  const std::span going(live_.begin(), live_.begin() + all);
  if (!state_->rows_may_differ()) {
    // All sentences must have the same number of rows: pad with impossible hypotheses.
    size_t width = 0;
    for (const auto& sentence : going) width = std::max(width, sentence.beam.size());
    for (auto& sentence : going) {
      sentence.beam.resize(width, {sentence.beam.front().node, kImpossible});
    }
  }
  std::vector<int64_t> tokens, rows, kept;
  for (const auto& sentence : going) {
    kept.push_back(static_cast<int64_t>(sentence.place));
    for (const auto& live : sentence.beam) {
      const auto& node = sentence.nodes[static_cast<size_t>(live.node)];
      tokens.push_back(node.token);
      rows.push_back(node.row);
    }
  }
  // One copy to the device: tokens, rows, sentences.
  const auto count = static_cast<int64_t>(rows.size());
  auto packed = std::move(tokens);
  packed.insert(packed.end(), rows.begin(), rows.end());
  packed.insert(packed.end(), kept.begin(), kept.end());
  const auto ids = torch::tensor(packed, torch::kLong).to(request_.excluded.device());
  const bool all_remain = kept.size() == places_;
  bool in_place = all_remain && count == rows_;
  for (int64_t i = 0; i < count && in_place; ++i) in_place = rows[static_cast<size_t>(i)] == i;
  if (!in_place) {
    state_->reorder(
        ids.narrow(0, count, count),
        all_remain ? torch::Tensor() : ids.narrow(0, 2 * count, static_cast<int64_t>(kept.size())));
  }
  return ids.narrow(0, 0, count);
}

// Brings the state to the sentences of the next step, and returns the tokens to feed.
torch::Tensor Search::regroup() {
  torch::Tensor tokens;
  if (live_.front().step > 0) {
    tokens = go_on();
  } else {
    state_ = nullptr;
  }
  const auto width = state_ == nullptr || state_->rows_may_differ() ? 1 : live_.front().beam.size();
  for (auto& sentence : live_) {
    if (sentence.step == 0) sentence.beam.resize(width, {SentenceSearch::kNoParent, kImpossible});
  }
  for (auto& [state, first] : std::exchange(started_, {})) {
    if (state_ == nullptr) {
      state_ = std::move(state);
    } else {
      if (width > 1) {
        const auto rows = torch::arange(first.size(0), first.options())
                              .repeat_interleave(static_cast<int64_t>(width));
        state->reorder(rows);
        first = first.index_select(0, rows);
      }
      state_->admit(std::move(state));
    }
    tokens = tokens.defined() ? torch::cat({tokens, first}) : first;
  }
  return tokens;
}

// Ends all sentences with an error.
std::vector<SentenceSearch> Search::take_all(const std::exception_ptr& error) {
  state_ = nullptr;
  started_.clear();
  for (auto& sentence : live_) sentence.error = error;
  return std::exchange(live_, {});
}

std::vector<SentenceSearch> Search::grow_all(const BestTokens& step) {
  std::vector<SentenceSearch> left, live;
  int64_t first_row = 0;
  places_ = 0;
  for (auto& sentence : live_) {
    const auto rows = static_cast<int64_t>(sentence.beam.size());
    sentence.place = places_++;
    bool done = true;
    try {
      grow(sentence, first_row, step);
      done = is_done(sentence);
    } catch (...) {
      sentence.error = std::current_exception();
    }
    first_row += rows;
    (done ? left : live).push_back(std::move(sentence));
  }
  rows_ = first_row;
  live_ = std::move(live);
  if (live_.empty()) state_ = nullptr;
  return left;
}

std::vector<SentenceSearch> Search::step() {
  if (live_.empty()) return {};
  std::optional<BestTokens> chosen;
  try {
    chosen = advance(regroup());
  } catch (...) {
    return take_all(std::current_exception());
  }
  return grow_all(*chosen);
}

bool Search::cancel(size_t id) {
  const auto at =
      std::ranges::find(live_, id, [](const auto& sentence) { return sentence.request.id; });
  if (at == live_.end()) return false;
  TORCH_INTERNAL_ASSERT(at->step > 0, "a sentence is cancelled after a step");
  live_.erase(at);
  if (live_.empty()) state_ = nullptr;
  return true;
}

namespace {

// A row of the attention of a step.
struct AttentionRow {
  const torch::Tensor* step;
  int64_t row;
};

// The rows of attention of a hypothesis, in the order of its tokens.
std::vector<AttentionRow> attention_rows(const SentenceSearch& sentence,
                                         const SentenceSearch::Finished& finished) {
  std::vector<int64_t> rows;
  if (finished.ended) rows.push_back(finished.row);
  for (int at = finished.node; at != SentenceSearch::kNoParent;) {
    const auto& node = sentence.nodes[static_cast<size_t>(at)];
    rows.push_back(node.row);
    at = node.parent;
  }
  std::vector<AttentionRow> result;
  for (size_t t = 0; t < rows.size(); ++t) {
    result.push_back({&sentence.attention[t], rows[rows.size() - 1 - t]});
  }
  return result;
}

// All rows, [rows, width] on the CPU. Steps that are narrower, as the attention of a causal model is, which
// grows by a key at every step, are padded. Wider ones, taken beside a longer source, have zeros there.
torch::Tensor gathered(const std::vector<AttentionRow>& rows, int64_t width) {
  if (rows.front().step->is_cpu()) {
    auto result = torch::zeros({static_cast<int64_t>(rows.size()), width},
                               torch::TensorOptions(torch::kCPU).dtype(torch::kFloat));
    auto* to = result.mutable_data_ptr<float>();
    for (const auto& [step, row] : rows) {
      const auto columns = step->size(1);
      std::copy_n(step->const_data_ptr<float>() + row * columns, std::min(columns, width), to);
      to += width;
    }
    return result;
  }
  // One copy from the device.
  std::unordered_map<const void*, int64_t> first;  // each step's rows, concatenated
  std::vector<torch::Tensor> steps;
  std::vector<int64_t> indices;
  int64_t count = 0;
  for (const auto& [step, row] : rows) {
    const auto [at, is_new] = first.try_emplace(step->unsafeGetTensorImpl(), count);
    if (is_new) {
      const auto missing = width - step->size(1);
      steps.push_back(missing == 0 ? *step : torch::constant_pad_nd(*step, {0, missing}, 0.0));
      count += step->size(0);
    }
    indices.push_back(at->second + row);
  }
  const auto index = torch::tensor(indices, torch::kLong).to(steps.front().device());
  return torch::cat(steps).index_select(0, index).to(torch::kCPU);
}

}  // namespace

std::vector<std::vector<Hypothesis>> Search::results(
    const std::vector<SentenceSearch>& sentences) const {
  std::vector<std::vector<Hypothesis>> all;
  std::vector<AttentionRow> rows;
  int64_t width = 0;
  for (const auto& sentence : sentences) {
    auto& of_sentence = all.emplace_back();
    const auto count =
        std::min(sentence.finished.size(), static_cast<size_t>(sentence.request.n_best));
    for (size_t n = 0; n < count; ++n) {
      const auto& finished = sentence.finished[n];
      of_sentence.push_back({.tokens = sentence.tokens_to(finished.node),
                             .log_probability = has_scores_ ? finished.log_probability : kUnknown,
                             .score = has_scores_ ? finished.score : kUnknown,
                             .ended = finished.ended,
                             .attention = {}});
      if (!sentence.request.attention) continue;
      width = std::max(width, sentence.attention.back().size(1));
      std::ranges::move(attention_rows(sentence, finished), std::back_inserter(rows));
    }
  }
  if (rows.empty()) return all;
  const auto attention = gathered(rows, width);
  int64_t first = 0;
  for (size_t s = 0; s < sentences.size(); ++s) {
    if (!sentences[s].request.attention) continue;
    for (auto& one : all[s]) {
      const auto count = static_cast<int64_t>(one.tokens.size()) + (one.ended ? 1 : 0);
      one.attention = attention.narrow(0, first, count).clone();
      first += count;
    }
  }
  return all;
}

}  // namespace attend::detail
