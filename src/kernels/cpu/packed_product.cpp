#include "kernels/cpu/packed_product.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include <hwy/cache_control.h>

#define HWY_WANT_AVX3_DL  // for VNNI's dot products of int8, and those of bfloat16
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/packed_product.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include "kernels/cpu/bfloat16-inl.h"
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/score_functions-inl.h"
#include "kernels/cpu/tile-inl.h"

#if HWY_ARCH_X86 && HWY_TARGET == HWY_AVX3_DL
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // which Highway 1.0.3 leaves out
static_assert(true);
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// A tile of the output: all of a panel's columns where registers allow.
constexpr int64_t kTileOfRows = 6;
#if HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
constexpr int64_t kTileOfVectors = 4;
#else
constexpr int64_t kTileOfVectors = 2;
#endif

template <int64_t kRows>
using Sums = Tile<kRows, kTileOfVectors, float>;

HWY_INLINE int64_t tile_columns() { return kTileOfVectors * lanes_of<float>(); }

// A panel is read by steps of its depth: of one number, a pair or a group for each column.
constexpr int64_t kLine = 64, kLinesOfStep = kPackedColumns * int64_t{sizeof(float)} / kLine;

HWY_INLINE int64_t steps_of(const PackedWeights& weights) {
  return packed_depth(weights.storage, weights.depth) / packed_group(weights.storage);
}

// The panel that will be read next, fetched into the second cache a little at each step of this one: else
// each panel begins with waiting for the third cache or for memory.
struct Fetch {
  const std::byte* next;
  int64_t stride;  // of a step: less than a line, where there are more steps than lines

  // Of `bytes` from `from` on as many as a line at each of `steps` gives.
  Fetch(const std::byte* from, int64_t bytes, int64_t steps)
      : next(from), stride(least(bytes / most(steps, 1) + 1, kLine)) {}

  HWY_INLINE void step() {
    __builtin_prefetch(next, 0, 2);
    next += stride;
  }
};

// What a tile will read of its own panel some steps later, from the second cache into the first.
template <typename Weight>
HWY_INLINE void fetch_ahead(const Weight* panel) {
  constexpr int64_t kAhead = 16;
  for (int64_t i = 0; i < tile_columns(); i += kLine / int64_t{sizeof(float)}) {
    hwy::Prefetch(reinterpret_cast<const std::byte*>(panel) + kAhead * kLinesOfStep * kLine +
                  i * int64_t{sizeof(float)});
  }
}

// The sums that a tile begins with.
template <int64_t kRows>
HWY_INLINE void begin(const PackedProduct& p, int64_t column, Sums<kRows>& sums) {
  if (p.weights.bias != nullptr) {
    sums.fill(p.weights.bias + column);
  } else {
    sums.zero();
  }
}

// Of kRows rows of the input, one value or pair each, and the weights of a tile's columns for it.
template <int64_t kRows, typename Number, class V>
HWY_INLINE void add_products(const Number* HWY_RESTRICT input, int64_t stride,
                             const V (&weights)[kTileOfVectors], Sums<kRows>& sums) {
  HWY_UNROLL(16)
  for (int64_t r = 0; r < kRows; ++r) {
    const auto factor = hn::Set(hn::Rebind<Number, Vectors<float>>(), input[r * stride]);
    for (int64_t v = 0; v < kTileOfVectors; ++v) {
      sums.sums[r][v] = add_product(factor, weights[v], sums.sums[r][v]);
    }
  }
}

// The same along a panel of such values or pairs.
template <int64_t kRows, typename Number>
HWY_INLINE void add_steps(const Number* HWY_RESTRICT input, int64_t stride,
                          const Number* HWY_RESTRICT panel, int64_t steps, Fetch fetch,
                          Sums<kRows>& sums) {
  const hn::Rebind<Number, Vectors<float>> d;
  for (int64_t k = 0; k < steps; ++k) {
    fetch.step();
    fetch_ahead(panel);
    hn::Vec<decltype(d)> weights[kTileOfVectors];
    for (int64_t v = 0; v < kTileOfVectors; ++v) {
      weights[v] = hn::LoadU(d, panel + v * lanes_of<float>());
    }
    add_products<kRows>(input + k, stride, weights, sums);
    panel += kPackedColumns;
  }
}

// The sums of kRows rows of the input and a tile's columns of a panel.
template <int64_t kRows>
HWY_INLINE void multiply(const PackedProduct& p, int64_t row, const float* HWY_RESTRICT panel,
                         int64_t column, Fetch fetch, Sums<kRows>& sums) {
  begin(p, column, sums);
  const float* HWY_RESTRICT input = p.input + row * p.input_stride;
  add_steps<kRows>(input, p.input_stride, panel, p.weights.depth, fetch, sums);
}

// Of weights in pairs.
template <int64_t kRows>
HWY_INLINE void multiply(const PackedProduct& p, int64_t row, const Pair* HWY_RESTRICT panel,
                         int64_t column, Fetch fetch, Sums<kRows>& sums) {
  begin(p, column, sums);
  const PairVectors d;
  const auto lanes = lanes_of<float>(), depth = p.weights.depth;
  if (p.halves != nullptr) {
    const auto pairs = packed_depth(WeightStorage::kBFloat16, depth) / 2;
    const auto* HWY_RESTRICT input = reinterpret_cast<const Pair*>(p.halves) + row * pairs;
    add_steps<kRows>(input, pairs, panel, pairs, fetch, sums);
    return;
  }
  const float* HWY_RESTRICT input = p.input + row * p.input_stride;
  hn::Vec<Vectors<float>> weights[kTileOfVectors];
  for (int64_t k = 0; k < depth; k += 2) {
    fetch.step();
    fetch_ahead(panel);
    for (int64_t v = 0; v < kTileOfVectors; ++v) {
      weights[v] = first_of(hn::LoadU(d, panel + v * lanes));
    }
    add_products<kRows>(input + k, p.input_stride, weights, sums);
    if (k + 1 == depth) break;
    for (int64_t v = 0; v < kTileOfVectors; ++v) {
      weights[v] = second_of(hn::LoadU(d, panel + v * lanes));
    }
    add_products<kRows>(input + k + 1, p.input_stride, weights, sums);
    panel += kPackedColumns;
  }
}

using Integers = hn::RebindToSigned<Vectors<float>>;

constexpr auto kPackedGroup = packed_group(WeightStorage::kInt8);

// The groups of int8 of consecutive columns, one in each lane of 32 bits.
HWY_INLINE hn::Vec<Integers> groups_at(const int8_t* HWY_RESTRICT from) {
  const Integers d;
#if HWY_TARGET == HWY_SCALAR
  int32_t group;
  hwy::CopyBytes<sizeof(group)>(from, &group);
  return hn::Set(d, group);
#else
  return hn::BitCast(d, hn::LoadU(hn::Repartition<int8_t, Integers>(), from));
#endif
}

// sum[i] + the product of four int8 of `weights` and of `inputs` in each lane of 32 bits.
HWY_INLINE hn::Vec<Integers> add_dots(hn::Vec<Integers> inputs, hn::Vec<Integers> weights,
                                      hn::Vec<Integers> sum) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
  // GCC 12 copies the sum of the intrinsic back and forth.
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(inputs.raw), "v"(weights.raw));
  return sum;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::Repartition<int16_t, Integers> pairs;
  const auto odd = [&](auto v) HWY_ATTR { return hn::ShiftRight<8>(hn::BitCast(pairs, v)); };
  const auto even = [&](auto v) HWY_ATTR {
    return hn::ShiftRight<8>(hn::ShiftLeft<8>(hn::BitCast(pairs, v)));
  };
#if HWY_TARGET <= HWY_AVX3
  const auto low = _mm512_madd_epi16(even(inputs).raw, even(weights).raw);
  const auto high = _mm512_madd_epi16(odd(inputs).raw, odd(weights).raw);
#else
  const auto low = _mm256_madd_epi16(even(inputs).raw, even(weights).raw);
  const auto high = _mm256_madd_epi16(odd(inputs).raw, odd(weights).raw);
#endif
  return hn::Add(sum, hn::Add(hn::Vec<Integers>{low}, hn::Vec<Integers>{high}));
#else
  const auto add = [&](auto a, auto b) HWY_ATTR { sum = hn::Add(sum, hn::Mul(a, b)); };
  add(hn::ShiftRight<24>(inputs), hn::ShiftRight<24>(weights));
  add(hn::ShiftRight<24>(hn::ShiftLeft<8>(inputs)), hn::ShiftRight<24>(hn::ShiftLeft<8>(weights)));
  add(hn::ShiftRight<24>(hn::ShiftLeft<16>(inputs)),
      hn::ShiftRight<24>(hn::ShiftLeft<16>(weights)));
  add(hn::ShiftRight<24>(hn::ShiftLeft<24>(inputs)),
      hn::ShiftRight<24>(hn::ShiftLeft<24>(weights)));
  return sum;
#endif
}

// VNNI multiplies unsigned bytes by signed ones: inputs are shifted by 128, and the columns' sums take
// that back.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
constexpr int32_t kShift = 128;
#else
constexpr int32_t kShift = 0;
#endif

template <int64_t kRows>
HWY_INLINE void multiply(const PackedProduct& p, int64_t row, const int8_t* HWY_RESTRICT panel,
                         int64_t column, Fetch fetch, Sums<kRows>& sums) {
  const Integers d;
  const Vectors<float> of_float;
  const auto lanes = lanes_of<float>();
  const auto depth = packed_depth(WeightStorage::kInt8, p.weights.depth);
  hn::Vec<Integers> dots[kRows][kTileOfVectors];
  HWY_UNROLL(16)
  for (auto& of_row : dots) {
    for (auto& dot : of_row) dot = hn::Zero(d);
  }
  const int8_t* HWY_RESTRICT input = p.integers + row * depth;
  for (int64_t k = 0; k < depth; k += kPackedGroup) {
    fetch.step();
    fetch_ahead(panel);
    hn::Vec<Integers> values[kTileOfVectors];
    for (int64_t v = 0; v < kTileOfVectors; ++v) {
      values[v] = groups_at(panel + v * lanes * kPackedGroup);
    }
    HWY_UNROLL(16)
    for (int64_t r = 0; r < kRows; ++r) {
      int32_t group;
      hwy::CopyBytes<sizeof(group)>(input + r * depth + k, &group);
      const auto inputs = hn::Set(d, group);
      for (int64_t v = 0; v < kTileOfVectors; ++v) {
        dots[r][v] = add_dots(inputs, values[v], dots[r][v]);
      }
    }
    panel += kPackedColumns * kPackedGroup;
  }
  HWY_UNROLL(4)
  for (int64_t v = 0; v < kTileOfVectors; ++v) {
    const auto at = column + v * lanes;
    const auto scales = hn::LoadU(of_float, p.weights.scales + at);
    const auto taken = hn::Mul(hn::LoadU(d, p.weights.sums + at), hn::Set(d, kShift));
    const auto bias =
        p.weights.bias != nullptr ? hn::LoadU(of_float, p.weights.bias + at) : hn::Zero(of_float);
    HWY_UNROLL(16)
    for (int64_t r = 0; r < kRows; ++r) {
      const auto scale = hn::Mul(scales, hn::Set(of_float, p.input_scales[row + r]));
      sums.sums[r][v] =
          hn::MulAdd(hn::ConvertTo(of_float, hn::Sub(dots[r][v], taken)), scale, bias);
    }
  }
}

template <class V>
HWY_INLINE V activated(V x, Ending::Activation activation) {
  const Vectors<float> d;
  V kept;
  switch (activation) {
    case Ending::Activation::kNone:
      return x;
    case Ending::Activation::kRelu:
      return ReluScore::value(d, x, kept);
    case Ending::Activation::kGelu:
      return GeluScore::value(d, x, kept);
    case Ending::Activation::kSwish:
      return SiluScore::value(d, x, kept);
    case Ending::Activation::kGeluTanh: {
      const auto half = hn::Mul(hn::Set(d, 0.5F), x);
      const auto cubic = hn::Mul(hn::Mul(x, x), hn::Mul(x, hn::Set(d, 0.044715F)));
      const auto inner = hn::Mul(hn::Set(d, 0.7978845608028654F), hn::Add(x, cubic));
      return hn::MulAdd(half, tanh_of(d, inner), half);
    }
  }
  return x;
}

// Applies the ending to the columns [column, column + count) of kRows rows, and writes them.
template <int64_t kRows>
HWY_INLINE void finish(const PackedProduct& p, int64_t row, int64_t column, int64_t count,
                       Sums<kRows>& sums) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  HWY_ALIGN float part[64 / sizeof(float)];
  HWY_UNROLL(16)
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kTileOfVectors; ++v) {
      const auto here = least(count - v * lanes, lanes);
      if (here <= 0) break;
      const auto at = (row + r) * p.weights.columns + column + v * lanes;
      auto value = activated(sums.sums[r][v], p.ending.activation);
      const auto operand = [&](const float* from) HWY_ATTR {
        return here == lanes ? hn::LoadU(d, from + at) : load_first(d, from + at, here);
      };
      if (p.ending.factor != nullptr) value = hn::Mul(value, operand(p.ending.factor));
      if (p.ending.addend != nullptr) value = hn::Add(value, operand(p.ending.addend));
      if (here == lanes) {
        hn::StoreU(value, d, p.output + at);
      } else {
        hn::Store(value, d, part);
        for (int64_t i = 0; i < here; ++i) p.output[at + i] = part[i];
      }
    }
  }
}

template <typename Weight, int64_t kRows>
void tile(const PackedProduct& p, int64_t row, const Weight* panel, int64_t column, Fetch& fetch) {
  constexpr int64_t kGroup = sizeof(Weight) == 1 ? kPackedGroup : 1;
  const auto steps = steps_of(p.weights);
  const auto end = least(column + kPackedColumns, p.weights.columns);
  for (auto at = column; at < end; at += tile_columns()) {
    Sums<kRows> sums;
    multiply<kRows>(p, row, panel + (at - column) * kGroup, at, fetch, sums);
    fetch.next += steps * fetch.stride;
    finish<kRows>(p, row, at, end - at, sums);
  }
}

template <typename Weight, size_t... kRow>
constexpr auto tiles_of(std::index_sequence<kRow...> /*rows*/) {
  return std::array{&tile<Weight, static_cast<int64_t>(kRow) + 1>...};
}

template <typename Weight>
void panels(const PackedProduct& p, int64_t first, int64_t last) {
  static constexpr auto kTiles = tiles_of<Weight>(std::make_index_sequence<kTileOfRows>());
  const auto* data = reinterpret_cast<const Weight*>(p.weights.data);
  const auto bytes =
      static_cast<int64_t>(packed_bytes(p.weights.storage, kPackedColumns, p.weights.depth));
  const auto size = bytes / static_cast<int64_t>(sizeof(Weight));  // pairs are one
  // Even tiles: of 8 rows two of 4 rather than 6 and 2.
  const auto tiles = (p.rows + kTileOfRows - 1) / kTileOfRows;
  const auto height = tiles == 0 ? 1 : (p.rows + tiles - 1) / tiles;
  const auto all_steps = tiles * (kPackedColumns / tile_columns()) * steps_of(p.weights);
  for (auto panel = first; panel < last; ++panel) {
    const auto next = panel + 1 < last ? panel + 1 : panel + p.panels_ahead;
    Fetch fetch(p.weights.data + next * bytes, bytes, all_steps);
    for (int64_t row = 0; row < p.rows; row += height) {
      const auto rows = least(height, p.rows - row);
      kTiles[static_cast<size_t>(rows - 1)](p, row, data + panel * size, panel * kPackedColumns,
                                            fetch);
    }
  }
}

void panels_of(const PackedProduct& p, int64_t first, int64_t last) {
  switch (p.weights.storage) {
    case WeightStorage::kFloat32:
      return panels<float>(p, first, last);
    case WeightStorage::kBFloat16:
      return panels<Pair>(p, first, last);
    case WeightStorage::kInt8:
      return panels<int8_t>(p, first, last);
  }
}

void round_to_halves(const float* input, int64_t input_stride, int64_t rows, int64_t depth,
                     BFloat16* halves) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const auto whole = rounded_down<float>(depth),
             size = packed_depth(WeightStorage::kBFloat16, depth);
  HWY_ALIGN BFloat16 last[64 / sizeof(float)] = {};
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = input + r * input_stride;
    BFloat16* to = halves + r * size;
    for (int64_t k = 0; k < whole; k += lanes) store_halves(hn::LoadU(d, from + k), to + k);
    if (whole < depth) store_halves(load_first(d, from + whole, depth - whole), last);
    for (auto k = whole; k < depth; ++k) to[k] = last[k - whole];
    for (auto k = depth; k < size; ++k) to[k] = BFloat16{0};
  }
}

void quantize(const float* input, int64_t input_stride, int64_t rows, int64_t depth,
              int8_t* integers, float* scales) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const auto whole = rounded_down<float>(depth), size = packed_depth(WeightStorage::kInt8, depth);
  const hn::Rebind<int8_t, Vectors<float>> bytes;
  constexpr auto kFlip = static_cast<int8_t>(kShift);  // adds kShift to a byte
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = input + r * input_stride;
    int8_t* to = integers + r * size;
    auto greatest = hn::Zero(d);
    for (int64_t k = 0; k < whole; k += lanes) {
      greatest = hn::Max(greatest, hn::Abs(hn::LoadU(d, from + k)));
    }
    if (whole < depth) {
      greatest = hn::Max(greatest, hn::Abs(load_first(d, from + whole, depth - whole)));
    }
    const float most = hn::GetLane(hn::MaxOfLanes(d, greatest));
    scales[r] = most / 127.0F;
    const float factor = most > 0.0F ? 127.0F / most : 0.0F;
    for (int64_t k = 0; k < whole; k += lanes) {
      const auto nearest = hn::NearestInt(hn::Mul(hn::LoadU(d, from + k), hn::Set(d, factor)));
      const auto shifted = hn::Xor(hn::DemoteTo(bytes, nearest), hn::Set(bytes, kFlip));
      hn::StoreU(shifted, bytes, to + k);
    }
    for (auto k = whole; k < size; ++k) {
      const auto nearest = k < depth ? std::nearbyint(from[k] * factor) : 0.0F;
      to[k] = static_cast<int8_t>(static_cast<int8_t>(nearest) ^ kFlip);
    }
  }
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(panels_of);
HWY_EXPORT(round_to_halves);
HWY_EXPORT(quantize);

// To the nearest, ties to even; NaN stays NaN.
uint16_t bfloat16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16U | 0x40U);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

template <typename Weight, typename Convert>
void pack_as(const float* weights, int64_t columns, int64_t depth, int64_t group, std::byte* data,
             const Convert& convert) {
  auto* to = reinterpret_cast<Weight*>(data);
  const auto padded = (depth + group - 1) / group * group;
  for (int64_t first = 0; first < columns; first += kPackedColumns) {
    for (int64_t k = 0; k < padded; k += group) {
      for (auto column = first; column < first + kPackedColumns; ++column) {
        for (auto i = k; i < k + group; ++i) {
          const bool is_one = column < columns && i < depth;
          *to++ = is_one ? convert(weights[column * depth + i], column) : Weight{0};
        }
      }
    }
  }
}

// Copies values that lie a panel's row apart.
template <typename Value>
void copy_column(int64_t count, const std::byte* source, int64_t from, std::byte* target,
                 int64_t to) {
  const auto start = [&](int64_t column) {
    return column / kPackedColumns * kPackedColumns * count + column % kPackedColumns;
  };
  const auto* values = reinterpret_cast<const Value*>(source) + start(from);
  auto* copies = reinterpret_cast<Value*>(target) + start(to);
  for (int64_t i = 0; i < count; ++i) copies[i * kPackedColumns] = values[i * kPackedColumns];
}

}  // namespace

void copy_packed_column(WeightStorage storage, int64_t depth, const std::byte* source, int64_t from,
                        std::byte* target, int64_t to) {
  switch (storage) {
    case WeightStorage::kFloat32:
      return copy_column<float>(depth, source, from, target, to);
    case WeightStorage::kBFloat16:
    case WeightStorage::kInt8:  // by groups, of 4 bytes both
      return copy_column<uint32_t>(packed_depth(storage, depth) / packed_group(storage), source,
                                   from, target, to);
  }
}

void pack_weights(WeightStorage storage, const float* weights, int64_t columns, int64_t depth,
                  std::byte* data, float* scales, int32_t* sums) {
  if (storage == WeightStorage::kFloat32) {
    pack_as<float>(weights, columns, depth, packed_group(storage), data,
                   [](float w, int64_t) { return w; });
    return;
  }
  if (storage == WeightStorage::kBFloat16) {
    pack_as<uint16_t>(weights, columns, depth, packed_group(storage), data,
                      [](float w, int64_t) { return bfloat16_of(w); });
    return;
  }
  const auto padded = packed_panels(columns) * kPackedColumns;
  std::fill(scales, scales + padded, 0.0F);
  std::fill(sums, sums + padded, 0);
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t k = 0; k < depth; ++k) {
      scales[c] = std::max(scales[c], std::abs(weights[c * depth + k]));
    }
    scales[c] /= 127.0F;
  }
  pack_as<int8_t>(
      weights, columns, depth, packed_group(storage), data, [&](float w, int64_t column) {
        const auto integer = scales[column] > 0.0F
                                 ? static_cast<int8_t>(std::nearbyint(w / scales[column]))
                                 : int8_t{0};
        sums[column] += integer;
        return integer;
      });
}

void packed_product(const PackedProduct& product, int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(panels_of)(product, first, last);
}

void round_rows(const float* input, int64_t input_stride, int64_t rows, int64_t depth,
                BFloat16* halves) {
  HWY_DYNAMIC_DISPATCH(round_to_halves)(input, input_stride, rows, depth, halves);
}

void quantize_rows(const float* input, int64_t input_stride, int64_t rows, int64_t depth,
                   int8_t* integers, float* scales) {
  HWY_DYNAMIC_DISPATCH(quantize)(input, input_stride, rows, depth, integers, scales);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
