#include "functional/additive_formula.h"

#include "attend/functional/dropout.h"
#include "functional/attention_formula.h"
#include "functional/dropout_seed.h"
#include "functional/softmax.h"

namespace attend::functional {
namespace {

torch::Tensor function_of(const torch::Tensor& x, const AdditiveAttentionParameters& parameters) {
  switch (parameters.score_function) {
    case ScoreFunction::kTanh:
      return torch::tanh(x);
    case ScoreFunction::kLeakyRelu:
      return torch::leaky_relu(x, parameters.negative_slope);
    case ScoreFunction::kRelu:
      return torch::relu(x);
    case ScoreFunction::kSilu:
      return torch::silu(x);
    case ScoreFunction::kGelu:
      return torch::gelu(x);
  }
  TORCH_INTERNAL_ASSERT(false, "an unknown score function");
}

torch::Tensor formula_scores(const AdditiveInputs& in) {
  const auto& p = in.parameters;
  const auto sums = in.query.unsqueeze(3) + in.key.unsqueeze(2);  // [B, H, T, S, A]
  const auto heads = in.vector.size(0);
  const auto vector = heads == 1 ? in.vector[0] : in.vector.view({heads, 1, -1, 1});
  auto scores = torch::matmul(function_of(sums, p), vector);  // [B, H, T, S]
  if (heads > 1) scores = scores.squeeze(-1);
  if (p.scale) scores = scores * *p.scale;
  scores = at_least_float32(scores);
  if (p.key_term.defined()) scores = scores + p.key_term.unsqueeze(2);
  if (p.score_clip > 0.0) scores = torch::tanh(scores) * p.score_clip;
  return in.mask.apply(scores);
}

// With the mask that a kernel draws from the seed, on any device.
torch::Tensor dropped_weights(const AdditiveInputs& in, const torch::Tensor& weights) {
  const double p = in.parameters.dropout_p;
  if (p == 0.0) return weights;
  if (!in.seed) return dropout(weights, p);
  if (weights.is_cpu()) return dropout_with_seed(weights, p, *in.seed);
  const auto ones = torch::ones(weights.sizes(), weights.options().device(torch::kCPU));
  return weights * dropout_with_seed(ones, p, *in.seed).to(weights.device());
}

}  // namespace

AdditiveOutput additive_formula(const AdditiveInputs& in) {
  const auto scores = formula_scores(in), weights = softmax_or_zero(scores);
  const auto dropped = dropped_weights(in, weights);
  return {torch::matmul(dropped.to(in.value.scalar_type()), in.value), scores};
}

}  // namespace attend::functional
