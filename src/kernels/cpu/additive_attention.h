#pragma once

#include <cstdint>

#include "kernels/cpu/attention.h"

namespace attend::kernels {

/// f of an additive score.
enum class AdditiveScore {
  kTanh,
  kLeakyRelu,  // max(x, 0) + slope min(x, 0): ReLU with a slope of 0
  kSilu,       // x / (1 + e^-x)
  kGelu,       // x Phi(x)
};

/// Queries that a task computes at a time.
constexpr int64_t kAdditiveRows = 16;

/// Additive attention, output = dropout(softmax(score)) value, with
///
///   score(t, s) = clip(scale * sum_a vector_a f(query_ta + key_sa) + key_term_s) + bias(t, s),
///   clip(x) = score_clip tanh(x), or x where score_clip is 0
template <typename T>
struct AdditiveAttention {
  int64_t batch, heads, target, source, hidden_dim, value_dim;  // B, H, T, S, A, Dv
  HeadRows<const T> query, key, value;                          // [B, H, ., A], [B, H, S, Dv]
  const T* vector;                                              // [H, A], contiguous
  const T* key_term;                                            // [B, H, S], contiguous; or null
  MaskView<T> bias;               // added to the scores; where it is -infinity the key is hidden
  MaskView<bool> allowed;         // false: the key is hidden
  int64_t band_left, band_right;  // i + S - T - left <= j <= i + S - T + right, besides the mask
  AdditiveScore score;
  T slope, scale, score_clip;
  // Weights are kept, times keep_scale, where the number that `dropout` (dropout.h) draws for this
  // element of the [B, H, T, S] weights is at least `threshold`; 0: all of them, unscaled.
  uint32_t threshold;
  T keep_scale;
  uint64_t seed;

  int64_t row_blocks() const { return (target + kAdditiveRows - 1) / kAdditiveRows; }
};

/// Into how many parts the keys are divided, so that there are tasks for many threads. It depends
/// on the sizes alone, and so do all results.
template <typename T>
int64_t additive_parts(const AdditiveAttention<T>& a) {
  constexpr int64_t kTasks = 32, kLeastKeys = 128;
  const auto tasks = a.batch * a.heads * a.row_blocks();
  const auto wanted = tasks < kTasks ? (kTasks + tasks - 1) / (tasks + (tasks == 0)) : 1;
  const auto most = a.source / kLeastKeys;
  return most < 1 ? 1 : most < wanted ? most : wanted;
}

template <typename T>
struct AdditiveResult {
  HeadRows<T> output;  // [B, H, T, Dv]
  // [B, H, T, 2]: the greatest score, and 1 / the sum of the softmax, 0 where there is no key. Not
  // the logarithm of the sum, whose rounding would be in every weight of the backward pass.
  T* sums;
  T* scores;  // [B, H, T, S] or null: the scores, -infinity where a key is hidden
  // With several parts of the keys: what each has found, [B, H, T, parts, 2 + Dv]: the greatest
  // score, the sum and the output before it is divided by the sum.
  T* parts;
};

/// Tasks [first, last) of B * H * row_blocks * parts. Neither f of all pairs nor their scores exist
/// at a time: a task has the scores of kAdditiveRows queries.
///
/// Keys that no query of a task sees are not looked at, nor are queries that see none of its keys.
/// Of a score that is NaN or +infinity, the output and the second of `sums` of its query are NaN. A query that
/// sees no key gets zeros.
template <typename T>
void additive_forward(const AdditiveAttention<T>& attention, const AdditiveResult<T>& result,
                      int64_t first, int64_t last);

/// After all of them, with several parts: joins what they found for queries [first, last) of
/// B * H * T.
template <typename T>
void additive_join(const AdditiveAttention<T>& attention, const AdditiveResult<T>& result,
                   int64_t first, int64_t last);

/// The gradients of the output or of the scores or of both, and those that are made of them: all
/// contiguous and filled with zeros before the first phase.
template <typename T>
struct AdditiveGradients {
  HeadRows<const T> output_gradient;  // [B, H, T, Dv]; null data: there is none
  HeadRows<const T> output;           // of the forward pass, as are `sums`
  const T* sums;
  const T* score_gradient;  // [B, H, T, S]; null: there is none

  T *query, *key;          // [B, H, T, A], [B, H, S, A]
  T* value;                // [B, H, S, Dv]; null: it is not wanted
  T* vector;               // [B, H, parts, A]; in the end the sum is in the first part
  T *row_sums, *key_sums;  // [B, H, T]; [B, H, S], the gradient of the key term
  BiasGradient<T> bias;    // of one part, not broadcast along both T and S
};

/// Into how many parts the backward pass divides the queries and the keys.
template <typename T>
int64_t additive_backward_parts(const AdditiveAttention<T>& a) {
  constexpr int64_t kTasks = 32, kLeast = 32;
  const auto heads = a.batch * a.heads;
  const auto wanted = heads < kTasks ? (kTasks + heads - 1) / (heads + (heads == 0)) : 1;
  const auto most = (a.target < a.source ? a.target : a.source) / kLeast;
  return most < 1 ? 1 : most < wanted ? most : wanted;
}

/// Tasks [first, last) of B * H * parts of a phase in [0, parts), or, where sentences or heads share
/// a bias gradient, of as many groups of them. In each phase a part of the queries meets one part of
/// the keys and no other does, so that no two tasks of a phase write to the same place and every
/// sum has one order.
///
/// f is computed once for each query, key and hidden unit: it is kept in the first cache until the
/// gradient of the score is known.
template <typename T>
void additive_backward(const AdditiveAttention<T>& attention, const AdditiveGradients<T>& gradients,
                       int64_t phase, int64_t first, int64_t last);

/// How many tasks a phase has.
template <typename T>
int64_t additive_backward_tasks(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g) {
  const bool by_batch = g.bias.data == nullptr || g.bias.batch_stride != 0;
  const bool by_head = g.bias.data == nullptr || g.bias.head_stride != 0;
  return (by_batch ? a.batch : 1) * (by_head ? a.heads : 1) * additive_backward_parts(a);
}

/// After the last phase, for heads [first, last) of B * H: the gradients become what they are from
/// the sums.
template <typename T>
void additive_backward_finish(const AdditiveAttention<T>& attention,
                              const AdditiveGradients<T>& gradients, int64_t first, int64_t last);

}  // namespace attend::kernels
