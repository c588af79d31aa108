#include "attend/decoding/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "decoding/suppressed_tokens.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kBeamSearch = "beam_search";
constexpr double kImpossible = -std::numeric_limits<double>::infinity();
constexpr int kNoParent = -1;

// A token of a growing hypothesis; the path to the root spells it.
struct Node {
  int64_t token;
  int parent;   // index of the token before it, or kNoParent
  size_t step;  // that chose it, and the batch row it was chosen from: where its attention is
  int64_t row;
};

struct Live {
  int node = kNoParent;  // the last token
  double log_probability = 0;
};

struct Sentence {
  size_t index;       // in the caller's batch
  size_t max_length;  // tokens, the end token included
  std::vector<Live> beam;
};

struct Candidate {
  size_t parent;  // index in the beam
  int64_t token;
  double log_probability;
};

class Search {
 public:
  Search(IncrementalModel& model, const torch::Tensor& source, const BeamSearchOptions& options)
      : model_(model), options_(options), special_(model.special_tokens()), source_(source) {}

  std::vector<std::vector<Hypothesis>> run(const AttentionMask& source_mask);

 private:
  // The best continuations of every row, on the host: [N, 2K] log-probabilities and tokens.
  struct Step {
    torch::Tensor log_probabilities, tokens;  // double and long, on the CPU
    torch::Tensor end_log_probabilities;      // [N] double
  };
  Step advance(const torch::Tensor& tokens, DecoderState& state);
  std::vector<Candidate> candidates(const Sentence& sentence, int64_t first_row, const Step& step,
                                    bool at_limit) const;
  void finish(const Sentence& sentence, const Candidate& candidate, int64_t row);

  IncrementalModel& model_;
  const BeamSearchOptions& options_;
  const SpecialTokenIds special_;
  const torch::Tensor& source_;
  const detail::SuppressedTokens suppressed_{kBeamSearch, options_.suppressed_tokens,
                                             source_.device()};
  std::vector<Node> nodes_;
  std::vector<torch::Tensor> attention_;  // of each step: [N, S] on the CPU
  size_t step_ = 0;
  std::vector<std::vector<Hypothesis>> results_;
};

Search::Step Search::advance(const torch::Tensor& tokens, DecoderState& state) {
  auto output = model_.step(tokens, state, options_.attention);
  if (options_.attention) attention_.push_back(output.alignment.to(torch::kCPU, torch::kFloat));
  auto logits = output.logits.to(torch::kFloat);  // [N, V]
  if (special_.pad_id >= 0) logits.select(1, special_.pad_id).fill_(kImpossible);
  if (special_.start_id != special_.eos_id) {
    logits.select(1, special_.start_id).fill_(kImpossible);
  }
  suppressed_.apply(logits);
  const auto normaliser = logits.logsumexp(1, /*keepdim=*/true);  // [N, 1]
  // 2K are enough: at most K of them, one for each row of the beam, can be end tokens.
  const auto count = std::min(2 * options_.beam_size, logits.size(1));
  const auto [best, best_tokens] = logits.topk(count, 1);
  return {(best - normaliser).to(torch::kCPU, torch::kDouble), best_tokens.to(torch::kCPU),
          (logits.narrow(1, special_.eos_id, 1) - normaliser)
              .squeeze(1)
              .to(torch::kCPU, torch::kDouble)};
}

std::vector<Candidate> Search::candidates(const Sentence& sentence, int64_t first_row,
                                          const Step& step, bool at_limit) const {
  std::vector<Candidate> all;
  const auto values = step.log_probabilities.accessor<double, 2>();
  const auto tokens = step.tokens.accessor<int64_t, 2>();
  const auto ends = step.end_log_probabilities.accessor<double, 1>();
  for (size_t k = 0; k < sentence.beam.size(); ++k) {
    const auto row = first_row + static_cast<int64_t>(k);
    const double so_far = sentence.beam[k].log_probability;
    if (so_far == kImpossible) continue;
    if (at_limit) {
      all.push_back({k, special_.eos_id, so_far + ends[row]});
      continue;
    }
    for (int64_t c = 0; c < values.size(1); ++c) {
      if (values[row][c] == kImpossible && tokens[row][c] != special_.eos_id) continue;
      all.push_back({k, tokens[row][c], so_far + values[row][c]});
    }
  }
  std::ranges::stable_sort(all, std::ranges::greater{}, &Candidate::log_probability);
  return all;
}

void Search::finish(const Sentence& sentence, const Candidate& candidate, int64_t row) {
  Hypothesis result;
  std::vector<torch::Tensor> attention;
  if (options_.attention) attention.push_back(attention_[step_][row]);
  for (int at = sentence.beam[candidate.parent].node; at != kNoParent;) {
    const auto& node = nodes_[static_cast<size_t>(at)];
    result.tokens.push_back(node.token);
    if (options_.attention) attention.push_back(attention_[node.step][node.row]);
    at = node.parent;
  }
  std::ranges::reverse(result.tokens);
  if (options_.attention) {
    std::ranges::reverse(attention);
    result.attention = torch::stack(attention);
  }
  result.log_probability = candidate.log_probability;
  const auto length = static_cast<double>(result.tokens.size() + 1);
  result.score = candidate.log_probability / std::pow(length, options_.length_penalty);
  results_[sentence.index].push_back(std::move(result));
}

std::vector<std::vector<Hypothesis>> Search::run(const AttentionMask& source_mask) {
  const auto batch = source_.size(0);
  const auto beam = static_cast<size_t>(options_.beam_size);
  const auto device = source_.device();
  results_.resize(static_cast<size_t>(batch));
  if (batch == 0) return results_;

  const auto state = model_.start(source_, source_mask);
  const auto longest = model_.max_target_length() - state->position();
  TORCH_CHECK_VALUE(longest >= 1, kBeamSearch,
                    ": expected a source that leaves room for tokens, got ", source_.size(1),
                    " tokens of at most ", model_.max_target_length());
  const auto lengths = source_.ne(special_.pad_id).sum(1).to(torch::kCPU);
  std::vector<Sentence> live;
  for (int64_t b = 0; b < batch; ++b) {
    const auto allowed = options_.max_length_factor * lengths[b].item<double>() +
                         static_cast<double>(options_.max_length_extra);
    const auto limit = std::clamp(static_cast<int64_t>(allowed), int64_t{1}, longest);
    // One hypothesis at first: K equal ones would stay equal.
    live.push_back({static_cast<size_t>(b), static_cast<size_t>(limit), {Live{}}});
  }

  std::vector<int64_t> tokens(static_cast<size_t>(batch), special_.start_id);
  if (const auto first = state->first_tokens(); first.defined()) {
    const auto ids = first.to(torch::kCPU, torch::kLong).contiguous();
    tokens.assign(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + batch);
  }
  for (step_ = 0; !live.empty(); ++step_) {
    const auto step = advance(torch::tensor(tokens, torch::kLong).to(device), *state);

    std::vector<Sentence> next;
    std::vector<int64_t> rows, sentences;
    tokens.clear();
    int64_t first_row = 0;
    for (size_t s = 0; s < live.size(); ++s) {
      auto& sentence = live[s];
      const bool at_limit = step_ + 1 >= sentence.max_length;
      Sentence grown{sentence.index, sentence.max_length, {}};
      std::vector<std::pair<int64_t, int64_t>> chosen;  // row, token
      size_t rank = 0;
      BeamStep seen{.sentence = sentence.index, .step = step_};
      for (const auto& candidate : candidates(sentence, first_row, step, at_limit)) {
        const auto row = first_row + static_cast<int64_t>(candidate.parent);
        auto fate = BeamCandidate::kDropped;
        if (candidate.token == special_.eos_id) {
          // An end below the K best would push a better unfinished hypothesis out.
          if (rank < beam && results_[sentence.index].size() < beam) {
            finish(sentence, candidate, row);
            fate = BeamCandidate::kFinished;
          }
        } else if (grown.beam.size() < beam && candidate.log_probability != kImpossible) {
          fate = BeamCandidate::kKept;
          nodes_.push_back({candidate.token, sentence.beam[candidate.parent].node, step_, row});
          grown.beam.push_back({static_cast<int>(nodes_.size()) - 1, candidate.log_probability});
          chosen.emplace_back(row, candidate.token);
        }
        ++rank;
        if (options_.on_step) {
          seen.candidates.push_back(
              {candidate.parent, candidate.token, candidate.log_probability, fate});
        }
      }
      if (options_.on_step) options_.on_step(seen);
      first_row += static_cast<int64_t>(sentence.beam.size());
      if (results_[sentence.index].size() >= beam || grown.beam.empty()) continue;
      // The rows of a sentence must be as many as its neighbours': fill up with impossible ones.
      while (grown.beam.size() < beam) {
        grown.beam.push_back({grown.beam.front().node, kImpossible});
        chosen.push_back(chosen.front());
      }
      for (const auto& [row, token] : chosen) {
        rows.push_back(row);
        tokens.push_back(token);
      }
      sentences.push_back(static_cast<int64_t>(s));
      next.push_back(std::move(grown));
    }
    if (!next.empty()) {
      const bool all_remain = sentences.size() == live.size();
      std::vector<int64_t> in_place(rows.size());
      std::iota(in_place.begin(), in_place.end(), 0);
      if (!all_remain || rows != in_place) {
        const auto tensor_of = [&](const std::vector<int64_t>& values) {
          return torch::tensor(values, torch::kLong).to(device);
        };
        state->reorder(tensor_of(rows), all_remain ? torch::Tensor() : tensor_of(sentences));
      }
    }
    live = std::move(next);
  }

  for (auto& hypotheses : results_) {
    std::ranges::stable_sort(hypotheses, std::ranges::greater{}, &Hypothesis::score);
    hypotheses.resize(std::min(hypotheses.size(), static_cast<size_t>(options_.n_best)));
  }
  return std::move(results_);
}

}  // namespace

std::vector<std::vector<Hypothesis>> beam_search(IncrementalModel& model,
                                                 const torch::Tensor& source,
                                                 const BeamSearchOptions& options,
                                                 const AttentionMask& source_mask) {
  detail::check_positive(kBeamSearch, "beam_size", options.beam_size);
  TORCH_CHECK_VALUE(options.n_best >= 1 && options.n_best <= options.beam_size, kBeamSearch,
                    ": expected 1 <= n_best <= beam_size ", options.beam_size, ", got ",
                    options.n_best);
  TORCH_CHECK_VALUE(options.max_length_factor >= 0 && options.max_length_extra >= 1, kBeamSearch,
                    ": expected max_length_factor >= 0 and max_length_extra >= 1, got ",
                    options.max_length_factor, " and ", options.max_length_extra);
  detail::check_ids(kBeamSearch, "source", source);
  detail::check_shape(kBeamSearch, "source", source, {-1, -1});
  const torch::InferenceMode inference;
  return Search(model, source, options).run(source_mask);
}

}  // namespace attend
