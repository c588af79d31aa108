#include "kernels/cpu/additive_attention.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/additive_work.h"
#include "kernels/cpu/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/additive_attention.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/score_functions-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
constexpr T kHidden = -std::numeric_limits<T>::infinity();

template <typename T>
HWY_INLINE void fill(T* begin, int64_t count, T value) {
  fill(begin, int64_t{0}, count, value);
}

template <bool kPartial, class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> load(D d, const T* from, int64_t rest) {
  if constexpr (kPartial) {
    return load_first(d, from, rest);
  } else {
    return hn::LoadU(d, from);
  }
}

template <bool kPartial, class D, typename T = hn::TFromD<D>>
HWY_INLINE void store(D d, hn::Vec<D> x, T* to, int64_t rest) {
  if constexpr (kPartial) {
    hn::BlendedStore(x, hn::FirstN(d, static_cast<size_t>(rest)), d, to);
  } else {
    hn::StoreU(x, d, to);
  }
}

// ---- Sums over the lanes ----

#if HWY_TARGET == HWY_SCALAR
template <class D, class V, typename T = hn::TFromD<D>>
HWY_INLINE void store_sums(D /*d*/, V a, V b, V c, V e, T* to) {
  to[0] = hn::GetLane(a);
  to[1] = hn::GetLane(b);
  to[2] = hn::GetLane(c);
  to[3] = hn::GetLane(e);
}
#else
// Adds the upper half to the lower one until a block of 16 bytes is left, and stores that.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void store_sum_of_blocks(D d, hn::Vec<D> x, T* to) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) > 16) {
    const hn::Half<D> half;
    store_sum_of_blocks(half, hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)), to);
  } else {
    hn::StoreU(x, d, to);
  }
}

template <class D, class V>
HWY_INLINE V sum_of_pairs(D d, V x, V y) {
  return hn::Add(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y));
}

// The sums of four vectors, by a tree: a third of what four sums one by one take.
template <class D, class V, typename T = hn::TFromD<D>>
HWY_INLINE void store_sums(D d, V a, V b, V c, V e, T* to) {
  if constexpr (sizeof(T) == 8) {
    store_sum_of_blocks(d, sum_of_pairs(d, a, b), to);
    store_sum_of_blocks(d, sum_of_pairs(d, c, e), to + 2);
  } else {
    const hn::Repartition<double, D> wide;
    const auto x = hn::BitCast(wide, sum_of_pairs(d, a, b));
    const auto y = hn::BitCast(wide, sum_of_pairs(d, c, e));
    store_sum_of_blocks(d,
                        hn::Add(hn::BitCast(d, hn::InterleaveLower(wide, x, y)),
                                hn::BitCast(d, hn::InterleaveUpper(wide, x, y))),
                        to);
  }
}
#endif

// ---- Tiles: kRows queries by kTileKeys keys ----

template <int64_t kRows, bool kPartial, class Score, bool kKeep, class D, class V,
          typename T = hn::TFromD<D>>
HWY_INLINE void add_scores(D d, V (&sums)[kRows][kTileKeys], const T* const* query,
                           const T* const* key, const T* vector, T* kept, int64_t at,
                           int64_t rest) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factor = hn::LoadU(d, vector + at);
  V q[kRows];
  for (int64_t r = 0; r < kRows; ++r) q[r] = load<kPartial>(d, query[r] + at, rest);
  for (int64_t c = 0; c < kTileKeys; ++c) {
    const auto k = load<kPartial>(d, key[c] + at, rest);
    for (int64_t r = 0; r < kRows; ++r) {
      auto inner = k;
      const auto f = Score::value(d, hn::Add(q[r], k), inner);
      if constexpr (kKeep && Score::kKeeps) {
        hn::StoreU(inner, d, kept + (at / lanes * kRows * kTileKeys + c * kRows + r) * lanes);
      }
      sums[r][c] = hn::MulAdd(factor, f, sums[r][c]);
    }
  }
}

// scores[r][c] = sum_a vector_a f(query[r]_a + key[c]_a), and if kKeep what Score keeps of each f.
// `vector` is followed by zeros up to a whole vector.
template <class Score, int64_t kRows, bool kKeep, typename T>
HWY_INLINE void score_tile(const T* const* query, const T* const* key, const T* vector,
                           int64_t hidden_dim, T* const* scores, T* kept) {
  const Vectors<T> d;
  using V = hn::Vec<Vectors<T>>;
  const auto lanes = lanes_of<T>();
  V sums[kRows][kTileKeys];
  for (auto& row : sums) {
    for (auto& sum : row) sum = hn::Zero(d);
  }
  int64_t at = 0;
  for (; at + lanes <= hidden_dim; at += lanes) {
    add_scores<kRows, false, Score, kKeep>(d, sums, query, key, vector, kept, at, lanes);
  }
  if (at < hidden_dim) {
    add_scores<kRows, true, Score, kKeep>(d, sums, query, key, vector, kept, at, hidden_dim - at);
  }
  for (int64_t r = 0; r < kRows; ++r) {
    store_sums(d, sums[r][0], sums[r][1], sums[r][2], sums[r][3], scores[r]);
  }
}

template <int64_t kRows, bool kPartial, class D, class V, typename T = hn::TFromD<D>>
HWY_INLINE void add_dots(D d, V (&sums)[kRows][kTileKeys], const T* const* x, const T* const* y,
                         int64_t at, int64_t rest) {
  V left[kRows];
  for (int64_t r = 0; r < kRows; ++r) left[r] = load<kPartial>(d, x[r] + at, rest);
  for (int64_t c = 0; c < kTileKeys; ++c) {
    const auto right = load<kPartial>(d, y[c] + at, rest);
    for (int64_t r = 0; r < kRows; ++r) sums[r][c] = hn::MulAdd(left[r], right, sums[r][c]);
  }
}

// dots[r][c] = x[r] . y[c].
template <int64_t kRows, typename T>
HWY_INLINE void dot_tile(const T* const* x, const T* const* y, int64_t dim, T* const* dots) {
  const Vectors<T> d;
  using V = hn::Vec<Vectors<T>>;
  const auto lanes = lanes_of<T>();
  V sums[kRows][kTileKeys];
  for (auto& row : sums) {
    for (auto& sum : row) sum = hn::Zero(d);
  }
  int64_t at = 0;
  for (; at + lanes <= dim; at += lanes) add_dots<kRows, false>(d, sums, x, y, at, lanes);
  if (at < dim) add_dots<kRows, true>(d, sums, x, y, at, dim - at);
  for (int64_t r = 0; r < kRows; ++r) {
    store_sums(d, sums[r][0], sums[r][1], sums[r][2], sums[r][3], dots[r]);
  }
}

// x . y.
template <typename T>
HWY_INLINE T dot(const T* x, const T* y, int64_t dim) {
  const T* left[1] = {x};
  const T* right[kTileKeys] = {y, y, y, y};
  T dots[kTileKeys];
  T* to[1] = {dots};
  dot_tile<1, T>(left, right, dim, to);
  return dots[0];
}

#if HWY_TARGET == HWY_SCALAR
using Doubles = hn::CappedTag<double, 1>;
#else
using Doubles = hn::Repartition<double, Vectors<float>>;
#endif

// sum + x, whose lanes are added in pairs.
template <class V>
HWY_INLINE hn::Vec<Doubles> add_wide(hn::Vec<Doubles> sum, V x) {
  const Doubles wide;
  const hn::Rebind<float, Doubles> half;
#if HWY_TARGET == HWY_SCALAR
  return hn::Add(sum, hn::PromoteTo(wide, hn::LowerHalf(half, x)));
#else
  return hn::Add(sum, hn::Add(hn::PromoteTo(wide, hn::LowerHalf(half, x)),
                              hn::PromoteTo(wide, hn::UpperHalf(half, x))));
#endif
}

// dots[r][c] = x[r] . y[c], in float64 but for the sums of a few products.
template <int64_t kRows>
HWY_INLINE void wide_dot_tile(const float* const* x, const float* const* y, int64_t dim,
                              double (&dots)[kRows][kTileKeys]) {
  constexpr int64_t kFewVectors = 4;
  const Vectors<float> d;
  const Doubles wide;
  const auto lanes = lanes_of<float>();
  hn::Vec<Doubles> totals[kRows][kTileKeys];
  for (auto& row : totals) {
    for (auto& total : row) total = hn::Zero(wide);
  }
  for (int64_t begin = 0; begin < dim; begin += kFewVectors * lanes) {
    hn::Vec<Vectors<float>> sums[kRows][kTileKeys];
    for (auto& row : sums) {
      for (auto& sum : row) sum = hn::Zero(d);
    }
    const auto end = least(begin + kFewVectors * lanes, dim);
    int64_t at = begin;
    for (; at + lanes <= end; at += lanes) add_dots<kRows, false>(d, sums, x, y, at, lanes);
    if (at < end) add_dots<kRows, true>(d, sums, x, y, at, end - at);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kTileKeys; ++c) totals[r][c] = add_wide(totals[r][c], sums[r][c]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    store_sums(wide, totals[r][0], totals[r][1], totals[r][2], totals[r][3], dots[r]);
  }
}
template <int64_t kRows>
HWY_INLINE void wide_dot_tile(const double* const* x, const double* const* y, int64_t dim,
                              double (&dots)[kRows][kTileKeys]) {
  double* to[kRows];
  for (int64_t r = 0; r < kRows; ++r) to[r] = dots[r];
  dot_tile<kRows, double>(x, y, dim, to);
}

template <int64_t kRows, bool kPartial, class Score, class D, typename T = hn::TFromD<D>>
HWY_INLINE void add_gradients(D d, const T* const* query, const T* const* key,
                              const T* const* gradient, const T* kept, T* const* to_query,
                              T* const* to_key, T* to_vector, int64_t at, int64_t rest) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V q[kRows], of_query[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    q[r] = load<kPartial>(d, query[r] + at, rest);
    of_query[r] = load<kPartial>(d, to_query[r] + at, rest);
  }
  auto of_vector = hn::LoadU(d, to_vector + at);
  for (int64_t c = 0; c < kTileKeys; ++c) {
    const auto k = load<kPartial>(d, key[c] + at, rest);
    auto of_key = load<kPartial>(d, to_key[c] + at, rest);
    for (int64_t r = 0; r < kRows; ++r) {
      auto inner = k;
      if constexpr (Score::kKeeps) {
        inner = hn::LoadU(d, kept + (at / lanes * kRows * kTileKeys + c * kRows + r) * lanes);
      }
      const auto g = hn::Set(d, gradient[r][c]);
      const auto of_sum = Score::gradient(d, g, hn::Add(q[r], k), inner, of_vector);
      of_query[r] = hn::Add(of_query[r], of_sum);
      of_key = hn::Add(of_key, of_sum);
    }
    store<kPartial>(d, of_key, to_key[c] + at, rest);
  }
  for (int64_t r = 0; r < kRows; ++r) store<kPartial>(d, of_query[r], to_query[r] + at, rest);
  hn::StoreU(of_vector, d, to_vector + at);
}

// Adds, with g = gradient[r][c] and f of score_tile: g f' to to_query[r] and to_key[c], g f to
// to_vector, which is padded as `vector` is there.
template <class Score, int64_t kRows, typename T>
HWY_INLINE void gradient_tile(const T* const* query, const T* const* key, const T* const* gradient,
                              const T* kept, int64_t hidden_dim, T* const* to_query,
                              T* const* to_key, T* to_vector) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  int64_t at = 0;
  for (; at + lanes <= hidden_dim; at += lanes) {
    add_gradients<kRows, false, Score>(d, query, key, gradient, kept, to_query, to_key, to_vector,
                                       at, lanes);
  }
  if (at < hidden_dim) {
    add_gradients<kRows, true, Score>(d, query, key, gradient, kept, to_query, to_key, to_vector,
                                      at, hidden_dim - at);
  }
}

// ---- Products ----

template <int64_t kRows, int64_t kVectors, bool kPartial, typename T>
HWY_INLINE void add_strip(T* const* to, const T* factors, int64_t row_stride, int64_t step,
                          const T* const* from, int64_t count, int64_t at, int64_t rest) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  hn::Vec<Vectors<T>> sums[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[r][v] = load<kPartial>(d, to[r] + at + v * lanes, rest);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    hn::Vec<Vectors<T>> values[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) {
      values[v] = load<kPartial>(d, from[i] + at + v * lanes, rest);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, factors[r * row_stride + i * step]);
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(factor, values[v], sums[r][v]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) {
      store<kPartial>(d, sums[r][v], to[r] + at + v * lanes, rest);
    }
  }
}

template <int64_t kRows, int64_t kVectors, typename T>
HWY_INLINE void add_products_of_rows(T* const* to, const T* factors, int64_t row_stride,
                                     int64_t step, const T* const* from, int64_t count,
                                     int64_t dim) {
  const auto lanes = lanes_of<T>();
  int64_t at = 0;
  for (; at + kVectors * lanes <= dim; at += kVectors * lanes) {
    add_strip<kRows, kVectors, false>(to, factors, row_stride, step, from, count, at, lanes);
  }
  for (; at + lanes <= dim; at += lanes) {
    add_strip<kRows, 1, false>(to, factors, row_stride, step, from, count, at, lanes);
  }
  if (at < dim) {
    add_strip<kRows, 1, true>(to, factors, row_stride, step, from, count, at, dim - at);
  }
}

// to[r] += sum_i factors[r * row_stride + i * step] from[i], of `dim` numbers each.
template <typename T>
void add_products(T* const* to, int64_t rows, const T* factors, int64_t row_stride, int64_t step,
                  const T* const* from, int64_t count, int64_t dim) {
  constexpr int64_t kAtOnce = 32;  // rows of `from`, which are read strip by strip
  for (int64_t i = 0; i < count; i += kAtOnce) {
    const auto counted = least(kAtOnce, count - i);
    const T* of = factors + i * step;
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      add_products_of_rows<4, 2>(to + r, of + r * row_stride, row_stride, step, from + i, counted,
                                 dim);
    }
    for (; r < rows; ++r) {
      add_products_of_rows<1, 4>(to + r, of + r * row_stride, row_stride, step, from + i, counted,
                                 dim);
    }
  }
}

// ---- What the queries of a block see ----

// What a query sees of the keys [begin, end) by the band alone.
struct Range {
  int64_t begin, end;
};
template <typename T>
HWY_INLINE Range band_of(const AdditiveAttention<T>& a, int64_t t, const Range& keys) {
  const auto diagonal = t + a.source - a.target;
  const auto first = a.band_left < diagonal ? diagonal - a.band_left : 0;
  const auto last = a.band_right < a.source - 1 - diagonal ? diagonal + a.band_right + 1 : a.source;
  return {most(keys.begin, first), least(keys.end, last)};
}

// Lists the keys of [keys.begin, keys.end) that a query of [first, last) sees, and those queries.
template <typename T>
void list_visible(const AdditiveAttention<T>& a, int64_t batch, int64_t head, int64_t first,
                  int64_t last, const Range& keys, AdditiveWork<T>& work) {
  const auto rows = last - first;
  Range ranges[kAdditiveRows];
  Range widest = {keys.end, keys.begin};
  bool is_even = true;
  for (int64_t r = 0; r < rows; ++r) {
    auto& range = ranges[r] = band_of(a, first + r, keys);
    if (range.begin >= range.end) {
      range = {keys.end, keys.end};
      is_even = false;
      continue;
    }
    is_even = is_even && range.begin == ranges[0].begin && range.end == ranges[0].end;
    widest = {least(widest.begin, range.begin), most(widest.end, range.end)};
  }
  const auto* allowed = a.allowed.data;
  if (allowed != nullptr) {
    allowed += batch * a.allowed.batch_stride + head * a.allowed.head_stride +
               first * a.allowed.target_stride;
  }
  const auto* bias = a.bias.data;
  if (bias != nullptr) {
    bias += batch * a.bias.batch_stride + head * a.bias.head_stride + first * a.bias.target_stride;
  }
  const bool by_pairs = bias != nullptr || (allowed != nullptr && a.allowed.target_stride != 0);
  bool sees[kAdditiveRows] = {};
  int64_t count = 0;
  if (by_pairs) {
    for (int64_t s = widest.begin; s < widest.end; ++s) {
      bool any = false;
      for (int64_t r = 0; r < rows; ++r) {
        const bool is_seen =
            s >= ranges[r].begin && s < ranges[r].end &&
            (allowed == nullptr ||
             allowed[r * a.allowed.target_stride + s * a.allowed.source_stride]) &&
            (bias == nullptr ||
             bias[r * a.bias.target_stride + s * a.bias.source_stride] != kHidden<T>);
        work.visible[r * work.stride + count] = is_seen;
        any = any || is_seen;
        sees[r] = sees[r] || is_seen;
      }
      work.keys[count] = s;
      count += any ? 1 : 0;
    }
  } else {
    for (int64_t s = widest.begin; s < widest.end; ++s) {
      work.keys[count] = s;
      count += allowed == nullptr || allowed[s * a.allowed.source_stride] ? 1 : 0;
    }
    for (int64_t r = 0; r < rows; ++r) {
      bool* visible = work.visible + r * work.stride;
      bool any = false;
      for (int64_t i = 0; i < count; ++i) {
        const bool is_seen = work.keys[i] >= ranges[r].begin && work.keys[i] < ranges[r].end;
        visible[i] = is_seen;
        any = any || is_seen;
      }
      sees[r] = any;
    }
  }
  // Rows without a key, and keys without a row: in a gap between two bands.
  int64_t seeing = 0;
  for (int64_t r = 0; r < rows; ++r) {
    if (!sees[r]) continue;
    if (seeing < r) {
      const bool* from = work.visible + r * work.stride;
      bool* to = work.visible + seeing * work.stride;
      for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    }
    work.queries[seeing] = first + r;
    work.query_rows[seeing] = a.query.at(batch, head) + (first + r) * a.query.row_stride;
    ++seeing;
  }
  work.rows = seeing;
  work.count = seeing == 0 ? 0 : count;
  work.all_visible = is_even && !by_pairs;
  if (work.count == 0) return;
  const T* key = a.key.at(batch, head);
  const T* value = a.value.at(batch, head);
  for (int64_t i = count; i < count + kTileKeys; ++i) work.keys[i] = work.keys[count - 1];
  for (int64_t i = 0; i < count + kTileKeys; ++i) {
    work.key_rows[i] = key + work.keys[i] * a.key.row_stride;
    work.value_rows[i] = value + work.keys[i] * a.value.row_stride;
  }
}

// Whether one of `rows` queries from r on sees one of the keys [i, i + kTileKeys).
template <typename T>
HWY_INLINE bool sees_tile(const AdditiveWork<T>& work, int64_t r, int64_t rows, int64_t i) {
  if (work.all_visible) return true;
  bool any = false;
  for (int64_t row = r; row < r + rows; ++row) {
    const bool* visible = work.visible + row * work.stride + i;
    for (int64_t c = 0; c < least(kTileKeys, work.count - i); ++c) any = any || visible[c];
  }
  return any;
}

// The vector as tiles want it.
template <typename T>
void prepare_vector(const AdditiveAttention<T>& a, int64_t head, AdditiveWork<T>& work) {
  const T* vector = a.vector + head * a.hidden_dim;
  const T factor = a.scale * (T{1} - a.slope);
  for (int64_t i = 0; i < a.hidden_dim; ++i) work.vector[i] = factor * vector[i];
  fill(work.vector + a.hidden_dim, lanes_of<T>(), T{0});
}

// What is added to the sums over a: the half of a leaky ReLU that is linear, slope (query + key),
// and the key term.
template <typename T>
void prepare_terms(const AdditiveAttention<T>& a, int64_t batch, int64_t head,
                   AdditiveWork<T>& work) {
  const T* vector[1] = {a.vector + head * a.hidden_dim};
  const T factor = a.scale * a.slope;
  const T* term =
      a.key_term == nullptr ? nullptr : a.key_term + (batch * a.heads + head) * a.source;
  for (int64_t i = 0; i < work.count; i += kTileKeys) {
    T* terms[1] = {work.key_terms + i};
    if (a.slope != T{0}) {
      dot_tile<1, T>(vector, work.key_rows + i, a.hidden_dim, terms);
      for (int64_t c = 0; c < kTileKeys; ++c) terms[0][c] *= factor;
    } else {
      fill(terms[0], kTileKeys, T{0});
    }
    for (int64_t c = 0; c < kTileKeys && term != nullptr; ++c) {
      terms[0][c] += term[work.keys[i + c]];
    }
  }
  fill(work.query_terms, kAdditiveRows, T{0});
  for (int64_t r = 0; r < work.rows && a.slope != T{0}; ++r) {
    work.query_terms[r] = factor * dot(vector[0], work.query_rows[r], a.hidden_dim);
  }
}

// The sums over a of a row's keys [i, i + count) become scores, in place; `slopes`, unless null,
// the derivatives of the clip.
template <typename T>
void finish_scores(const AdditiveAttention<T>& a, int64_t batch, int64_t head,
                   const AdditiveWork<T>& work, int64_t r, int64_t i, int64_t count, T* scores,
                   T* slopes) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  const bool has_terms = a.slope != T{0} || a.key_term != nullptr;
  if (has_terms || a.score_clip != T{0}) {  // rows may be read and written up to a whole vector
    const auto clip = hn::Set(d, a.score_clip), of_query = hn::Set(d, work.query_terms[r]);
    for (int64_t c = 0; c < count; c += lanes) {
      auto x = hn::LoadU(d, scores + c);
      x = hn::Add(x, hn::Add(of_query, hn::LoadU(d, work.key_terms + i + c)));
      if (a.score_clip != T{0}) {
        const auto squashed = tanh_of(d, x);
        x = hn::Mul(clip, squashed);
        if (slopes != nullptr) {
          hn::StoreU(hn::Mul(clip, hn::NegMulAdd(squashed, squashed, hn::Set(d, T{1}))), d,
                     slopes + c);
        }
      }
      hn::StoreU(x, d, scores + c);
    }
  }
  if (a.bias.data != nullptr) {
    const T* bias = a.bias.data + batch * a.bias.batch_stride + head * a.bias.head_stride +
                    work.queries[r] * a.bias.target_stride;
    for (int64_t c = 0; c < count; ++c) {
      scores[c] += bias[work.keys[i + c] * a.bias.source_stride];
    }
  }
  if (work.all_visible) return;
  const bool* visible = work.visible + r * work.stride + i;
  for (int64_t c = 0; c < count; ++c) scores[c] = visible[c] ? scores[c] : kHidden<T>;
}

// Sets factors[i] to what dropout multiplies the weight of key keys[i] with.
template <typename T>
void draw_dropout(const AdditiveAttention<T>& a, int64_t row, const int64_t* keys, int64_t count,
                  uint32_t* numbers, int64_t& drawn, T* factors) {
  for (int64_t i = 0; i < count; ++i) {
    const auto element = row * a.source + keys[i];
    const auto block = element / kDropoutBlock;
    if (block != drawn) {
      philox_block(a.seed, static_cast<uint64_t>(block), numbers);
      drawn = block;
    }
    factors[i] = numbers[element - block * kDropoutBlock] >= a.threshold ? a.keep_scale : T{0};
  }
}

// ---- Forward ----

template <class Score, int64_t kRows, typename T>
HWY_INLINE void score_rows(const AdditiveAttention<T>& a, const AdditiveWork<T>& work, int64_t r,
                           int64_t i) {
  T* to[kRows];
  for (int64_t row = 0; row < kRows; ++row) to[row] = work.scores + (r + row) * work.stride + i;
  if (sees_tile(work, r, kRows, i)) {
    score_tile<Score, kRows, false, T>(work.query_rows + r, work.key_rows + i, work.vector,
                                       a.hidden_dim, to, nullptr);
    return;
  }
  for (int64_t row = 0; row < kRows; ++row) fill(to[row], kTileKeys, kHidden<T>);
}

// Scores become exponentials of their differences from the greatest one, in place. Of a score that
// is NaN or +infinity the total is NaN: Max and Exp hide it, sums do not.
template <typename T>
void exponentials(T* scores, int64_t count, T& greatest, T& total) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  fill(scores + count, lanes, kHidden<T>);
  auto highest = hn::Set(d, kHidden<T>);
  for (int64_t i = 0; i < count; i += lanes) highest = hn::Max(highest, hn::LoadU(d, scores + i));
  HWY_ALIGN T each[64 / sizeof(T)];
  hn::Store(highest, d, each);
  greatest = each[0];
  for (int64_t i = 1; i < lanes; ++i) greatest = each[i] > greatest ? each[i] : greatest;
  bool is_empty = true;
  if (!(greatest > kHidden<T>)) {  // nothing, or NaN
    for (int64_t i = 0; i < count; ++i) is_empty = is_empty && scores[i] == kHidden<T>;
    greatest = kHidden<T>;
    total = is_empty ? T{0} : std::numeric_limits<T>::quiet_NaN();
    fill(scores, count, total);
    return;
  }
  const auto shift = hn::Set(d, greatest);
  auto sum = hn::Zero(d), differences = hn::Zero(d);
  for (int64_t i = 0; i < count; i += lanes) {
    const auto difference = hn::Sub(hn::LoadU(d, scores + i), shift);
    const auto value = hn::Exp(d, difference);
    differences = hn::Add(differences, difference);
    sum = hn::Add(sum, value);
    hn::StoreU(value, d, scores + i);
  }
  const T difference = hn::GetLane(hn::SumOfLanes(d, differences));
  total = std::isnan(difference) ? difference : hn::GetLane(hn::SumOfLanes(d, sum));
}

// The sums over a of all pairs.
template <class Score, typename T>
void score_pairs(const AdditiveAttention<T>& a, const AdditiveWork<T>& work) {
  for (int64_t i = 0; i < work.count; i += kTileKeys) {
    int64_t r = 0;
    for (; r + 2 <= work.rows; r += 2) score_rows<Score, 2>(a, work, r, i);
    if (r < work.rows) score_rows<Score, 1>(a, work, r, i);
  }
}

// One task, as places in the attention.
struct ForwardTask {
  int64_t index, batch, head;  // of B * H
  int64_t first, last;         // queries
  int64_t part, parts;
  Range keys;
};
template <typename T>
ForwardTask forward_task(const AdditiveAttention<T>& a, int64_t task) {
  const auto parts = additive_parts(a), blocks = a.row_blocks();
  const auto part = task % parts, place = task / parts % blocks, index = task / parts / blocks;
  // From both ends in turn: of a causal mask, neighbours make as much work as others.
  const auto block = place % 2 == 0 ? place / 2 : blocks - 1 - place / 2;
  const auto first = block * kAdditiveRows;
  return {index,
          index / a.heads,
          index % a.heads,
          first,
          least(first + kAdditiveRows, a.target),
          part,
          parts,
          {part * a.source / parts, (part + 1) * a.source / parts}};
}

template <typename T>
void prepare_forward(const AdditiveAttention<T>& a, const ForwardTask& task,
                     AdditiveWork<T>& work) {
  prepare_vector(a, task.head, work);
  list_visible(a, task.batch, task.head, task.first, task.last, task.keys, work);
  prepare_terms(a, task.batch, task.head, work);
}

// From the sums over a to the output of a block.
template <typename T>
void finish_forward(const AdditiveAttention<T>& a, const AdditiveResult<T>& result,
                    const ForwardTask& task, AdditiveWork<T>& work) {
  const auto found_dim = a.value_dim + 2;
  // What is written for a query: its output, or what this part has found.
  const auto output_of = [&](int64_t t) {
    return task.parts == 1
               ? result.output.at(task.batch, task.head) + t * result.output.row_stride
               : result.parts + ((task.index * a.target + t) * task.parts + task.part) * found_dim +
                     2;
  };
  for (int64_t t = task.first; t < task.last; ++t) {
    T* output = output_of(t);
    fill(output, a.value_dim, T{0});
    if (task.parts > 1) {
      output[-2] = kHidden<T>;
      output[-1] = T{0};
    } else {
      fill(result.sums + 2 * (task.index * a.target + t), 2, T{0});
    }
    if (result.scores != nullptr) {
      fill(result.scores + (task.index * a.target + t) * a.source + task.keys.begin,
           task.keys.end - task.keys.begin, kHidden<T>);
    }
  }
  T* outputs[kAdditiveRows];
  T factors[kAdditiveRows];
  int64_t drawn = -1;
  for (int64_t r = 0; r < work.rows; ++r) {
    const auto row = task.index * a.target + work.queries[r];
    T* scores = work.scores + r * work.stride;
    finish_scores<T>(a, task.batch, task.head, work, r, 0, work.count, scores, nullptr);
    if (result.scores != nullptr) {
      T* to = result.scores + row * a.source;
      for (int64_t i = 0; i < work.count; ++i) to[work.keys[i]] = scores[i];
    }
    T greatest{0}, total{0};
    exponentials(scores, work.count, greatest, total);
    outputs[r] = output_of(work.queries[r]);
    if (task.parts > 1) {
      outputs[r][-2] = greatest;
      outputs[r][-1] = total;
    } else {
      factors[r] = total == T{0} ? T{0} : T{1} / total;
      result.sums[2 * row] = total == T{0} ? T{0} : greatest;
      result.sums[2 * row + 1] = factors[r];
    }
    if (a.threshold == 0) continue;
    T* kept = work.products;  // one row of it
    draw_dropout(a, row, work.keys, work.count, work.numbers, drawn, kept);
    for (int64_t i = 0; i < work.count; ++i) scores[i] *= kept[i];
  }
  add_products(outputs, work.rows, work.scores, work.stride, int64_t{1}, work.value_rows,
               work.count, a.value_dim);
  for (int64_t r = 0; r < work.rows && task.parts == 1; ++r) {
    for (int64_t j = 0; j < a.value_dim; ++j) outputs[r][j] *= factors[r];
  }
}

template <typename T>
void join_row(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, int64_t row) {
  const auto parts = additive_parts(a);
  const auto index = row / a.target, t = row % a.target;
  const T* found = result.parts + row * parts * (a.value_dim + 2);
  T* output = result.output.at(index / a.heads, index % a.heads) + t * result.output.row_stride;
  T greatest = kHidden<T>;
  bool is_nan = false;
  for (int64_t part = 0; part < parts; ++part) {
    const T* of_part = found + part * (a.value_dim + 2);
    greatest = of_part[0] > greatest ? of_part[0] : greatest;
    is_nan = is_nan || std::isnan(of_part[1]);
  }
  fill(output, a.value_dim, T{0});
  T total = is_nan ? std::numeric_limits<T>::quiet_NaN() : T{0};
  for (int64_t part = 0; part < parts; ++part) {
    const T* of_part = found + part * (a.value_dim + 2);
    if (of_part[1] == T{0}) continue;
    const T factor = std::exp(of_part[0] - greatest);
    total += factor * of_part[1];
    for (int64_t j = 0; j < a.value_dim; ++j) output[j] += factor * of_part[2 + j];
  }
  const T factor = total == T{0} ? T{0} : T{1} / total;
  result.sums[2 * row] = total == T{0} ? T{0} : greatest;
  result.sums[2 * row + 1] = factor;
  for (int64_t j = 0; j < a.value_dim; ++j) output[j] *= factor;
}

// ---- Backward ----

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

template <typename T>
void score_pairs_by_score(const AdditiveAttention<T>& a, const AdditiveWork<T>& work) {
  switch (a.score) {
    case AdditiveScore::kTanh:
      return score_pairs<TanhScore>(a, work);
    case AdditiveScore::kLeakyRelu:
      return score_pairs<ReluScore>(a, work);
    case AdditiveScore::kSilu:
      return score_pairs<SiluScore>(a, work);
    case AdditiveScore::kGelu:
      return score_pairs<GeluScore>(a, work);
  }
}

// Highway's tables hold functions, not templates. A type cannot be put in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_ADDITIVE(T)                                                                        \
  void forward_##T(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, int64_t first, \
                   int64_t last, AdditiveWork<T>& work) {                                         \
    for (int64_t i = first; i < last; ++i) {                                                      \
      const auto task = forward_task(a, i);                                                       \
      prepare_forward(a, task, work);                                                             \
      score_pairs_by_score(a, work);                                                              \
      finish_forward(a, result, task, work);                                                      \
    }                                                                                             \
  }                                                                                               \
  void join_##T(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, int64_t first,    \
                int64_t last) {                                                                   \
    for (int64_t row = first; row < last; ++row) join_row(a, result, row);                        \
  }                                                                                               \
  void backward_##T(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t phase,  \
                    int64_t first, int64_t last, AdditiveWork<T>& work) {                         \
    for (int64_t i = first; i < last; ++i) backward_task(a, g, phase, i, work);                   \
  }                                                                                               \
  void finish_##T(const AdditiveAttention<T>& a, const AdditiveGradients<T>& g, int64_t first,    \
                  int64_t last, T* linear) {                                                      \
    for (int64_t head = first; head < last; ++head) finish_head(a, g, head, linear);              \
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
  HWY_EXPORT(forward_##T);                                                                    \
  HWY_EXPORT(join_##T);                                                                       \
  HWY_EXPORT(backward_##T);                                                                   \
  HWY_EXPORT(finish_##T);                                                                     \
  template <>                                                                                 \
  void additive_forward(const AdditiveAttention<T>& a, const AdditiveResult<T>& result,       \
                        int64_t first, int64_t last) {                                        \
    AdditiveMemory<T> memory(a, a.source / additive_parts(a) + 1);                            \
    HWY_DYNAMIC_DISPATCH(forward_##T)(a, result, first, last, memory.work());                 \
  }                                                                                           \
  template <>                                                                                 \
  void additive_join(const AdditiveAttention<T>& a, const AdditiveResult<T>& result,          \
                     int64_t first, int64_t last) {                                           \
    HWY_DYNAMIC_DISPATCH(join_##T)(a, result, first, last);                                   \
  }                                                                                           \
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
