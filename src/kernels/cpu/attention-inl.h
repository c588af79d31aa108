// What attention's forward and backward pass share: blocks, masks, products. Included once for each
// instruction set that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_ATTENTION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_ATTENTION_INL_H
#undef ATTEND_KERNELS_CPU_ATTENTION_INL_H
#else
#define ATTEND_KERNELS_CPU_ATTENTION_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/bfloat16-inl.h"
#include "kernels/cpu/exponential-inl.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/philox-inl.h"
#include "kernels/cpu/range-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// Scores exist for blocks of so many queries (of one or more heads) and keys.
inline constexpr int64_t kBlockRows = 64, kBlockKeys = 128;

// Queries [first, first + count) of `members` heads of a group, as rows: head by head.
struct QueryRows {
  int64_t batch, head, members;  // head: the first of them
  int64_t first, count;

  int64_t rows() const { return members * count; }
  int64_t head_of(int64_t row) const { return members == 1 ? head : head + row / count; }
  int64_t query_of(int64_t row) const { return first + (members == 1 ? row : row % count); }
};

template <typename T, typename Stored>
HWY_INLINE Range band_of(const Attention<T, Stored>& a, const QueryRows& rows) {
  return {band_of(a, rows.first).begin, band_of(a, rows.first + rows.count - 1).end};
}

// The rows that the band lets see some of the keys [begin, end): all, or a range of one head's.
template <typename T, typename Stored>
HWY_INLINE Range rows_seeing(const Attention<T, Stored>& a, const QueryRows& rows, int64_t begin,
                             int64_t end) {
  Range result{0, rows.rows()};
  if (rows.members > 1) return result;
  const auto offset = a.source - a.target + rows.first;
  // Row r sees begin .. end - 1 from r + offset + right >= begin to r + offset - left <= end - 1.
  if (a.band_right < a.source) result.begin = most(0, begin - offset - a.band_right);
  if (a.band_left < a.source) result.end = least(result.end, end + a.band_left - offset);
  return result;
}

// What a mask says of some queries and keys.
enum class Visible { kNone, kSome, kAll };

// By a bool mask.
template <typename T, typename Stored>
HWY_INLINE Visible allowed(const Attention<T, Stored>& a, const QueryRows& rows, int64_t begin,
                           int64_t end) {
  const auto& mask = a.allowed;
  if (mask.data == nullptr) return Visible::kAll;
  const auto heads = mask.head_stride == 0 ? 1 : rows.members;
  const auto queries = mask.target_stride == 0 ? 1 : rows.count;
  const auto keys = mask.source_stride == 0 ? 1 : end - begin;
  uint8_t any = 0, all = 1;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t t = 0; t < queries; ++t) {
      const auto* row = reinterpret_cast<const uint8_t*>(
          mask.row(rows.batch, rows.head + h, rows.first + t) + begin * mask.source_stride);
      for (int64_t s = 0; s < keys; ++s) {
        any |= row[s];
        all &= row[s];
      }
      if (any != 0 && all == 0) return Visible::kSome;
    }
  }
  return any == 0 ? Visible::kNone : Visible::kAll;
}

HWY_INLINE Range bounds_of(const int64_t* numbers, int64_t count) {
  Range result{numbers[0], numbers[0]};
  for (int64_t i = 1; i < count; ++i) {
    result = {least(result.begin, numbers[i]), most(result.end, numbers[i])};
  }
  return result;
}

// By segments: of those between the smallest and the largest number, where these meet.
template <typename T, typename Stored>
HWY_INLINE Visible same_segments(const Attention<T, Stored>& a, const QueryRows& rows,
                                 int64_t begin, int64_t end) {
  if (a.query_segments == nullptr) return Visible::kAll;
  const auto of_queries =
      bounds_of(a.query_segments + rows.batch * a.target + rows.first, rows.count);
  const auto of_keys = bounds_of(a.key_segments + rows.batch * a.source + begin, end - begin);
  if (of_queries.end < of_keys.begin || of_keys.end < of_queries.begin) return Visible::kNone;
  const bool are_one = of_queries.begin == of_queries.end && of_keys.begin == of_keys.end;
  return are_one ? Visible::kAll : Visible::kSome;
}

template <typename T, typename Stored>
HWY_INLINE Visible visible(const Attention<T, Stored>& a, const QueryRows& rows, int64_t begin,
                           int64_t end) {
  const auto by_segments = same_segments(a, rows, begin, end);
  if (by_segments == Visible::kNone) return Visible::kNone;
  const auto by_mask = allowed(a, rows, begin, end);
  return by_mask == Visible::kAll ? by_segments : by_mask;
}

// To the scores of keys [key + begin, key + end) of query t, if there is such a bias.
template <typename T>
HWY_INLINE void add_bias(const MaskView<T>& bias, int64_t batch, int64_t head, int64_t t,
                         int64_t key, int64_t begin, int64_t end, T* HWY_RESTRICT scores) {
  if (bias.data == nullptr) return;
  const T* HWY_RESTRICT row = bias.row(batch, head, t) + key * bias.source_stride;
  if (bias.source_stride == 0) {
    const T same = *row;
    for (auto s = begin; s < end; ++s) scores[s] += same;
  } else {
    for (auto s = begin; s < end; ++s) scores[s] += row[s];
  }
}

// Row t of the scores of keys [key + begin, key + end) becomes what softmax takes: capped, with
// biases, and -infinity where the mask forbids. Where it is not null, `slope` gets the derivative of
// the cap.
template <typename T, typename Stored>
HWY_INLINE void finish_scores(const Attention<T, Stored>& a, int64_t batch, int64_t head, int64_t t,
                              int64_t key, int64_t begin, int64_t end, bool is_masked,
                              T* HWY_RESTRICT scores, T* HWY_RESTRICT slope) {
  if (a.soft_cap > T{0}) {
    const Vectors<T> d;
    const auto inverse = hn::Set(d, T{1} / a.soft_cap), cap = hn::Set(d, a.soft_cap);
    const auto one = hn::Set(d, T{1});
    const auto from = rounded_down<T>(begin), to = rounded_up<T>(end);
    for (auto s = from; s < to; s += lanes_of<T>()) {
      const auto x = hn::LoadU(d, scores + s);
      // Tanh hides NaN.
      const auto y = hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(d, hn::Mul(x, inverse)));
      hn::StoreU(hn::Mul(y, cap), d, scores + s);
      if (slope != nullptr) hn::StoreU(hn::NegMulAdd(y, y, one), d, slope + s);
    }
  }
  add_bias(a.bias, batch, head, t, key, begin, end, scores);
  add_bias(a.relative_bias, batch, head, t, key, begin, end, scores);
  if (a.slopes != nullptr) {
    const T steep = -a.slopes[head], here = static_cast<T>(t + a.source - a.target - key);
    const auto first = static_cast<int>(begin), last = static_cast<int>(end);
    for (int s = first; s < last; ++s) {
      const T distance = here - static_cast<T>(s);
      scores[s] += steep * (distance < T{0} ? -distance : distance);
    }
  }
  if (is_masked && a.query_segments != nullptr) {
    const auto own = a.query_segments[batch * a.target + t];
    const auto* HWY_RESTRICT segments = a.key_segments + batch * a.source + key;
    for (auto s = begin; s < end; ++s) scores[s] = segments[s] == own ? scores[s] : -kInfinity<T>;
  }
  if (is_masked && a.allowed.data != nullptr) {
    const auto* HWY_RESTRICT row = reinterpret_cast<const uint8_t*>(a.allowed.row(batch, head, t) +
                                                                    key * a.allowed.source_stride);
    if (a.allowed.source_stride == 0) {
      if (*row == 0) fill(scores, begin, end, -kInfinity<T>);
    } else {
      for (auto s = begin; s < end; ++s) scores[s] = row[s] != 0 ? scores[s] : -kInfinity<T>;
    }
  }
}

// What dropout multiplies the weights of a row with: those of the kBlockKeys keys from `key`, a
// multiple of that, on. Each of a counter's 128 bits serves: 8 numbers of 16.
template <typename T>
HWY_INLINE void draw_kept(const AttentionDropout& dropout, int64_t row, int64_t key,
                          T* HWY_RESTRICT kept) {
  constexpr int64_t kCounters = kBlockKeys / 8, kWords = 4;
  HWY_ALIGN uint32_t words[kWords * kCounters];
  const hn::CappedTag<uint32_t, kCounters> d;
  const auto low = hn::Set(d, static_cast<uint32_t>(row)),
             high = hn::Set(d, static_cast<uint32_t>(static_cast<uint64_t>(row) >> 32U));
  for (int64_t i = 0; i < kCounters; i += static_cast<int64_t>(hn::Lanes(d))) {
    auto c0 = hn::Iota(d, static_cast<uint32_t>(key / 8 + i)), c1 = low, c2 = high;
    auto c3 = hn::Zero(d);
    philox4x32<7>(d, dropout.seed, c0, c1, c2, c3);
    hn::Store(c0, d, words + i);
    hn::Store(c1, d, words + kCounters + i);
    hn::Store(c2, d, words + 2 * kCounters + i);
    hn::Store(c3, d, words + 3 * kCounters + i);
  }
  const auto scale = static_cast<T>(dropout.scale());
  const auto threshold = dropout.threshold;
  for (int64_t i = 0; i < kWords * kCounters; ++i) {
    kept[i] = (words[i] & 0xFFFFU) >= threshold ? scale : T{0};
    kept[kWords * kCounters + i] = (words[i] >> 16U) >= threshold ? scale : T{0};
  }
}

template <typename T, typename Stored>
HWY_INLINE bool has_finish(const Attention<T, Stored>& a) {
  return a.soft_cap > T{0} || a.bias.data != nullptr || a.relative_bias.data != nullptr ||
         a.slopes != nullptr;
}

// In the first and the last of the vectors [first, last), what lies outside of `range`.
template <typename T>
HWY_INLINE void forbid_outside(T* scores, int64_t first, int64_t last, Range range) {
  const Vectors<T> d;
  const auto forbidden = hn::Set(d, -kInfinity<T>);
  if (first < range.begin) {
    const auto outside = hn::FirstN(d, static_cast<size_t>(range.begin - first));
    hn::StoreU(hn::IfThenElse(outside, forbidden, hn::LoadU(d, scores + first)), d, scores + first);
  }
  if (range.end < last) {
    T* const end = scores + last - lanes_of<T>();
    const auto inside = hn::FirstN(d, static_cast<size_t>(scores + range.end - end));
    hn::StoreU(hn::IfThenElse(inside, hn::LoadU(d, end), forbidden), d, end);
  }
}

// Scores [begin, end), whole vectors, become exp(score - shift); adds them to the lanes of `sums`.
template <typename T>
HWY_INLINE void exponentials(T* scores, int64_t begin, int64_t end, T shift, T* sums) {
  const Vectors<T> d;
  const auto by = hn::Set(d, shift);
  auto sum = hn::Zero(d);
  for (auto s = begin; s < end; s += lanes_of<T>()) {
    const auto value = exponential(d, hn::Sub(hn::LoadU(d, scores + s), by));
    hn::StoreU(value, d, scores + s);
    sum = hn::Add(sum, value);
  }
  hn::StoreU(hn::Add(hn::LoadU(d, sums), sum), d, sums);
}

// [begin, end), whole vectors.
template <typename T>
HWY_INLINE void clear(T* row, int64_t begin, int64_t end) {
  const Vectors<T> d;
  for (auto i = begin; i < end; i += lanes_of<T>()) hn::StoreU(hn::Zero(d), d, row + i);
}

// In each lane, the largest of scores [begin, end), whole vectors.
template <typename T>
HWY_INLINE hn::Vec<Vectors<T>> largest_of(const T* scores, int64_t begin, int64_t end) {
  const Vectors<T> d;
  auto largest = hn::LoadU(d, scores + begin);
  for (auto s = begin + lanes_of<T>(); s < end; s += lanes_of<T>()) {
    largest = hn::Max(largest, hn::LoadU(d, scores + s));
  }
  return largest;
}

template <typename T>
HWY_INLINE T sum_of_lanes(const T* sums) {
  const Vectors<T> d;
  return hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, sums)));
}

template <typename T>
HWY_INLINE void multiply(T* row, const T* by, int64_t begin, int64_t end) {
  const Vectors<T> d;
  for (auto i = begin; i < end; i += lanes_of<T>()) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + i), hn::Load(d, by + i)), d, row + i);
  }
}

template <typename T>
HWY_INLINE void scale_row(T* row, int64_t count, T factor) {
  const Vectors<T> d;
  const auto by = hn::Set(d, factor);
  for (int64_t i = 0; i < count; i += lanes_of<T>()) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + i), by), d, row + i);
  }
}

// By how much a score may exceed the shift of its row. While none does, a row of a block needs nothing that
// the next one would have to wait for: neither its largest score, across the lanes, nor new sums. More
// would round the exponents of the largest weights more coarsely.
template <typename T>
constexpr T kMostAboveShift = 2;

// What is known of a row from the keys so far.
template <typename T>
struct RowState {
  T& shift;  // at most `slack` below the largest score
  T slack;
  T* sums;     // of exp(score - shift): what they are in all is the sum of the lanes
  T* outputs;  // sums of exp(score - shift) value; whole vectors
  int64_t value_dim;
};

// Makes room for scores of which some are far above the shift.
template <typename T>
HWY_NOINLINE void raise_shift(T largest, RowState<T> state) {
  if (!(largest > state.shift)) return;  // NaN
  if (state.shift != -kInfinity<T>) {
    const T factor = std::exp(state.shift - largest);
    scale_row(state.sums, lanes_of<T>(), factor);
    scale_row(state.outputs, state.value_dim, factor);
  }
  state.shift = largest;
}

// Row `row` of the scores of keys [key, key + count) becomes weights, not yet divided by their sum,
// with zeros where it sees nothing, in whole vectors; which these are is returned.
template <typename T, typename Stored>
HWY_INLINE Range weights_of_row(const Attention<T, Stored>& a, const QueryRows& rows, int64_t row,
                                int64_t key, int64_t count, bool is_masked, RowState<T> state,
                                T* scores) {
  const auto head = rows.head_of(row), t = rows.query_of(row);
  const auto band = band_of(a, t);
  const auto range = Range{band.begin - key, band.end - key}.within(0, count);
  if (range.is_empty()) return {0, 0};
  const auto first = rounded_down<T>(range.begin), last = rounded_up<T>(range.end);
  if (is_masked || has_finish(a)) {
    finish_scores<T>(a, rows.batch, head, t, key, range.begin, range.end, is_masked, scores,
                     nullptr);
  }
  forbid_outside(scores, first, last, range);
  const Vectors<T> d;
  const auto largest = largest_of(scores, first, last);
  // Of the first scores any will do that is not far below the largest.
  if (state.shift == -kInfinity<T>) state.shift = hn::GetLane(largest);
  const auto most_allowed = hn::Set(d, state.shift + state.slack);
  if (HWY_UNLIKELY(!hn::AllFalse(d, hn::Gt(largest, most_allowed)))) {
    raise_shift(hn::GetLane(hn::MaxOfLanes(d, largest)), state);
  }
  // Of scores of -infinity alone: exp(-infinity - 0) is what they should be, and NaN stays NaN.
  exponentials(scores, first, last, state.shift == -kInfinity<T> ? T{0} : state.shift, state.sums);
  if (a.dropout.threshold > 0) {
    HWY_ALIGN T kept[kBlockKeys];
    draw_kept(a.dropout, (rows.batch * a.heads + head) * a.target + t, key, kept);
    multiply(scores, kept, first, last);
  }
  return {first, last};
}

// What is kept of a row for the backward pass: zeros if it sees nothing.
template <typename T>
HWY_INLINE void store_sums(T* to, T shift, T inverse) {
  to[0] = inverse == T{0} ? T{0} : shift;
  to[1] = inverse;
}

// One product c [rows, columns] (+)= scale a b; c and b are aligned to vectors and so wide. Numbers
// are T's or, of float, pairs along the depth.
template <typename T, typename Number = T>
struct BlockProduct {
  const Number* factors;  // a[r][k] = factors[r * row_stride + k * depth_stride]
  int64_t row_stride, depth_stride, depth;
  T* sums;  // c
  int64_t sums_stride;
  bool adds;
  T scale = T{1};  // of pairs; to scale what is multiplied would round it
};

template <int64_t kRows, int64_t kVectors, typename T, typename Number>
HWY_INLINE int64_t product_rows(const BlockProduct<T, Number>& p, const Number* panel,
                                int64_t panel_stride, int64_t column, int64_t row, int64_t rows) {
  for (; row + kRows <= rows; row += kRows) {
    Tile<kRows, kVectors, T> tile;
    T* const to = p.sums + row * p.sums_stride + column;
    tile.zero();
    tile.multiply(p.factors + row * p.row_stride, p.row_stride, p.depth_stride, panel, p.depth,
                  panel_stride);
    if constexpr (!std::is_same_v<Number, T>) tile.scale(p.scale);
    if (p.adds) tile.add(to, p.sums_stride);
    tile.store(to, p.sums_stride);
  }
  return row;
}

// kVectors vectors of columns, from `column` on; b's are `panel`, its rows panel_stride apart.
template <int64_t kVectors, typename T, typename Number>
HWY_NOINLINE void product_panel(const BlockProduct<T, Number>& p, const Number* panel,
                                int64_t panel_stride, int64_t column, int64_t row, int64_t rows) {
  row = product_rows<kTallTile, kVectors>(p, panel, panel_stride, column, row, rows);
  if constexpr (kTallTile > 8) {
    row = product_rows<8, kVectors>(p, panel, panel_stride, column, row, rows);
  }
  row = product_rows<4, kVectors>(p, panel, panel_stride, column, row, rows);
  row = product_rows<2, kVectors>(p, panel, panel_stride, column, row, rows);
  product_rows<1, kVectors>(p, panel, panel_stride, column, row, rows);
}

// All columns, b with rows of `columns` numbers.
template <typename T, typename Number>
HWY_INLINE void product(const BlockProduct<T, Number>& p, const Number* b, int64_t columns,
                        int64_t rows) {
  const auto lanes = lanes_of<T>();
  int64_t column = 0;
  for (; column + kTallVectors * lanes <= columns; column += kTallVectors * lanes) {
    product_panel<kTallVectors>(p, b + column, columns, column, 0, rows);
  }
  if (column < columns) product_panel<1>(p, b + column, columns, column, 0, rows);
}

// A product with panels of keys or values from transpose_rows, of which there are `count` from `key`
// on: those that the band lets some row see, for the rows that do.
template <typename T, typename Stored, typename Number>
HWY_INLINE void products_with_columns(const Attention<T, Stored>& a, const QueryRows& rows,
                                      int64_t key, int64_t count, Range seen,
                                      const BlockProduct<T, Number>& p, const Number* panels) {
  const auto lanes = lanes_of<T>(), wide = kTallVectors * lanes, columns = rounded_up<T>(count);
  for (auto column = seen.begin - seen.begin % wide; column < seen.end; column += wide) {
    const auto width = least(wide, columns - column);
    const auto seeing = rows_seeing(a, rows, key + column, key + column + width);
    // Whole tiles: fewer rows at a time would take longer.
    const auto first = seeing.begin - seeing.begin % kTallTile,
               last = least(rows.rows(), (seeing.end + kTallTile - 1) / kTallTile * kTallTile);
    const Number* panel = panels + column * p.depth;
    if (width == wide) {
      product_panel<kTallVectors>(p, panel, wide, column, first, last);
    } else {
      product_panel<1>(p, panel, lanes, column, first, last);
    }
  }
}

// Rows of a head lie far from each other, which the processor does not foresee.
inline constexpr int64_t kRowsAhead = 8;
template <typename T>
HWY_INLINE void prefetch_row(const T* row, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(T)) hwy::Prefetch(row + i);
}

// The same of a row that will be written: it is the processor's own by then.
template <typename T>
HWY_INLINE void prefetch_row_to_write(T* row, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(T)) {
#if HWY_ARCH_X86  // compilers know the instruction, which is older than AVX2, only by its own flag
    asm("prefetchw %0" : : "m"(row[i]));
#else
    __builtin_prefetch(row + i, 1);
#endif
  }
}

// A row of `count` numbers times `factor`, with zeros up to `padded`, a multiple of the vectors.
template <typename T, typename Stored>
HWY_INLINE void copy_row(const Stored* HWY_RESTRICT from, int64_t count, int64_t padded, T factor,
                         T* HWY_RESTRICT to) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  const auto by = hn::Set(d, factor);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::Store(hn::Mul(load_vector(d, from + i), by), d, to + i);
  }
  if (i < count) {
    hn::Store(hn::Mul(load_first(d, from + i, count - i), by), d, to + i);
    i += lanes;
  }
  for (; i < padded; i += lanes) hn::Store(hn::Zero(d), d, to + i);
}

// The side of what four or two vectors of 16 bytes transpose.
template <typename T>
constexpr int64_t kSquare = HWY_TARGET == HWY_SCALAR ? 1 : 16 / sizeof(T);

template <typename T>
HWY_INLINE void transpose_square(const T* from, [[maybe_unused]] int64_t stride, T* to,
                                 [[maybe_unused]] int64_t width) {
#if HWY_TARGET == HWY_SCALAR
  *to = *from;
#else
  const hn::Full128<T> d;
  if constexpr (kSquare<T> == 4) {
    const auto a0 = hn::LoadU(d, from), a1 = hn::LoadU(d, from + stride),
               a2 = hn::LoadU(d, from + 2 * stride), a3 = hn::LoadU(d, from + 3 * stride);
    const auto b0 = hn::InterleaveLower(d, a0, a2), b1 = hn::InterleaveLower(d, a1, a3),
               b2 = hn::InterleaveUpper(d, a0, a2), b3 = hn::InterleaveUpper(d, a1, a3);
    hn::Store(hn::InterleaveLower(d, b0, b1), d, to);
    hn::Store(hn::InterleaveUpper(d, b0, b1), d, to + width);
    hn::Store(hn::InterleaveLower(d, b2, b3), d, to + 2 * width);
    hn::Store(hn::InterleaveUpper(d, b2, b3), d, to + 3 * width);
  } else {
    const auto a0 = hn::LoadU(d, from), a1 = hn::LoadU(d, from + stride);
    hn::Store(hn::InterleaveLower(d, a0, a1), d, to);
    hn::Store(hn::InterleaveUpper(d, a0, a1), d, to + width);
  }
#endif
}

// Rows [0, count) of `rows` as columns: panels of kTallVectors vectors, the last one of 1 if that is
// enough; each is [dim, its columns]. Missing rows are zeros.
template <typename T>
HWY_INLINE void transpose_rows(const T* rows, int64_t stride, int64_t count, int64_t dim, T* to) {
  constexpr auto kSide = kSquare<T>;
  const auto padded = rounded_up<T>(count), wide = kTallVectors * lanes_of<T>();
  for (int64_t column = 0; column < padded; column += wide) {
    const auto width = least(wide, padded - column);
    T* const panel = to + column * dim;
    for (int64_t c = 0; c < width; c += kSide) {
      const auto from = column + c;
      int64_t k = 0;
      for (auto ahead = from + kRowsAhead; ahead < least(from + kRowsAhead + kSide, count);
           ++ahead) {
        prefetch_row(rows + ahead * stride, dim);
      }
      if (from + kSide <= count) {
        for (; k + kSide <= dim; k += kSide) {
          transpose_square(rows + from * stride + k, stride, panel + k * width + c, width);
        }
      }
      for (; k < dim; ++k) {
        for (int64_t i = 0; i < kSide; ++i) {
          panel[k * width + c + i] = from + i < count ? rows[(from + i) * stride + k] : T{0};
        }
      }
    }
  }
}

// How the numbers of an attention are multiplied: as they are, or, of BFloat16, as pairs along the
// depth of a product. A pair has the size of a float, so that panels and tiles are the same.
template <typename T, typename StoredAs = T>
struct Singles {
  using Sum = T;
  using Number = T;
  using Stored = StoredAs;
  static constexpr int64_t kNumbers = 1;
  static constexpr bool kPacksKeys = !std::is_same_v<T, Stored>;
};
struct Pairs {
  using Sum = float;
  using Number = Pair;
  using Stored = BFloat16;
  static constexpr int64_t kNumbers = 2;
  static constexpr bool kPacksKeys = true;
};

// The parts of a workspace, one behind the other, each aligned to 64 bytes if the first one is.
template <typename T>
struct WorkspaceParts {
  T *begin, *next;

  explicit WorkspaceParts(T* first) : begin(first), next(first) {}
  template <typename Element>
  void take(Element*& part, int64_t count) {
    static_assert(sizeof(Element) == sizeof(T));
    part = reinterpret_cast<Element*>(next);
    next += (count + 15) / 16 * 16;
  }
  int64_t size() const { return next - begin; }  // in numbers of T
};

// Of `count` numbers along a depth; in whole vectors.
template <class Kind>
HWY_INLINE int64_t depth_of(int64_t count) {
  return (count + Kind::kNumbers - 1) / Kind::kNumbers;
}
template <class Kind>
HWY_INLINE int64_t padded_depth(int64_t count) {
  return rounded_up<typename Kind::Sum>(depth_of<Kind>(count));
}

// A row as factors of a product along it, padded_depth numbers; pairs are not scaled.
template <class Kind>
HWY_INLINE void load_factors(const typename Kind::Stored* row, int64_t dim,
                             [[maybe_unused]] typename Kind::Sum scale, typename Kind::Number* to) {
  if constexpr (Kind::kNumbers == 1) {
    copy_row(row, dim, padded_depth<Kind>(dim), scale, to);
  } else {
    pack_row(row, dim, padded_depth<Kind>(dim), to);
  }
}

// Rows as panels of columns, as transpose_rows makes them. `packed`: [count, padded_depth] if the kind
// packs keys.
template <class Kind>
HWY_INLINE void load_columns(const typename Kind::Stored* rows, int64_t stride, int64_t count,
                             int64_t dim, [[maybe_unused]] typename Kind::Number* packed,
                             typename Kind::Number* to) {
  if constexpr (Kind::kPacksKeys) {
    const auto padded = padded_depth<Kind>(dim);
    for (int64_t row = 0; row < count; ++row) {
      prefetch_row(rows + (row + kRowsAhead) * stride, dim);
      load_factors<Kind>(rows + row * stride, dim, 1, packed + row * padded);
    }
    transpose_rows(packed, padded, count, depth_of<Kind>(dim), to);
  } else {
    transpose_rows(rows, stride, count, dim, to);
  }
}

// Two rows, or one if the second is null, as they are multiplied along rows: pairs lie side by side,
// in `dim` numbers in whole vectors. Singles are one row.
template <class Kind>
HWY_INLINE void load_row(const typename Kind::Stored* row,
                         [[maybe_unused]] const typename Kind::Stored* second, int64_t dim,
                         typename Kind::Number* to) {
  using T = typename Kind::Sum;
  if constexpr (Kind::kNumbers == 1) {
    copy_row(row, dim, rounded_up<T>(dim), T{1}, to);
  } else {
    stack_row(row, second, dim, rounded_up<T>(dim), to);
  }
}

// `count` rows: [depth_of(count), dim in whole vectors].
template <class Kind>
HWY_INLINE void load_rows(const typename Kind::Stored* rows, int64_t stride, int64_t count,
                          int64_t dim, typename Kind::Number* to) {
  const auto columns = rounded_up<typename Kind::Sum>(dim);
  for (int64_t row = 0; row < count; row += Kind::kNumbers, to += columns) {
    const auto* const first = rows + row * stride;
    for (int64_t i = 0; i < Kind::kNumbers; ++i) {
      prefetch_row(first + (kRowsAhead + i) * stride, dim);
    }
    load_row<Kind>(first, row + 1 < count ? first + stride : nullptr, dim, to);
  }
}

// Factors [rows, block keys] along the keys [begin, end), from `begin` on, which is even: as they are,
// or as pairs in `packed` [rows, block keys / 2].
template <typename Number>
struct Factors {
  const Number* first;
  int64_t stride;
};
template <class Kind>
HWY_INLINE auto factors_along_keys(const typename Kind::Sum* rows, int64_t begin,
                                   [[maybe_unused]] int64_t end, [[maybe_unused]] int64_t count,
                                   [[maybe_unused]] typename Kind::Number* packed) {
  if constexpr (Kind::kNumbers == 1) {
    return Factors<typename Kind::Number>{rows + begin, kBlockKeys};
  } else {
    constexpr auto kStride = kBlockKeys / Kind::kNumbers;
    for (int64_t row = 0; row < count; ++row) {
      pack_row(rows + row * kBlockKeys + begin, end - begin, packed + row * kStride);
    }
    return Factors<Pair>{packed, kStride};
  }
}

// a . b, whose last vector may be partial; b's is filled up with zeros.
template <typename T, typename Stored>
HWY_INLINE T dot(const Stored* HWY_RESTRICT a, const T* HWY_RESTRICT b, int64_t count) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  auto sums = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    sums = hn::MulAdd(load_vector(d, a + i), hn::Load(d, b + i), sums);
  }
  if (i < count) sums = hn::MulAdd(load_first(d, a + i, count - i), hn::Load(d, b + i), sums);
  return hn::GetLane(hn::SumOfLanes(d, sums));
}

// The queries of some heads divided into parts of at most so many rows: several heads of few
// queries, or some queries of one head.
struct Parts {
  int64_t members, queries;  // of one part, at most
  int64_t of_members, of_queries;

  Parts(int64_t all_members, int64_t all_queries, int64_t rows)
      : members(2 * all_queries > rows ? 1 : least(all_members, rows / all_queries)),
        queries(least(all_queries, rows)),
        of_members((all_members + members - 1) / members),
        of_queries((all_queries + queries - 1) / queries) {}

  int64_t count() const { return of_members * of_queries; }
  QueryRows part(const QueryRows& all, int64_t index) const {
    const auto member = index / of_queries * members, query = index % of_queries * queries;
    return {all.batch, all.head + member, least(members, all.members - member), all.first + query,
            least(queries, all.count - query)};
  }
};

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
