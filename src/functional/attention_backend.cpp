#include "functional/attention_backend.h"

#include <array>

#include "detail/check.h"
#include "functional/attention_formula.h"
#include "functional/derivatives.h"

namespace attend::functional {
namespace {

// In order of preference. The last one takes everything.
constexpr std::array kBackends{
    &kBlockwiseAttention, &kAttentionToNothing, &kWindowAttention, &kLibTorchAttention, &kFormula,
};

unsigned extras_of(const AttentionInputs& in) {
  const auto is_learned = [](const torch::Tensor& x) { return x.defined() && x.requires_grad(); };
  const auto& p = in.parameters;
  return (p.dropout_p > 0.0 ? kDropout : kNoExtra) | (p.soft_cap > 0.0 ? kSoftCap : kNoExtra) |
         (p.sinks.defined() ? kSinks : kNoExtra) | (has_tangents(in) ? kTangents : kNoExtra) |
         (is_learned(in.mask.bias) || is_learned(in.mask.relative_bias) ? kLearnedBias : kNoExtra);
}

bool has_no_keys(const AttentionInputs& in) { return in.key.size(2) == 0; }

// Every row is empty. Products over no element are zero, and so are their gradients.
torch::Tensor attend_to_nothing(const AttentionInputs& in) {
  const auto scores = grouped_matmul(in.query, in.key.transpose(-2, -1));
  return grouped_matmul(scores, in.value);
}

}  // namespace

const AttentionBackend kAttentionToNothing{.name = "nothing to attend to",
                                           .extras = kDropout | kLearnedBias,
                                           .takes = has_no_keys,
                                           .run = attend_to_nothing,
                                           .describe = [](const auto&) { return std::string(); }};

const AttentionBackend& choose_backend(const AttentionInputs& in) {
  const auto extras = extras_of(in);
  for (const auto* backend : kBackends) {
    if ((extras & ~backend->extras) == 0 && backend->takes(in)) return *backend;
  }
  TORCH_INTERNAL_ASSERT(false, "the formula takes every attention");
}

AttentionInputs as_taken_by(const AttentionBackend& backend, const AttentionInputs& in) {
  auto result = in;
  if (!backend.takes_described_masks) result.mask = in.mask.dense(in.shape());
  if (in.is_bfloat16 && !backend.takes_bfloat16) {
    for (auto* x : {&result.query, &result.key, &result.value}) *x = x->to(torch::kFloat);
    result.is_bfloat16 = false;
  }
  return result;
}

bool has_tangents(const AttentionInputs& in) {
  return carries_tangent(in.query) || carries_tangent(in.key) || carries_tangent(in.value) ||
         carries_tangent(in.mask.bias) || carries_tangent(in.mask.relative_bias) ||
         carries_tangent(in.parameters.sinks);
}

std::string described_part(const char* what, const torch::Tensor& part) {
  if (!part.defined()) return {};
  return std::string(", ") + what + " " + detail::shape_string(part.sizes());
}

}  // namespace attend::functional
