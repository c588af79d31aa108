#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/bfloat16.h"

namespace attend::kernels {

/// A [B, H, L, D] tensor by its strides, in elements; the last axis is contiguous.
template <typename Element>
struct HeadRows {
  Element* data;
  int64_t batch_stride, head_stride, row_stride;

  constexpr Element* at(int64_t batch, int64_t head) const {
    return data + batch * batch_stride + head * head_stride;
  }
};

/// A mask that broadcasts to [B, H, T, S], by its strides in elements: 0 along a broadcast axis;
/// along S 0 or 1; along T also -1, for values of the distance s - t alone.
template <typename Element>
struct MaskView {
  const Element* data = nullptr;  // null: no mask
  int64_t batch_stride = 0, head_stride = 0, target_stride = 0, source_stride = 0;

  constexpr const Element* row(int64_t batch, int64_t head, int64_t t) const {
    return data + batch * batch_stride + head * head_stride + t * target_stride;
  }
};

/// The gradient of a bias that broadcasts to [B, H, T, S], by its strides in elements: 0 along a
/// broadcast axis; along S 0 or 1; along T also -1, for a bias of the distance s - t alone.
template <typename T>
struct BiasGradient {
  T* data = nullptr;  // zeros; null: none is wanted
  int64_t batch_stride = 0, head_stride = 0, target_stride = 0, source_stride = 0;
  int64_t part_stride = 0;  // between the parts of it that are summed in the end, if there are any

  T* row(int64_t batch, int64_t head, int64_t t) const {
    return data + batch * batch_stride + head * head_stride + t * target_stride;
  }
};

/// Dropout of the weights. Whether a weight is kept depends on the seed and on its place in
/// [B, H, T, S] alone.
struct AttentionDropout {
  uint32_t threshold = 0;  // of 65536: the probability to be dropped; 0: no dropout
  uint64_t seed = 0;

  double scale() const { return 65536.0 / (65536.0 - threshold); }
};

/// One attention, output = softmax(cap(scale * query key^T) + bias) value, of T, float or double. The
/// rows of tensors are Stored: T, or BFloat16 of float.
template <typename T, typename Stored = T>
struct Attention {
  int64_t batch, heads, target, source, head_dim, value_dim;
  int64_t group;  // query heads that share a head of keys and values; divides heads
  HeadRows<const Stored> query, key, value;
  MaskView<T> bias;        // added to the scores
  MaskView<bool> allowed;  // false: the score counts as -infinity
  const T* slopes;         // [H] or null: -slopes[h] |i + S - T - j| is added to the scores
  const int64_t *query_segments, *key_segments;  // [B, T], [B, S] or null: a query sees its own
  int64_t band_left, band_right;  // i + S - T - left <= j <= i + S - T + right, besides the mask
  T scale;
  T soft_cap;      // above 0: cap(x) = soft_cap tanh(x / soft_cap)
  const T* sinks;  // [H] or null: the score of one more key, whose value is zero
  AttentionDropout dropout;
  MaskView<T> relative_bias = {};  // added too: of the distance alone
  // Of BFloat16: whether pairs of these are multiplied, which is faster where
  // prefers_bfloat16_products() (instruction_set.h). Then weights and gradients of scores are rounded to
  // bfloat16 before they are multiplied; sums are float's.
  bool multiplies_pairs = false;

  int64_t kv_heads() const { return heads / group; }
};

/// Attention block by block (Dao et al., 2022, arXiv:2205.14135, algorithm 1): the scores of a few
/// queries and keys exist at a time, and what is subtracted from a row's scores is the largest so far, or at
/// most 2 less: it is raised, and sums are scaled, only where a score exceeds it by more. Blocks
/// that the mask forbids as a whole are left out.
///
/// A row that may attend to nothing gets a zero output. A score that is NaN or +infinity makes the
/// output of its row NaN.
///
/// The work is divided into tasks, which may run in any order, on any thread: the results are the
/// same bits.
template <typename T, typename Stored>
int64_t attention_forward_tasks(const Attention<T, Stored>& attention);

/// Writes the part of task `task` of output [B, H, T, Dv], and, if not null, of sums [B, H, T, 2],
/// contiguous: a shift of each row, at most 2 below its largest score, and 1 / the sum of
/// exp(score - shift), the sink included; zeros where there is nothing to attend to. Not the logarithm of the sum,
/// whose rounding would be in every weight that is made of it. `workspace`:
/// attention_forward_workspace(attention) numbers, aligned to 64 bytes.
template <typename T, typename Stored>
void attention_forward(const Attention<T, Stored>& attention, HeadRows<Stored> output, T* sums,
                       int64_t task, T* workspace);
template <typename T, typename Stored>
int64_t attention_forward_workspace(const Attention<T, Stored>& attention);

/// Whether there are so few queries, those of a group's heads together, that the functions for few
/// are faster (benchmarks/attention_benchmark.cpp).
template <typename T, typename Stored>
bool has_few_queries(const Attention<T, Stored>& a) {
  const auto queries = a.target * a.group;
  return queries <= 4 || (queries <= 8 && a.source >= 1024);
}

/// The same results for few queries, of which a step of decoding has one: keys are read where they
/// lie, since to pack them would take longer than their products. The keys of a head are divided
/// into parts, a function of the sizes alone. There are B * Hkv * parts tasks; each writes partials
/// [B * Hkv * parts, group * T, 2 + Dv] at its own place.
template <typename T, typename Stored>
int64_t attention_of_few_parts(const Attention<T, Stored>& attention);
template <typename T, typename Stored>
void attention_of_few(const Attention<T, Stored>& attention, int64_t task, T* partial,
                      T* workspace);
template <typename T, typename Stored>
int64_t attention_of_few_workspace(const Attention<T, Stored>& attention);

/// Joins the partials of the heads [first, last) of all B * Hkv, which are used up.
template <typename T, typename Stored>
void attention_of_few_joined(const Attention<T, Stored>& attention, T* partials,
                             HeadRows<Stored> output, T* sums, int64_t first, int64_t last);

/// What dropout multiplies the weights of the rows [first, last) of all B * H * T with: kept [rows, S],
/// 0 or dropout.scale().
template <typename T>
void attention_kept(const AttentionDropout& dropout, int64_t source, T* kept, int64_t first,
                    int64_t last);

/// Weights before dropout, or their gradient, of all heads and queries or of some, by strides in
/// elements; the last axis, S, is contiguous.
template <typename Element>
struct WeightsView {
  Element* data = nullptr;                                       // null: none are wanted
  int64_t batch_stride = 0, head_stride = 0, target_stride = 0;  // head_stride 0: of a mean
  // [H], [T] or null: where those of a head or query lie, ascending, or -1: they are not wanted.
  // Null: each at its own place.
  const int64_t *heads = nullptr, *queries = nullptr;
  const std::remove_const_t<Element>* shares = nullptr;  // [H] or null: of each head in the mean

  bool has_head(int64_t head) const { return heads == nullptr || heads[head] >= 0; }
  bool has_query(int64_t t) const { return queries == nullptr || queries[t] >= 0; }
  Element* row(int64_t batch, int64_t head, int64_t t) const {
    return data + batch * batch_stride + (heads == nullptr ? head : heads[head]) * head_stride +
           (queries == nullptr ? t : queries[t]) * target_stride;
  }
  std::remove_const_t<Element> share(int64_t head) const {
    return shares == nullptr ? std::remove_const_t<Element>{1} : shares[head];
  }
};

/// Weights exp(score - shift) / sum, from the `sums` of the forward pass: scores are computed again
/// block by block, the same bits as there unless pairs were multiplied, and each weight is written once, that of a mean once a
/// head. There are attention_weights_tasks; `workspace`: attention_weights_workspace numbers.
///
/// The bits do not depend on which weights are wanted. What is hidden is zero. A row whose output is NaN because of its scores is NaN.
template <typename T, typename Stored>
int64_t attention_weights_tasks(const Attention<T, Stored>& attention,
                                const WeightsView<T>& weights);
template <typename T, typename Stored>
void attention_weights(const Attention<T, Stored>& attention, const T* sums,
                       const WeightsView<T>& weights, int64_t task, T* workspace);
template <typename T, typename Stored>
int64_t attention_weights_workspace(const Attention<T, Stored>& attention);

template <typename T, typename Stored = T>
struct AttentionGradients {
  HeadRows<T> query;
  HeadRows<Stored> key, value;
};

/// What the backward pass takes beside the attention: `deltas` from attention_deltas and, with a
/// gradient of the weights, attention_weight_deltas.
template <typename T, typename Stored = T>
struct AttentionBackward {
  HeadRows<const Stored> output_gradient;
  const T *sums, *deltas;  // [B, H, T, 2] of the forward pass; [B, H, T]
  WeightsView<const T> weights_gradient;
  AttentionGradients<T, Stored> gradients;
  T* query_parts;  // [attention_key_parts - 1, B, H, T, D]; null if there is one part
  // Of attention_bias_parts parts, not broadcast along S: the gradient of a bias that all keys of a
  // query share is deltas times the sink's weight, since it changes no other weight.
  BiasGradient<T> bias;
};

/// deltas[b, h, t] = output . output_gradient, for the heads [first, last) of all B * H.
/// Source: Dao et al., 2022, arXiv:2205.14135, appendix B.4.
template <typename T, typename Stored>
void attention_deltas(const Attention<T, Stored>& attention, HeadRows<const Stored> output,
                      HeadRows<const Stored> output_gradient, T* deltas, int64_t first,
                      int64_t last);

/// Adds what a gradient of the weights adds to them, weights . gradient:
/// attention_weight_deltas_tasks tasks, with the workspace of attention_weights.
template <typename T, typename Stored>
int64_t attention_weight_deltas_tasks(const Attention<T, Stored>& attention);
template <typename T, typename Stored>
void attention_weight_deltas(const Attention<T, Stored>& attention, const T* sums,
                             const WeightsView<const T>& gradient, T* deltas, int64_t task,
                             T* workspace);

/// Into how many parts the keys of a head are divided, so that there are tasks for several threads:
/// a function of the sizes alone. Each part has gradients of the query of its own: the first part
/// those of AttentionBackward::gradients, the others query_parts. The gradient is their sum.
template <typename T, typename Stored>
int64_t attention_key_parts(const Attention<T, Stored>& attention);

/// Sentences and heads that share a bias would add to one gradient. They are one task, or, where
/// there would be too few, several with a part of the gradient each, whose sum it is: so many, a
/// function of the sizes alone.
template <typename T, typename Stored>
int64_t attention_bias_parts(const Attention<T, Stored>& attention, const BiasGradient<T>& bias);

/// As in the forward pass, in attention_backward_tasks: the gradients of the keys and values of one
/// part of one head, or of some that share a bias, and what they add to that of the queries and of
/// the bias.
/// Source: Dao et al., 2022, arXiv:2205.14135, algorithm 4.
template <typename T, typename Stored>
int64_t attention_backward_tasks(const Attention<T, Stored>& attention,
                                 const BiasGradient<T>& bias);
template <typename T, typename Stored>
void attention_backward(const Attention<T, Stored>& attention,
                        const AttentionBackward<T, Stored>& backward, int64_t task, T* workspace);
template <typename T, typename Stored>
int64_t attention_backward_workspace(const Attention<T, Stored>& attention);

}  // namespace attend::kernels
