#include "kernels/cpu/additive_attention.h"

#include <vector>

#include "kernels/cpu/additive_work.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/additive_backward.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/additive-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// The sums over a of kRows queries from r on and of the keys [i, i + count), into work.tile.
template <class Score, int64_t kRows, typename T>
void score_kept_rows(const AdditiveAttention<T>& a, const AdditiveWork<T>& work, int64_t r,
                     int64_t i, int64_t count) {
  const auto kept_size = rounded_up<T>(a.hidden_dim) * kRows * kTileKeys;
  for (int64_t c = 0; c < count; c += kTileKeys) {
    T* to[kRows];
    for (int64_t row = 0; row < kRows; ++row) to[row] = work.tile[row] + c;
    if (sees_tile(work, r, kRows, i + c)) {
      score_tile<Score, kRows, true, T>(work.query_rows + r, work.key_rows + i + c, work.vector,
                                        a.hidden_dim, to, work.kept + c / kTileKeys * kept_size);
    } else {
      for (int64_t row = 0; row < kRows; ++row) fill(to[row], kTileKeys, T{0});
    }
  }
}

// The sums over a of query r and of the keys [i, i + count), in `scores`, become the gradients of
// what was added to them; the gradients of bias and key term are theirs too. work.scores gets the
// weights after dropout, for the gradient of the value.
template <typename T>
void score_gradients(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t batch,
                     int64_t head, int64_t r, int64_t i, int64_t count, T* scores,
                     AdditiveWork<T>& work) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  const auto index = batch * a.heads + head, t = work.queries[r], row = index * a.target + t;
  T* weights = work.scores + r * work.stride + i;
  const T* products = work.products + r * work.stride + i;
  T slopes[kMostTileKeys + kRowPadding], kept_weights[kMostTileKeys + kRowPadding];
  finish_scores(a, batch, head, work, r, i, count, scores, slopes);
  fill(scores + count, lanes, kHidden<T>);
  if (g.output_gradient.data != nullptr) {
    const auto shift = hn::Set(d, g.sums[2 * row]), factor = hn::Set(d, g.sums[2 * row + 1]);
    for (int64_t c = 0; c < count; c += lanes) {
      const auto weight = hn::Mul(hn::Exp(d, hn::Sub(hn::LoadU(d, scores + c), shift)), factor);
      const auto kept =  // `weights` holds the factors of dropout
          a.threshold == 0 ? weight : hn::Mul(weight, hn::LoadU(d, weights + c));
      hn::StoreU(hn::Mul(weight, hn::LoadU(d, products + c)), d, scores + c);
      hn::StoreU(kept, d, kept_weights + c);
    }
    // Not whole vectors: the factors of the next keys stand behind them.
    for (int64_t c = 0; c < count; ++c) weights[c] = kept_weights[c];
  } else {
    fill(scores, count, T{0});
  }
  if (g.score_gradient != nullptr) {
    const T* more = g.score_gradient + row * a.source;
    for (int64_t c = 0; c < count; ++c) scores[c] += more[work.keys[i + c]];
  }
  if (!work.all_visible) {
    const bool* visible = work.visible + r * work.stride + i;
    for (int64_t c = 0; c < count; ++c) {
      scores[c] = visible[c] ? scores[c] : T{0};
      weights[c] = visible[c] ? weights[c] : T{0};
    }
  }
  if (g.bias.data != nullptr) {
    T* bias = g.bias.data + batch * g.bias.batch_stride + head * g.bias.head_stride +
              t * g.bias.target_stride;
    for (int64_t c = 0; c < count; ++c) {
      bias[work.keys[i + c] * g.bias.source_stride] += scores[c];
    }
  }
  T sum{0};
  T* key_sums = g.key_sums + index * a.source;
  for (int64_t c = 0; c < count; ++c) {
    if (a.score_clip != T{0}) scores[c] *= slopes[c];
    sum += scores[c];
    key_sums[work.keys[i + c]] += scores[c];
  }
  g.row_sums[row] += sum;
  fill(scores + count, kTileKeys, T{0});
}

// The gradients of queries, keys and vector out of those in work.tile.
template <class Score, int64_t kRows, typename T>
void add_gradients_of_rows(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g,
                           int64_t index, int64_t r, int64_t i, int64_t count,
                           const AdditiveWork<T>& work) {
  const auto kept_size = rounded_up<T>(a.hidden_dim) * kRows * kTileKeys;
  // Summed by themselves first: in one sum over many keys more would be rounded away.
  T* to_query[kRows];
  for (int64_t row = 0; row < kRows; ++row) {
    to_query[row] = work.of_query[row];
    fill(to_query[row], a.hidden_dim, T{0});
  }
  for (int64_t c = 0; c < count; c += kTileKeys) {
    if (!sees_tile(work, r, kRows, i + c)) continue;
    const T* of_tile[kRows];
    for (int64_t row = 0; row < kRows; ++row) of_tile[row] = work.tile[row] + c;
    T* to_key[kTileKeys];
    for (int64_t key = 0; key < kTileKeys; ++key) {
      to_key[key] = i + c + key < work.count
                        ? g.key + (index * a.source + work.keys[i + c + key]) * a.hidden_dim
                        : work.scratch;
    }
    gradient_tile<Score, kRows, T>(work.query_rows + r, work.key_rows + i + c, of_tile,
                                   work.kept + c / kTileKeys * kept_size, a.hidden_dim, to_query,
                                   to_key, work.of_vector);
  }
  for (int64_t row = 0; row < kRows; ++row) {
    T* const sums = g.query + (index * a.target + work.queries[r + row]) * a.hidden_dim;
    for (int64_t e = 0; e < a.hidden_dim; ++e) sums[e] += to_query[row][e];
  }
}

template <class Score, int64_t kRows, typename T>
HWY_INLINE void backward_rows(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g,
                              int64_t batch, int64_t head, int64_t r, int64_t i, int64_t count,
                              AdditiveWork<T>& work) {
  score_kept_rows<Score, kRows>(a, work, r, i, count);
  for (int64_t row = 0; row < kRows; ++row) {
    score_gradients(a, g, batch, head, r + row, i, count, work.tile[row], work);
  }
  add_gradients_of_rows<Score, kRows>(a, g, batch * a.heads + head, r, i, count, work);
}

// The gradients of all pairs.
template <class Score, typename T>
void backward_pairs(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t batch,
                    int64_t head, AdditiveWork<T>& work) {
  const auto row = static_cast<int64_t>(sizeof(T)) * 2 * rounded_up<T>(a.hidden_dim);
  const auto at_once =
      most(kTileKeys, least(kKeptBytes / row / kTileKeys * kTileKeys, kMostTileKeys));
  for (int64_t i = 0; i < work.count; i += at_once) {
    const auto count = least(at_once, work.count - i);
    int64_t r = 0;
    for (; r + 2 <= work.rows; r += 2) {
      backward_rows<Score, 2>(a, g, batch, head, r, i, count, work);
    }
    if (r < work.rows) backward_rows<Score, 1>(a, g, batch, head, r, i, count, work);
  }
}

// The gradients of the weights of kRows queries, less the sum of them times the weights, which is
// output_gradient . output. Both are summed in float64, since what is left of them may be small. Where
// there is dropout, work.scores holds its factors.
template <int64_t kRows, typename T>
HWY_INLINE void centre_rows(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g,
                            int64_t batch, int64_t head, const T* const* of_output, int64_t r,
                            const AdditiveWork<T>& work) {
  double dots[kRows][kTileKeys], deltas[kRows];
  for (int64_t row = 0; row < kRows; ++row) {
    const T* output = g.output.at(batch, head) + work.queries[r + row] * g.output.row_stride;
    const T* outputs[kTileKeys] = {output, output, output, output};
    double dot[1][kTileKeys];
    wide_dot_tile<1>(of_output + r + row, outputs, a.value_dim, dot);
    deltas[row] = dot[0][0];
  }
  for (int64_t i = 0; i < work.count; i += kTileKeys) {
    wide_dot_tile<kRows>(of_output + r, work.value_rows + i, a.value_dim, dots);
    for (int64_t row = 0; row < kRows; ++row) {
      const auto at = (r + row) * work.stride + i;
      for (int64_t c = 0; c < kTileKeys; ++c) {
        const double factor = a.threshold == 0 ? 1.0 : static_cast<double>(work.scores[at + c]);
        work.products[at + c] = static_cast<T>(factor * dots[row][c] - deltas[row]);
      }
    }
  }
}

// What the gradients of a block's pairs are made of: products with its values, and dropout.
template <typename T>
void prepare_backward(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t batch,
                      int64_t head, const T** of_output, AdditiveWork<T>& work) {
  prepare_terms(a, batch, head, work);
  if (g.output_gradient.data == nullptr) return;
  for (int64_t r = 0; r < work.rows; ++r) {
    of_output[r] =
        g.output_gradient.at(batch, head) + work.queries[r] * g.output_gradient.row_stride;
  }
  int64_t drawn = -1;
  for (int64_t r = 0; r < work.rows && a.threshold != 0; ++r) {
    draw_dropout(a, (batch * a.heads + head) * a.target + work.queries[r], work.keys, work.count,
                 work.numbers, drawn, work.scores + r * work.stride);
  }
  int64_t r = 0;
  for (; r + 2 <= work.rows; r += 2) centre_rows<2>(a, g, batch, head, of_output, r, work);
  if (r < work.rows) centre_rows<1>(a, g, batch, head, of_output, r, work);
}

template <typename T>
void add_value_gradients(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g,
                         int64_t index, const T* const* of_output, const AdditiveWork<T>& work) {
  if (g.value == nullptr || g.output_gradient.data == nullptr) return;
  for (int64_t i = 0; i < work.count; ++i) {
    work.gradient_rows[i] = g.value + (index * a.source + work.keys[i]) * a.value_dim;
  }
  add_products<T>(work.gradient_rows, work.count, work.scores, 1, work.stride, of_output, work.rows,
                  a.value_dim);
}

template <typename T>
void backward_pairs_by_score(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g,
                             int64_t batch, int64_t head, AdditiveWork<T>& work) {
  switch (a.score) {
    case AdditiveScore::kTanh:
      return backward_pairs<TanhScore>(a, g, batch, head, work);
    case AdditiveScore::kLeakyRelu:
      return backward_pairs<ReluScore>(a, g, batch, head, work);
    case AdditiveScore::kSilu:
      return backward_pairs<SiluScore>(a, g, batch, head, work);
    case AdditiveScore::kGelu:
      return backward_pairs<GeluScore>(a, g, batch, head, work);
  }
}

template <typename T>
void backward_block(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t batch,
                    int64_t head, int64_t first, int64_t last, const Range& keys,
                    AdditiveWork<T>& work) {
  list_visible(a, batch, head, first, last, keys, work);
  if (work.count == 0) return;
  const T* of_output[kAdditiveRows];
  prepare_backward(a, g, batch, head, of_output, work);
  backward_pairs_by_score(a, g, batch, head, work);
  add_value_gradients(a, g, batch * a.heads + head, of_output, work);
}

template <typename T>
void backward_task(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t phase,
                   int64_t task, AdditiveWork<T>& work) {
  const auto parts = additive_backward_parts(a);
  const bool by_batch = g.bias.data == nullptr || g.bias.batch_stride != 0;
  const bool by_head = g.bias.data == nullptr || g.bias.head_stride != 0;
  const auto part = task % parts, group = task / parts, head_groups = by_head ? a.heads : 1;
  const auto batch = by_batch ? group / head_groups : 0, head = by_head ? group % head_groups : 0;
  const auto batches = by_batch ? 1 : a.batch, heads = by_head ? 1 : a.heads;
  const auto key_part = (part + phase) % parts;
  const Range keys = {key_part * a.source / parts, (key_part + 1) * a.source / parts};
  const auto begin = part * a.target / parts, end = (part + 1) * a.target / parts;
  for (int64_t b = batch; b < batch + batches; ++b) {
    for (int64_t h = head; h < head + heads; ++h) {
      prepare_vector(a, h, work);
      T* vector = g.vector + ((b * a.heads + h) * parts + part) * a.hidden_dim;
      for (int64_t first = begin; first < end; first += kAdditiveRows) {
        // Sums of sums, which round less than one long one.
        fill(work.of_vector, a.hidden_dim + lanes_of<T>(), T{0});
        backward_block(a, g, b, h, first, least(first + kAdditiveRows, end), keys, work);
        for (int64_t i = 0; i < a.hidden_dim; ++i) vector[i] += work.of_vector[i];
      }
    }
  }
}

// rows = vector (scale (1 - slope) rows + scale slope sums), and adds sums * inputs to `linear`.
template <typename T>
void finish_rows(const AdditiveAttention<T>& a, const T* vector, T* rows, const T* sums,
                 int64_t count, const T* inputs, int64_t input_stride, T* linear) {
  const T curved = a.scale * (T{1} - a.slope), straight = a.scale * a.slope;
  for (int64_t i = 0; i < count; ++i) {
    // A row that nobody sees may hold anything: its sum is zero.
    if (a.slope != T{0} && sums[i] != T{0}) {
      for (int64_t j = 0; j < a.hidden_dim; ++j) {
        linear[j] += sums[i] * inputs[i * input_stride + j];
      }
    }
    T* row = rows + i * a.hidden_dim;
    const T shift = straight * sums[i];
    for (int64_t j = 0; j < a.hidden_dim; ++j) row[j] = vector[j] * (curved * row[j] + shift);
  }
}

template <typename T>
void finish_head(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t index,
                 T* linear) {
  const auto parts = additive_backward_parts(a);
  const auto batch = index / a.heads, head = index % a.heads;
  const T* vector = a.vector + head * a.hidden_dim;
  fill(linear, a.hidden_dim, T{0});
  finish_rows(a, vector, g.query + index * a.target * a.hidden_dim, g.row_sums + index * a.target,
              a.target, a.query.at(batch, head), a.query.row_stride, linear);
  finish_rows(a, vector, g.key + index * a.source * a.hidden_dim, g.key_sums + index * a.source,
              a.source, a.key.at(batch, head), a.key.row_stride, linear);
  T* sum = g.vector + index * parts * a.hidden_dim;
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t j = 0; j < a.hidden_dim; ++j) sum[j] += sum[part * a.hidden_dim + j];
  }
  for (int64_t j = 0; j < a.hidden_dim; ++j) {
    sum[j] = a.scale * ((T{1} - a.slope) * sum[j] + a.slope * linear[j]);
  }
}

// Highway's tables hold functions, not templates. A type cannot be put in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_ADDITIVE(T)                                                                       \
  void backward_##T(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t phase, \
                    int64_t first, int64_t last, AdditiveWork<T>& work) {                        \
    for (int64_t i = first; i < last; ++i) backward_task(a, g, phase, i, work);                  \
  }                                                                                              \
  void finish_##T(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t first,   \
                  int64_t last, T* linear) {                                                     \
    for (int64_t head = first; head < last; ++head) finish_head(a, g, head, linear);             \
  }
ATTEND_ADDITIVE(float)
ATTEND_ADDITIVE(double)
#undef ATTEND_ADDITIVE
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {

// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_ADDITIVE(T)                                                                    \
  HWY_EXPORT(backward_##T);                                                                   \
  HWY_EXPORT(finish_##T);                                                                     \
  template <>                                                                                 \
  void additive_backward(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g,        \
                         int64_t phase, int64_t first, int64_t last) {                        \
    AdditiveMemory<T> memory(a, a.source / additive_backward_parts(a) + 1);                   \
    HWY_DYNAMIC_DISPATCH(backward_##T)(a, g, phase, first, last, memory.work());              \
  }                                                                                           \
  template <>                                                                                 \
  void additive_backward_finish(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, \
                                int64_t first, int64_t last) {                                \
    std::vector<T> linear(static_cast<size_t>(a.hidden_dim));                                 \
    HWY_DYNAMIC_DISPATCH(finish_##T)(a, g, first, last, linear.data());                       \
  }
ATTEND_ADDITIVE(float)
ATTEND_ADDITIVE(double)
#undef ATTEND_ADDITIVE
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace attend::kernels
#endif  // HWY_ONCE
