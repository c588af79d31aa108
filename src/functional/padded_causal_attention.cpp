// A causal batch of sentences that are padded on the right or on the left, on the CPU: sentence by
// sentence, by the causal flag of LibTorch's kernel. A mask for the whole batch would lose the
// flag, and with it half of the time.
#include <optional>
#include <vector>

#include "functional/attention_backend.h"
#include "functional/fused_attention.h"

namespace attend::functional {
namespace {

// Shorter sentences cost more in calls than in the keys that are left out
// (benchmarks/attention_benchmark.cpp).
constexpr int64_t kShortestSentences = 512;

// The keys [begin, end) of a row of `allowed` keys, or nothing where they are no neighbours.
std::optional<KeyRange> neighbours(const bool* allowed, int64_t stride, int64_t source) {
  KeyRange range{0, source};
  while (range.begin < source && !allowed[range.begin * stride]) ++range.begin;
  if (range.begin == source) return KeyRange{0, 0};
  while (!allowed[(range.end - 1) * stride]) --range.end;
  for (auto key = range.begin; key < range.end; ++key) {
    if (!allowed[key * stride]) return std::nullopt;
  }
  return range;
}

// The keys of each sentence, where the mask is causal, of as many queries as keys, and each
// sentence's keys are neighbours.
std::optional<std::vector<KeyRange>> causal_sentences(const AttentionInputs& in) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  const auto [batch, heads, target, source] = in.shape();
  const auto& allowed = in.mask.allowed;
  const bool is_causal_row = in.query.is_cpu() && target == source && in.mask.band.left == kAll &&
                             in.mask.band.right == 0 && !in.mask.bias.defined() &&
                             allowed.defined() && allowed.size(1) == 1 && allowed.size(2) == 1 &&
                             allowed.size(3) == source;
  if (!is_causal_row || batch == 0 || target < kShortestSentences) return std::nullopt;
  auto one_head = in;  // heads of a group are repeated for the kernel
  for (auto* x : {&one_head.query, &one_head.key, &one_head.value}) *x = x->narrow(1, 0, 1);
  if (!is_flash(fused_choice(one_head, {.is_causal = true}))) return std::nullopt;
  std::vector<KeyRange> sentences;
  for (int64_t i = 0; i < batch; ++i) {
    const auto* row =
        allowed.const_data_ptr<bool>() + (allowed.size(0) == 1 ? 0 : i) * allowed.stride(0);
    const auto found = neighbours(row, allowed.stride(3), source);
    if (!found) return std::nullopt;
    sentences.push_back(*found);
  }
  return sentences;
}

bool takes_padded_causal(const AttentionInputs& in) { return causal_sentences(in).has_value(); }

AttentionOutput run_padded_causal(const AttentionInputs& in, bool /*wants_weights*/) {
  return {fused_attention_by_sentences(in, *causal_sentences(in)), {}};
}

}  // namespace

const AttentionBackend kPaddedCausal{
    .name = "LibTorch: flash attention, its causal flag, a sentence at a time",
    .extras = kNoExtra,
    .takes = takes_padded_causal,
    .run = run_padded_causal,
    .describe = [](const AttentionInputs&) { return std::string(); }};

}  // namespace attend::functional
