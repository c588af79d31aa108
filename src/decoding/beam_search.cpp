#include "attend/decoding/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "decoding/step_tokens.h"
#include "decoding/token_rules.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kBeamSearch = "beam_search";
constexpr double kImpossible = -std::numeric_limits<double>::infinity();
constexpr int kNoParent = -1;

// A token of an unfinished hypothesis. Following `parent` to the root gives all its tokens.
struct Node {
  int64_t token;
  int parent;   // index in nodes_ of the previous token, or kNoParent
  size_t step;  // the step and batch row that chose it, where its attention is stored
  int64_t row;
};

struct Live {
  int node = kNoParent;  // the last token
  double log_probability = 0;
};

struct Sentence {
  size_t index;   // of the sentence in the caller's batch
  int64_t limit;  // in tokens, end token included
  std::vector<Live> beam;
};

struct Candidate {
  size_t parent;  // index in the beam
  int64_t token;
  double log_probability;
};

// A finished hypothesis.
struct Finished {
  int node;  // its last token before the end token
  double log_probability, score;
  bool ended;
  size_t step;  // the step and batch row that chose the end token
  int64_t row;
};

using Prefixes = std::vector<std::vector<int64_t>>;

class Search {
 public:
  Search(IncrementalModel& model, const torch::Tensor& source, const BeamSearchOptions& options,
         const Prefixes& prefixes);
  std::vector<std::vector<Hypothesis>> run(const AttentionMask& source_mask);

 private:
  std::vector<Sentence> sentences(const DecoderState& state) const;
  std::vector<double> source_lengths() const;
  const std::vector<int64_t>& prefix(const Sentence& sentence) const;
  std::vector<detail::RowTokens> tokens_of_rows(const std::vector<Sentence>& live) const;
  std::vector<int64_t> tokens_to(int node) const;
  std::optional<int64_t> forced_token(const Sentence& sentence) const;
  detail::StepTokens advance(const torch::Tensor& tokens, const std::vector<Sentence>& live,
                             DecoderState& state);
  detail::StepTokens most_probable(const torch::Tensor& logits,
                                   const std::vector<Sentence>& live) const;
  std::vector<Candidate> candidates(const Sentence& sentence, int64_t first_row,
                                    const detail::StepTokens& step) const;
  Sentence grow(const Sentence& sentence, int64_t first_row, const detail::StepTokens& step);
  bool finish(const Sentence& sentence, const Candidate& candidate, int64_t row);
  bool is_done(const Sentence& grown) const;
  torch::Tensor go_on(std::vector<Sentence>& next, const std::vector<int64_t>& kept,
                      bool all_remain, DecoderState& state) const;
  std::vector<std::vector<Hypothesis>> results() const;
  Hypothesis hypothesis(const Finished& finished, std::vector<int64_t>& attention_rows) const;
  void add_attention(std::vector<std::vector<Hypothesis>>& results,
                     const std::vector<int64_t>& rows) const;
  // Of a hypothesis of `length` tokens, the prefix included.
  double score(const Sentence& sentence, double log_probability, int64_t length) const {
    const auto own = length - static_cast<int64_t>(prefix(sentence).size());
    return log_probability / std::pow(static_cast<double>(own), options_.length_penalty);
  }

  IncrementalModel& model_;
  const BeamSearchOptions& options_;
  const SpecialTokenIds special_;
  const torch::Tensor& source_;
  const Prefixes& prefixes_;  // of each sentence, or none
  const size_t beam_;
  const detail::RuleBook rules_;
  std::vector<std::vector<int64_t>> fed_first_;  // to each sentence; none if no rule needs it
  torch::Tensor forbidden_;                      // ids, on the device
  std::vector<Node> nodes_;
  std::vector<torch::Tensor> attention_;  // of each step: [N, S]
  std::vector<int64_t> first_rows_;       // of each step: the number of rows in all earlier steps
  size_t step_ = 0;
  std::vector<std::vector<Finished>> finished_;  // of each sentence, best first
};

Search::Search(IncrementalModel& model, const torch::Tensor& source,
               const BeamSearchOptions& options, const Prefixes& prefixes)
    : model_(model),
      options_(options),
      special_(model.special_tokens()),
      source_(source),
      prefixes_(prefixes),
      beam_(static_cast<size_t>(options.beam_size)),
      rules_(options.rules, special_) {
  TORCH_CHECK_VALUE(prefixes.empty() || static_cast<int64_t>(prefixes.size()) == source.size(0),
                    kBeamSearch, ": expected a prefix for each of the ", source.size(0),
                    " sentences, got ", prefixes.size());
  for (const auto& one : prefixes) {
    TORCH_CHECK_VALUE(!detail::has(one, special_.eos_id), kBeamSearch,
                      ": expected prefixes without the end token, got it");
  }
  TORCH_CHECK_VALUE(
      !options.forced_eos || !detail::has(options.rules.suppress_tokens, special_.eos_id),
      kBeamSearch, ": expected suppress_tokens without the forced end token, got it");
}

const std::vector<int64_t>& Search::prefix(const Sentence& sentence) const {
  static const std::vector<int64_t> kNone;
  return prefixes_.empty() ? kNone : prefixes_[sentence.index];
}

// The number of tokens of each source without padding; not counted if no limit depends on it.
std::vector<double> Search::source_lengths() const {
  const auto batch = source_.size(0);
  std::vector<double> lengths(static_cast<size_t>(batch), static_cast<double>(source_.size(1)));
  if (special_.pad_id < 0 || options_.max_length_factor == 0.0) return lengths;
  const auto counts = source_.ne(special_.pad_id).sum(1).to(torch::kCPU);
  const auto* data = counts.const_data_ptr<int64_t>();
  std::copy(data, data + batch, lengths.begin());
  return lengths;
}

// The initial sentences, each with one hypothesis: K equal ones would stay equal.
std::vector<Sentence> Search::sentences(const DecoderState& state) const {
  const auto positions = model_.max_target_length() - state.position();
  TORCH_CHECK_VALUE(positions >= 1, kBeamSearch,
                    ": expected a source that leaves room for tokens, got ", source_.size(1),
                    " tokens of at most ", model_.max_target_length());
  std::vector<Sentence> all;
  for (const auto length : source_lengths()) {
    all.push_back({all.size(), 0, {Live{}}});
    const auto given = static_cast<int64_t>(prefix(all.back()).size());
    TORCH_CHECK_VALUE(given < positions, kBeamSearch,
                      ": expected a prefix that leaves room for tokens, got ", given,
                      " tokens of at most ", positions);
    auto room = positions - given;
    if (options_.max_length) {
      const auto fed_first = state.position() + 1 + given;
      TORCH_CHECK_VALUE(*options_.max_length > fed_first, kBeamSearch,
                        ": expected max_length above the ", fed_first,
                        " tokens that are fed first, got ", *options_.max_length);
      room = std::min(room, *options_.max_length - fed_first);
    }
    room = std::min(room, options_.max_new_tokens.value_or(room));
    // Compared as doubles, since the product may exceed int64. The factor may be infinite, and
    // infinity times 0 tokens would be NaN.
    const auto allowed = (length > 0 ? options_.max_length_factor * length : 0.0) +
                         static_cast<double>(options_.max_length_extra);
    all.back().limit =
        given + (allowed < static_cast<double>(room) ? static_cast<int64_t>(allowed) : room);
  }
  return all;
}

// The tokens from the root to a node.
std::vector<int64_t> Search::tokens_to(int node) const {
  std::vector<int64_t> tokens;
  for (int at = node; at != kNoParent; at = nodes_[static_cast<size_t>(at)].parent) {
    tokens.push_back(nodes_[static_cast<size_t>(at)].token);
  }
  std::ranges::reverse(tokens);
  return tokens;
}

// What the rules look at. Rows whose next token is given, or that are impossible, are left out.
std::vector<detail::RowTokens> Search::tokens_of_rows(const std::vector<Sentence>& live) const {
  std::vector<detail::RowTokens> rows;
  int64_t row = 0;
  for (const auto& sentence : live) {
    const auto& fed = fed_first_[sentence.index];
    for (const auto& one : sentence.beam) {
      const auto at = row++;
      if (step_ < prefix(sentence).size() || one.log_probability == kImpossible) continue;
      auto tokens = fed;
      const auto chosen = tokens_to(one.node);
      tokens.insert(tokens.end(), chosen.begin(), chosen.end());
      rows.push_back(
          {at, std::move(tokens), static_cast<int64_t>(fed.size() + prefix(sentence).size())});
    }
  }
  return rows;
}

// The best 2K continuations of every row. The best 2K of each sentence are among them.
detail::StepTokens Search::most_probable(const torch::Tensor& logits,
                                         const std::vector<Sentence>& live) const {
  using detail::Normaliser;
  const auto vocab = logits.size(1);
  const auto count = options_.beam_size < vocab / 2 ? 2 * options_.beam_size : vocab;
  auto normaliser = options_.renormalize_logits ? Normaliser::kAllowed : Normaliser::kAll;
  detail::ScoreChanges changes;
  if (rules_.looks_at_tokens()) changes = rules_.changes(tokens_of_rows(live), vocab);
  if (changes.empty()) return detail::most_probable(logits, forbidden_, normaliser, count);
  // As in `generate`, penalties are of logits in greedy search and of log-probabilities with a beam.
  auto scores = logits.to(torch::kFloat).contiguous();
  if (beam_ > 1) scores = torch::log_softmax(scores, 1);
  rules_.penalise(scores, changes);
  if (beam_ == 1) scores = torch::log_softmax(scores, 1);
  detail::ban(scores, changes);
  if (normaliser == Normaliser::kAll) normaliser = Normaliser::kNone;
  return detail::most_probable(scores, forbidden_, normaliser, count);
}

// Runs one model step.
detail::StepTokens Search::advance(const torch::Tensor& tokens, const std::vector<Sentence>& live,
                                   DecoderState& state) {
  auto output = model_.step(tokens, state, options_.attention);
  if (options_.attention) {
    first_rows_.push_back(attention_.empty() ? 0 : first_rows_.back() + attention_.back().size(0));
    attention_.push_back(output.alignment.to(torch::kFloat));
  }
  if (step_ == 0) {
    const auto vocab = output.logits.size(1);
    forbidden_ = detail::never_chosen(special_, options_.rules, vocab, source_.device());
    const auto check = [&](const char* what, int64_t id) {
      TORCH_CHECK_VALUE(id >= 0 && id < vocab, kBeamSearch, ": expected ", what,
                        " among the model's ", vocab, " tokens, got ", id);
    };
    check("forced_bos_token_id", options_.rules.forced_bos_token_id.value_or(0));
    for (const auto& one : prefixes_) {
      for (const auto id : one) check("the ids of prefixes", id);
    }
  }
  return most_probable(output.logits, live);
}

// The token that all hypotheses of a sentence must go on with, if any.
std::optional<int64_t> Search::forced_token(const Sentence& sentence) const {
  const auto& given = prefix(sentence);
  if (step_ < given.size()) return given[step_];
  if (options_.forced_eos && static_cast<int64_t>(step_) + 1 == sentence.limit) {
    return special_.eos_id;
  }
  if (step_ > 0 || !options_.rules.forced_bos_token_id) return std::nullopt;
  return rules_.forced(static_cast<int64_t>(fed_first_[sentence.index].size()));
}

std::vector<Candidate> Search::candidates(const Sentence& sentence, int64_t first_row,
                                          const detail::StepTokens& step) const {
  const auto forced = forced_token(sentence);
  std::vector<Candidate> all;
  for (size_t k = 0; k < sentence.beam.size(); ++k) {
    const auto row = first_row + static_cast<int64_t>(k);
    const double so_far = sentence.beam[k].log_probability;
    if (so_far == kImpossible) continue;
    // topk orders NaN above all numbers, so checking the first column is enough.
    TORCH_CHECK(!std::isnan(step.number(row, 0)), kBeamSearch,
                ": expected logits without NaN, got NaN in step ", step_, " of sentence ",
                sentence.index);
    if (forced) {
      all.push_back({k, *forced, so_far});
      continue;
    }
    for (int64_t c = 0; c < step.columns(); ++c) {
      const auto log_probability = so_far + step.number(row, c);
      if (log_probability == kImpossible) break;  // sorted, so the rest is impossible too
      all.push_back({k, step.token(row, c), log_probability});
    }
  }
  std::ranges::stable_sort(all, std::ranges::greater{}, &Candidate::log_probability);
  return all;
}

// Adds a finished hypothesis. Returns whether it is among the K best finished ones.
bool Search::finish(const Sentence& sentence, const Candidate& candidate, int64_t row) {
  Finished one{.node = sentence.beam[candidate.parent].node,
               .log_probability = candidate.log_probability,
               .score = score(sentence, candidate.log_probability, static_cast<int64_t>(step_) + 1),
               .ended = candidate.token == special_.eos_id,
               .step = step_,
               .row = row};
  auto& best = finished_[sentence.index];
  const auto place =
      std::ranges::upper_bound(best, one.score, std::ranges::greater{}, &Finished::score);
  if (place - best.begin() == static_cast<std::ptrdiff_t>(beam_)) return false;
  if (!one.ended) {
    nodes_.push_back({candidate.token, one.node, step_, row});
    one.node = static_cast<int>(nodes_.size()) - 1;
  }
  best.insert(place, one);
  if (best.size() > beam_) best.pop_back();
  return true;
}

// Extends the hypotheses of a sentence by one token.
Sentence Search::grow(const Sentence& sentence, int64_t first_row, const detail::StepTokens& step) {
  const bool at_limit = static_cast<int64_t>(step_) + 1 == sentence.limit;
  Sentence grown{sentence.index, sentence.limit, {}};
  size_t rank = 0;
  BeamStep seen{.sentence = sentence.index, .step = step_};
  for (const auto& candidate : candidates(sentence, first_row, step)) {
    const auto row = first_row + static_cast<int64_t>(candidate.parent);
    auto fate = BeamCandidate::kDropped;
    if (at_limit || candidate.token == special_.eos_id) {
      // An end token below the K best candidates would displace a better unfinished hypothesis.
      if (rank < beam_ && finish(sentence, candidate, row)) fate = BeamCandidate::kFinished;
    } else if (grown.beam.size() < beam_) {
      fate = BeamCandidate::kKept;
      nodes_.push_back({candidate.token, sentence.beam[candidate.parent].node, step_, row});
      grown.beam.push_back({static_cast<int>(nodes_.size()) - 1, candidate.log_probability});
    }
    ++rank;
    if (options_.on_step) {
      seen.candidates.push_back(
          {candidate.parent, candidate.token, candidate.log_probability, fate});
    }
  }
  TORCH_CHECK(rank > 0 || !finished_[sentence.index].empty(), kBeamSearch,
              ": expected a token that may be chosen, got probability 0 for all in step ", step_,
              " of sentence ", sentence.index);
  if (options_.on_step) options_.on_step(seen);
  return grown;
}

// Whether the search of a sentence has ended.
bool Search::is_done(const Sentence& grown) const {
  const auto& finished = finished_[grown.index];
  if (grown.beam.empty()) return true;
  if (finished.size() < beam_) return false;
  if (options_.early_stopping == EarlyStopping::kTrue || beam_ == 1) return true;
  const bool at_its_longest =
      options_.early_stopping == EarlyStopping::kNever && options_.length_penalty > 0;
  const auto length = at_its_longest ? grown.limit : static_cast<int64_t>(step_) + 1;
  return score(grown, grown.beam.front().log_probability, length) <= finished.back().score;
}

// Selects the rows of the next step in `state` and returns the tokens to feed. `kept`: the previous
// indices of the sentences in `next`.
torch::Tensor Search::go_on(std::vector<Sentence>& next, const std::vector<int64_t>& kept,
                            bool all_remain, DecoderState& state) const {
  // All sentences must have the same number of rows: pad with impossible hypotheses.
  size_t width = 0;
  for (const auto& sentence : next) width = std::max(width, sentence.beam.size());
  std::vector<int64_t> tokens, rows;
  for (auto& sentence : next) {
    sentence.beam.resize(width, {sentence.beam.front().node, kImpossible});
    for (const auto& live : sentence.beam) {
      const auto& node = nodes_[static_cast<size_t>(live.node)];
      tokens.push_back(node.token);
      rows.push_back(node.row);
    }
  }
  // One copy to the device: tokens, rows, sentences.
  const auto count = static_cast<int64_t>(rows.size());
  auto packed = std::move(tokens);
  packed.insert(packed.end(), rows.begin(), rows.end());
  packed.insert(packed.end(), kept.begin(), kept.end());
  const auto ids = torch::tensor(packed, torch::kLong).to(source_.device());
  bool in_place = all_remain;
  for (int64_t i = 0; i < count && in_place; ++i) in_place = rows[static_cast<size_t>(i)] == i;
  if (!in_place) {
    state.reorder(
        ids.narrow(0, count, count),
        all_remain ? torch::Tensor() : ids.narrow(0, 2 * count, static_cast<int64_t>(kept.size())));
  }
  return ids.narrow(0, 0, count);
}

std::vector<std::vector<Hypothesis>> Search::run(const AttentionMask& source_mask) {
  finished_.resize(static_cast<size_t>(source_.size(0)));
  if (source_.size(0) == 0) return {};
  const auto state = model_.start(source_, source_mask);
  auto live = sentences(*state);
  if (rules_.looks_at_tokens() || options_.rules.forced_bos_token_id) {
    fed_first_ = detail::fed_first(kBeamSearch, *state, special_, source_, source_mask);
  }
  auto tokens = state->first_tokens();
  if (!tokens.defined()) {
    tokens =
        torch::full({source_.size(0)}, special_.start_id, source_.options().dtype(torch::kLong));
  }
  for (step_ = 0; !live.empty(); ++step_) {
    const auto step = advance(tokens, live, *state);
    std::vector<Sentence> next;
    std::vector<int64_t> kept;
    int64_t first_row = 0;
    for (size_t s = 0; s < live.size(); ++s) {
      auto grown = grow(live[s], first_row, step);
      first_row += static_cast<int64_t>(live[s].beam.size());
      if (is_done(grown)) continue;
      kept.push_back(static_cast<int64_t>(s));
      next.push_back(std::move(grown));
    }
    if (!next.empty()) tokens = go_on(next, kept, kept.size() == live.size(), *state);
    live = std::move(next);
  }
  return results();
}

// Builds the result, and appends the indices of its attention rows to `attention_rows`, in the
// order of its tokens.
Hypothesis Search::hypothesis(const Finished& finished,
                              std::vector<int64_t>& attention_rows) const {
  Hypothesis result;
  std::vector<int64_t> rows;
  const auto add_row = [&](size_t step, int64_t row) {
    if (options_.attention) rows.push_back(first_rows_[step] + row);
  };
  if (finished.ended) add_row(finished.step, finished.row);
  for (int at = finished.node; at != kNoParent;) {
    const auto& node = nodes_[static_cast<size_t>(at)];
    result.tokens.push_back(node.token);
    add_row(node.step, node.row);
    at = node.parent;
  }
  std::ranges::reverse(result.tokens);
  attention_rows.insert(attention_rows.end(), rows.rbegin(), rows.rend());
  result.log_probability = finished.log_probability;
  result.score = finished.score;
  result.ended = finished.ended;
  return result;
}

std::vector<std::vector<Hypothesis>> Search::results() const {
  std::vector<std::vector<Hypothesis>> all;
  std::vector<int64_t> attention_rows;
  for (const auto& finished : finished_) {
    const auto count = std::min(finished.size(), static_cast<size_t>(options_.n_best));
    auto& of_sentence = all.emplace_back();
    for (size_t n = 0; n < count; ++n) {
      of_sentence.push_back(hypothesis(finished[n], attention_rows));
    }
  }
  if (options_.attention) add_attention(all, attention_rows);
  return all;
}

// rows: attention rows of all hypotheses in order, as indices into the concatenated steps.
void Search::add_attention(std::vector<std::vector<Hypothesis>>& results,
                           const std::vector<int64_t>& rows) const {
  // The attention of a causal model grows by a key at every step, so earlier steps are padded.
  const auto width = attention_.back().size(1);
  std::vector<torch::Tensor> steps;
  for (const auto& step : attention_) {
    steps.push_back(step.size(1) == width
                        ? step
                        : torch::constant_pad_nd(step, {0, width - step.size(1)}, 0.0));
  }
  const auto index = torch::tensor(rows, torch::kLong).to(attention_.back().device());
  const auto attention = torch::cat(steps).index_select(0, index).to(torch::kCPU);
  int64_t first = 0;
  for (auto& hypotheses : results) {
    for (auto& one : hypotheses) {
      const auto count = static_cast<int64_t>(one.tokens.size()) + (one.ended ? 1 : 0);
      one.attention = attention.narrow(0, first, count).clone();
      first += count;
    }
  }
}

}  // namespace

void BeamSearchOptions::validate() const {
  detail::check_positive(kBeamSearch, "beam_size", beam_size);
  TORCH_CHECK_VALUE(n_best >= 1 && n_best <= beam_size, kBeamSearch,
                    ": expected 1 <= n_best <= beam_size ", beam_size, ", got ", n_best);
  TORCH_CHECK_VALUE(std::isfinite(length_penalty), kBeamSearch,
                    ": expected a finite length_penalty, got ", length_penalty);
  TORCH_CHECK_VALUE(max_length_factor >= 0 && max_length_extra >= 1, kBeamSearch,
                    ": expected max_length_factor >= 0 and max_length_extra >= 1, got ",
                    max_length_factor, " and ", max_length_extra);
  rules.validate(kBeamSearch);
  detail::check_positive(kBeamSearch, "max_length", max_length.value_or(1));
  detail::check_positive(kBeamSearch, "max_new_tokens", max_new_tokens.value_or(1));
}

std::vector<std::vector<Hypothesis>> beam_search(
    IncrementalModel& model, const torch::Tensor& source, const BeamSearchOptions& options,
    const AttentionMask& source_mask, const std::vector<std::vector<int64_t>>& prefixes) {
  options.validate();
  detail::check_ids(kBeamSearch, "source", source);
  detail::check_shape(kBeamSearch, "source", source, {-1, -1});
  const torch::InferenceMode inference;
  return Search(model, source, options, prefixes).run(source_mask);
}

}  // namespace attend
