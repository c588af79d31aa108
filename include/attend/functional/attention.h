#pragma once

// For those who write modules of their own.

#include <torch/torch.h>

#include <optional>
#include <string>

#include "attend/export.h"
#include "attend/functional/mask.h"
#include "attend/functional/weights_request.h"

namespace attend {

/// What an attention returns; structured bindings work.
struct AttentionOutput {
  torch::Tensor output;
  torch::Tensor weights;  // undefined unless requested
};

/// f of an additive score.
enum class ScoreFunction {
  kTanh,
  kLeakyRelu,  // x where x > 0, else negative_slope x
  kRelu,
  kSilu,  // x / (1 + exp(-x))
  kGelu,  // x Phi(x), exact
};

namespace functional {

/// The numbers of one attention that are not tensors.
struct AttentionParameters {
  double dropout_p = 0.0;            // on the weights, applied always; [0, 1)
  std::optional<double> scale = {};  // of the scores; default 1 / sqrt(D)
  double soft_cap = 0.0;     // > 0: scores become soft_cap tanh(score / soft_cap), before the mask
                             // (Gemma Team, 2024, arXiv:2408.00118, section 2); 0: they stay
  torch::Tensor sinks = {};  // [H], if defined: the score of one more key, whose value is zero, so
                             // that weights may sum to less than 1 (OpenAI, 2025, arXiv:2508.10925)
};

/// Scaled dot-product attention.
///
///   output = softmax(query key^T * scale + mask) value
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, equation 1.
/// Shapes: query [B, H, T, D], key [B, Hkv, S, D], value [B, Hkv, S, Dv] -> output [B, H, T, Dv];
///         or without heads [B, T, D], or without heads and batch [T, D]. Hkv divides H: query head
///         h attends to the keys of head h Hkv / H (grouped-query attention; Ainslie et al., 2023,
///         arXiv:2305.13245; with Hkv 1 multi-query attention; Shazeer, 2019, arXiv:1911.02150).
/// Returns: the output by the fused kernel, the same bits with and without a request; on request
///         the weights before dropout, in float32 or wider: [B, H, T, S], their mean [B, T, S];
///         [B, T, S] or [T, S] for input without heads; of the chosen heads and queries only. Both
///         are differentiable.
/// Throws: c10::Error for shapes, devices and dtypes; c10::ValueError for dropout_p.
/// Note:   derivatives of every order and forward-mode AD work at any length, on every device and
///         with dropout. Those beyond the first, and inputs that carry a tangent, are computed by
///         the formula, which holds all [B, H, T, S] scores. Where a fused kernel has drawn the
///         mask of dropout, it is found by H / Hkv ceil(T / Dv) more backward passes of the kernel.
/// Note:   NaN and infinities that a query sees show in its output and gradients as by the formula.
///         On the CPU, keys and values that no query of their head sees, such as padding, and
///         queries that see no key may hold anything: they count as zeros. What some queries of a
///         head see and others do not may show in the others too, since a weight of zero times NaN
///         is NaN.
/// Note:   on the CPU, numbers of 16 bits are computed in float32, and the output is rounded. The
///         result is the same bits for any number of threads. Memory is linear in T and S, beside
///         masks, biases and their gradients.
/// Note:   on the CPU, dropout_p is rounded to a multiple of 1 / 65536, and so is the scale of what
///         is kept.
ATTEND_API AttentionOutput scaled_dot_product_attention(
    const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
    const AttentionMask& mask = {}, const WeightsRequest& weights = WeightsRequest::kNone,
    const AttentionParameters& parameters = {});

/// Which path `scaled_dot_product_attention` takes for these inputs, and what becomes of the mask,
/// in words: "blockwise kernel, mask [2, 1, 1, 5]" or "LibTorch: flash attention, its causal flag".
/// "in float32" at the end: numbers of 16 bits that are computed so.
/// Nothing is computed. docs/masks.md is made with it.
ATTEND_API std::string explain_attention(const torch::Tensor& query, const torch::Tensor& key,
                                         const torch::Tensor& value, const AttentionMask& mask = {},
                                         const AttentionParameters& parameters = {});

/// The parameters of one additive attention.
struct AdditiveAttentionParameters {
  double dropout_p = 0.0;            // on the weights, applied always; [0, 1)
  std::optional<double> scale = {};  // of the sum over a; default 1
  ScoreFunction score_function = ScoreFunction::kTanh;
  double negative_slope = 0.2;  // of kLeakyRelu
  double score_clip = 0.0;  // C > 0: scores become C tanh(score), before the mask and its biases
                            // (Bello et al., 2017, arXiv:1611.09940, section A.1); 0: they stay
  torch::Tensor key_term = {};  // [B, H, S], if defined: added to the scores of each key; without
                                // heads [B, S], without batch [S]
};

/// Additive attention on projected queries and keys.
///
///   score(t, s) = scale * sum_a scale_vector_a f(query_ta + key_sa) + key_term_s
///   output = softmax(clip(score) + mask) value
///
/// Source: Bahdanau et al., 2015, arXiv:1409.0473, section A.1.2, where f is tanh. With a leaky ReLU
///         it is the attention of GATv2 (Brody et al., 2022, arXiv:2105.14491, equation 7).
/// Shapes: query [B, H, T, A], key [B, H, S, A], scale_vector [H, A], value [B, H, S, Dv]
///         -> output [B, H, T, Dv], weights [B, H, T, S] or their mean [B, T, S];
///         or without heads query [B, T, A], key [B, S, A], scale_vector [A], value [B, S, Dv]
///         -> output [B, T, Dv], weights [B, T, S]; or all of them without B too.
/// Returns: the output, the same bits with and without a request; on request weights before dropout,
///         scores or log-probabilities (`WeightsRequest::values`), in float32 or wider. All are
///         differentiable, with respect to all tensors, biases of the mask included.
/// Throws: c10::Error for shapes, devices and dtypes; c10::ValueError for dropout_p and score_clip.
/// Note:   on the CPU it is one operation forward and one backward: neither f of all pairs,
///         [B, H, T, S, A], nor their scores are held. Keys that nobody sees are not computed.
///         Numbers of 16 bits are computed in float32, and the output is rounded.
/// Note:   derivatives beyond the first, tangents, and other devices: by the formula, which holds
///         all that. What is not a number: as `scaled_dot_product_attention`.
ATTEND_API AttentionOutput additive_attention(const torch::Tensor& query, const torch::Tensor& key,
                                              const torch::Tensor& scale_vector,
                                              const torch::Tensor& value,
                                              const AttentionMask& mask = {},
                                              const WeightsRequest& weights = WeightsRequest::kNone,
                                              const AdditiveAttentionParameters& parameters = {});

}  // namespace functional
}  // namespace attend
