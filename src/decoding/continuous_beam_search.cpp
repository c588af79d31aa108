#include "attend/decoding/continuous_beam_search.h"

#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

#include "decoding/search.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kContinuousBeamSearch = "ContinuousBeamSearch";

struct WaitingSentence {
  detail::SearchRequest request;
  std::vector<int64_t> source;
};

}  // namespace

// Its functions are inline, since a class within an exported one is exported.
struct ContinuousBeamSearch::State {
  State(IncrementalModel& of_model, const BeamSearchOptions& options, int64_t most,
        torch::Device on_device)
      : model(of_model), search(of_model, options), max_sentences(most), device(on_device) {}

  void check(size_t id, const std::vector<int64_t>& source, const SentenceOptions& options) const {
    TORCH_CHECK(static_cast<int64_t>(ids.size()) < max_sentences, kContinuousBeamSearch,
                ": expected fewer than max_sentences ", max_sentences,
                ", got as many and sentence ", id);
    TORCH_CHECK_VALUE(!ids.contains(id), kContinuousBeamSearch, ": expected an id not in use, got ",
                      id);
    const auto length = static_cast<int64_t>(source.size()), most = model.max_target_length();
    TORCH_CHECK_VALUE(length >= 1 && length <= most, kContinuousBeamSearch,
                      ": expected a source of 1 to ", most, " tokens, got ", length);
    const auto vocabulary = model.vocabulary_sizes().source;
    const auto [least, largest] = std::ranges::minmax(source);
    TORCH_CHECK_INDEX(least >= 0 && (vocabulary == 0 || largest < vocabulary),
                      kContinuousBeamSearch, ": expected source in [0, ", vocabulary,
                      "), the vocabulary, got ids from ", least, " to ", largest);
    const auto beam = search.options().beam_size;
    const auto n_best = options.n_best.value_or(1);
    TORCH_CHECK_VALUE(n_best >= 1 && n_best <= beam, kContinuousBeamSearch,
                      ": expected 1 <= n_best <= beam_size ", beam, ", got ", n_best);
  }

  // Starts sentences together, or, if that fails, each alone. Those that cannot start yet wait on.
  void start(const std::vector<WaitingSentence>& sentences, std::vector<SearchedSentence>& failed) {
    if (!search.can_start()) {
      waiting.insert(waiting.end(), sentences.begin(), sentences.end());
      return;
    }
    size_t longest = 0;
    for (const auto& one : sentences) longest = std::max(longest, one.source.size());
    const auto source = torch::full(
        {static_cast<int64_t>(sentences.size()), static_cast<int64_t>(longest)},
        model.special_tokens().pad_id, torch::TensorOptions(torch::kCPU).dtype(torch::kLong));
    auto* ids_of_row = source.mutable_data_ptr<int64_t>();
    std::vector<detail::SearchRequest> requests;
    for (const auto& one : sentences) {
      std::ranges::copy(one.source, ids_of_row);
      ids_of_row += longest;
      requests.push_back(one.request);
    }
    try {
      search.start(source.to(device), {}, requests);
    } catch (...) {
      if (sentences.size() > 1) {
        for (const auto& one : sentences) start({one}, failed);
      } else {
        failed.push_back({.id = requests.front().id, .error = std::current_exception()});
      }
    }
  }

  void start_waiting(std::vector<SearchedSentence>& failed) {
    if (waiting.empty() || !search.can_start()) return;
    // Without a token for padding, those of a length start together.
    const bool pads = model.special_tokens().pad_id >= 0;
    std::map<size_t, std::vector<WaitingSentence>> groups;
    for (auto& one : std::exchange(waiting, {})) {
      groups[pads ? 0 : one.source.size()].push_back(std::move(one));
    }
    for (const auto& [length, sentences] : groups) start(sentences, failed);
  }

  IncrementalModel& model;
  detail::Search search;
  int64_t max_sentences;
  torch::Device device;
  std::vector<WaitingSentence> waiting;
  std::unordered_set<size_t> ids;  // of those that wait or decode
};

ContinuousBeamSearch::ContinuousBeamSearch(IncrementalModel& model,
                                           const BeamSearchOptions& options, int64_t max_sentences,
                                           torch::Device device) {
  options.validate();
  detail::check_positive(kContinuousBeamSearch, "max_sentences", max_sentences);
  state_ = std::make_unique<State>(model, options, max_sentences, device);
}

ContinuousBeamSearch::~ContinuousBeamSearch() = default;
ContinuousBeamSearch::ContinuousBeamSearch(ContinuousBeamSearch&&) noexcept = default;
ContinuousBeamSearch& ContinuousBeamSearch::operator=(ContinuousBeamSearch&&) noexcept = default;

void ContinuousBeamSearch::admit(size_t id, std::vector<int64_t> source,
                                 const SentenceOptions& options) {
  state_->check(id, source, options);
  const auto& defaults = state_->search.options();
  const detail::SearchRequest request{.id = id,
                                      .source_length = static_cast<int64_t>(source.size()),
                                      .n_best = options.n_best.value_or(defaults.n_best),
                                      .attention = options.attention.value_or(defaults.attention),
                                      .prefix = options.prefix};
  state_->waiting.push_back({request, std::move(source)});
  state_->ids.insert(id);
}

std::vector<SearchedSentence> ContinuousBeamSearch::step() {
  const torch::InferenceMode inference;
  std::vector<SearchedSentence> ended;
  state_->start_waiting(ended);
  std::vector<detail::SentenceSearch> found;
  for (auto& sentence : state_->search.step()) {
    if (sentence.error) {
      ended.push_back({.id = sentence.request.id, .error = sentence.error});
    } else {
      found.push_back(std::move(sentence));
    }
  }
  auto results = state_->search.results(found);
  for (size_t i = 0; i < found.size(); ++i) {
    for (auto& hypothesis : results[i]) {
      if (!hypothesis.attention.defined()) continue;
      hypothesis.attention = hypothesis.attention.narrow(1, 0, found[i].columns()).clone();
    }
    ended.push_back({.id = found[i].request.id, .hypotheses = std::move(results[i])});
  }
  for (const auto& one : ended) state_->ids.erase(one.id);
  return ended;
}

bool ContinuousBeamSearch::cancel(size_t id) {
  if (state_->ids.erase(id) == 0) return false;
  const auto waits = std::erase_if(
      state_->waiting, [&](const WaitingSentence& one) { return one.request.id == id; });
  return waits > 0 || state_->search.cancel(id);
}

int64_t ContinuousBeamSearch::size() const { return static_cast<int64_t>(state_->ids.size()); }

int64_t ContinuousBeamSearch::max_sentences() const { return state_->max_sentences; }

}  // namespace attend
