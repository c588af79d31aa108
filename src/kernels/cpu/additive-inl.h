// What the forward and the backward pass of additive attention share: the pairs of a block that the
// mask lets through, what is added to their scores, dropout. Included once for each instruction set
// that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_ADDITIVE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_ADDITIVE_INL_H
#undef ATTEND_KERNELS_CPU_ADDITIVE_INL_H
#else
#define ATTEND_KERNELS_CPU_ADDITIVE_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "kernels/cpu/additive_attention.h"
#include "kernels/cpu/additive_tiles-inl.h"
#include "kernels/cpu/additive_work.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/range-inl.h"
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

// What each query of a block sees by the band, and all of them together.
struct Bands {
  Range of_row[kAdditiveRows], widest;
  bool are_even;  // all the same
};
template <typename T>
HWY_INLINE Bands bands_of(const AdditiveAttention<T>& a, int64_t first, int64_t rows,
                          const Range& keys) {
  Bands bands{.of_row = {}, .widest = {keys.end, keys.begin}, .are_even = true};
  for (int64_t r = 0; r < rows; ++r) {
    auto& range = bands.of_row[r] = band_of(a, first + r).within(keys.begin, keys.end);
    if (range.is_empty()) {
      range = {keys.end, keys.end};
      bands.are_even = false;
      continue;
    }
    const auto& other = bands.of_row[0];
    bands.are_even = bands.are_even && range.begin == other.begin && range.end == other.end;
    bands.widest = {least(bands.widest.begin, range.begin), most(bands.widest.end, range.end)};
  }
  return bands;
}

// Lists the keys that some of `rows` queries from `first` on sees, where the mask differs from query
// to query: their number. `sees`: whether a query sees any.
template <typename T>
int64_t list_by_pairs(const AdditiveAttention<T>& a, int64_t batch, int64_t head, int64_t first,
                      int64_t rows, const Bands& bands, bool* sees, AdditiveWork<T>& work) {
  const bool* allowed = a.allowed.data == nullptr ? nullptr : a.allowed.row(batch, head, first);
  const T* bias = a.bias.data == nullptr ? nullptr : a.bias.row(batch, head, first);
  int64_t count = 0;
  for (int64_t s = bands.widest.begin; s < bands.widest.end; ++s) {
    bool any = false;
    for (int64_t r = 0; r < rows; ++r) {
      const bool is_seen =
          s >= bands.of_row[r].begin && s < bands.of_row[r].end &&
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
  return count;
}

// The same where it is one for all queries.
template <typename T>
int64_t list_by_keys(const AdditiveAttention<T>& a, int64_t batch, int64_t head, int64_t rows,
                     const Bands& bands, bool* sees, AdditiveWork<T>& work) {
  const bool* allowed = a.allowed.data == nullptr ? nullptr : a.allowed.row(batch, head, 0);
  int64_t count = 0;
  for (int64_t s = bands.widest.begin; s < bands.widest.end; ++s) {
    work.keys[count] = s;
    count += allowed == nullptr || allowed[s * a.allowed.source_stride] ? 1 : 0;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const auto& range = bands.of_row[r];
    bool* visible = work.visible + r * work.stride;
    bool any = false;
    for (int64_t i = 0; i < count; ++i) {
      const bool is_seen = work.keys[i] >= range.begin && work.keys[i] < range.end;
      visible[i] = is_seen;
      any = any || is_seen;
    }
    sees[r] = any;
  }
  return count;
}

// Lists the keys of [keys.begin, keys.end) that a query of [first, last) sees, and those queries.
template <typename T>
void list_visible(const AdditiveAttention<T>& a, int64_t batch, int64_t head, int64_t first,
                  int64_t last, const Range& keys, AdditiveWork<T>& work) {
  const auto rows = last - first;
  const auto bands = bands_of(a, first, rows, keys);
  const bool by_pairs =
      a.bias.data != nullptr || (a.allowed.data != nullptr && a.allowed.target_stride != 0);
  bool sees[kAdditiveRows] = {};
  const auto count = by_pairs ? list_by_pairs(a, batch, head, first, rows, bands, sees, work)
                              : list_by_keys(a, batch, head, rows, bands, sees, work);
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
  work.all_visible = bands.are_even && !by_pairs;
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

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
