// Tiles of additive attention, kRows queries by kTileKeys keys, with hidden units in the lanes, and
// products by rows. Included once for each instruction set that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_ADDITIVE_TILES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_ADDITIVE_TILES_INL_H
#undef ATTEND_KERNELS_CPU_ADDITIVE_TILES_INL_H
#else
#define ATTEND_KERNELS_CPU_ADDITIVE_TILES_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernels/cpu/additive_work.h"
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

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

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
