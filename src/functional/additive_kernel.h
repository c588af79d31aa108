#pragma once

#include "functional/additive_formula.h"
#include "functional/dropout_seed.h"
#include "kernels/cpu/additive_attention.h"

// What the kernels of additive attention, on the CPU and on CUDA devices, take and return.
namespace attend::functional {

struct AdditiveKernelOutput {
  torch::Tensor output;  // [B, H, T, Dv]
  torch::Tensor sums;    // [B, H, T, 2], for the backward pass
  torch::Tensor scores;  // [B, H, T, S], if they were wanted
};

/// As the inputs are; undefined: not wanted.
struct AdditiveKernelGradients {
  torch::Tensor query, key, vector, value, bias, key_term;
};

/// Rows of contiguous numbers that are not negated when they are read.
inline torch::Tensor additive_rows(const torch::Tensor& x) {
  const bool has_rows = x.dim() == 0 || x.size(-1) == 1 || x.stride(-1) == 1;
  return has_rows ? x.resolve_neg() : x.resolve_neg().contiguous();
}

inline torch::Tensor as_additive(const torch::Tensor& x) {
  return x.defined() ? x.resolve_neg().contiguous() : x;
}

template <typename T>
kernels::HeadRows<const T> additive_view(const torch::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

inline int64_t broadcast_stride(const torch::Tensor& x, int64_t axis) {
  return x.size(axis) == 1 ? 0 : x.stride(axis);
}

template <typename T>
kernels::MaskView<T> additive_mask(const torch::Tensor& x) {
  if (!x.defined()) return {};
  return {x.const_data_ptr<T>(), broadcast_stride(x, 0), broadcast_stride(x, 1),
          broadcast_stride(x, 2), broadcast_stride(x, 3)};
}

inline kernels::AdditiveScore kernel_score(ScoreFunction function) {
  switch (function) {
    case ScoreFunction::kTanh:
      return kernels::AdditiveScore::kTanh;
    case ScoreFunction::kLeakyRelu:
    case ScoreFunction::kRelu:
      return kernels::AdditiveScore::kLeakyRelu;
    case ScoreFunction::kSilu:
      return kernels::AdditiveScore::kSilu;
    case ScoreFunction::kGelu:
      return kernels::AdditiveScore::kGelu;
  }
  TORCH_INTERNAL_ASSERT(false, "an unknown score function");
}

/// The description of inputs that are rows (`additive_rows`), with pointers into them.
template <typename T>
kernels::AdditiveAttention<T> described_additive(const AdditiveInputs& in) {
  const auto& p = in.parameters;
  kernels::AdditiveAttention<T> a{.batch = in.query.size(0),
                                  .heads = in.query.size(1),
                                  .target = in.query.size(2),
                                  .source = in.key.size(2),
                                  .hidden_dim = in.query.size(3),
                                  .value_dim = in.value.size(3),
                                  .query = additive_view<T>(in.query),
                                  .key = additive_view<T>(in.key),
                                  .value = additive_view<T>(in.value),
                                  .vector = in.vector.const_data_ptr<T>(),
                                  .key_term = nullptr,
                                  .bias = additive_mask<T>(in.mask.bias),
                                  .allowed = additive_mask<bool>(in.mask.allowed),
                                  .band_left = in.mask.band.left,
                                  .band_right = in.mask.band.right,
                                  .score = kernel_score(p.score_function),
                                  .slope = T{0},
                                  .scale = static_cast<T>(p.scale.value_or(1.0)),
                                  .score_clip = static_cast<T>(p.score_clip),
                                  .threshold = 0,
                                  .keep_scale = T{1},
                                  .seed = in.seed.value_or(0)};
  if (p.key_term.defined()) a.key_term = p.key_term.const_data_ptr<T>();
  if (p.score_function == ScoreFunction::kLeakyRelu) a.slope = static_cast<T>(p.negative_slope);
  if (p.dropout_p > 0.0) {
    const auto rule = dropout_rule(p.dropout_p);
    a.threshold = rule.threshold;
    a.keep_scale = static_cast<T>(rule.scale);
  }
  return a;
}

}  // namespace attend::functional
