#include "attend/decoding/beam_search.h"

#include <cmath>
#include <utility>

#include "decoding/search.h"
#include "detail/check.h"

namespace attend {

using detail::kBeamSearch;

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
  const auto batch = static_cast<size_t>(source.size(0));
  TORCH_CHECK_VALUE(prefixes.empty() || prefixes.size() == batch, kBeamSearch,
                    ": expected a prefix for each of the ", batch, " sentences, got ",
                    prefixes.size());
  if (batch == 0) return {};
  std::vector<detail::SearchRequest> requests;
  for (size_t b = 0; b < batch; ++b) {
    requests.push_back({.id = b,
                        .source_length = source.size(1),
                        .n_best = options.n_best,
                        .attention = options.attention});
    if (!prefixes.empty()) requests.back().prefix = prefixes[b];
  }
  detail::Search search(model, options);
  search.start(source, source_mask, requests);
  std::vector<detail::SentenceSearch> ended(batch);
  while (search.size() > 0) {
    for (auto& sentence : search.step()) {
      if (sentence.error) std::rethrow_exception(sentence.error);
      ended[sentence.request.id] = std::move(sentence);
    }
  }
  return search.results(ended);
}

}  // namespace attend
