// bfloat16: vectors of it as float32, and pairs of it, whose two products are added to one sum of
// float32. Included once for each instruction set that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_BFLOAT16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_BFLOAT16_INL_H
#undef ATTEND_KERNELS_CPU_BFLOAT16_INL_H
#else
#define ATTEND_KERNELS_CPU_BFLOAT16_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// The first of two bfloat16 in the lower half.
using Pair = uint32_t;
using PairVectors = hn::Rebind<Pair, Vectors<float>>;
using HalfVectors = hn::Rebind<uint16_t, Vectors<float>>;

// With this set, processors that has_bfloat16_products() have instructions for pairs. As inline
// assembly, since Highway 1.0.3 leaves them out of the set. Elsewhere they are computed by others.
#undef ATTEND_BFLOAT16_INSTRUCTIONS
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
#define ATTEND_BFLOAT16_INSTRUCTIONS 1
#else
#define ATTEND_BFLOAT16_INSTRUCTIONS 0
#endif

// Sets with kernels that multiply pairs: where there are instructions, and, to test the kernels on
// other processors, AVX2 and Arm.
#undef ATTEND_HAS_PAIRS
#if ATTEND_BFLOAT16_INSTRUCTIONS || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_NEON
#define ATTEND_HAS_PAIRS 1
#else
#define ATTEND_HAS_PAIRS 0
#endif

// Other kernels gain nothing by this set beside AVX3, and are compiled once.
#undef ATTEND_FUNCTIONS_OF_AVX3
#if HWY_TARGET == HWY_AVX3_DL && (HWY_TARGETS & HWY_AVX3) != 0 && HWY_STATIC_TARGET != HWY_AVX3_DL
#define ATTEND_FUNCTIONS_OF_AVX3 1
#else
#define ATTEND_FUNCTIONS_OF_AVX3 0
#endif

// A vector of bfloat16, each in the lower half of a lane; of the first `count` numbers, then zeros.
HWY_INLINE hn::Vec<PairVectors> load_halves(const BFloat16* HWY_RESTRICT from) {
  return hn::PromoteTo(PairVectors(),
                       hn::LoadU(HalfVectors(), reinterpret_cast<const uint16_t*>(from)));
}
HWY_INLINE hn::Vec<PairVectors> load_halves(const BFloat16* HWY_RESTRICT from, int64_t count) {
  HWY_ALIGN BFloat16 halves[64 / sizeof(float)] = {};
  for (int64_t i = 0; i < count; ++i) halves[i] = from[i];
  return load_halves(halves);
}

// A vector of what is stored; load_first for the last ones of a row.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> load_vector(D d, const T* HWY_RESTRICT from) {
  return hn::LoadU(d, from);
}
HWY_INLINE hn::Vec<Vectors<float>> load_vector(Vectors<float> d,
                                               const BFloat16* HWY_RESTRICT from) {
  return hn::BitCast(d, hn::ShiftLeft<16>(load_halves(from)));
}
HWY_INLINE hn::Vec<Vectors<float>> load_first(Vectors<float> d, const BFloat16* HWY_RESTRICT from,
                                              int64_t count) {
  return hn::BitCast(d, hn::ShiftLeft<16>(load_halves(from, count)));
}

HWY_INLINE hn::Vec<Vectors<float>> first_of(hn::Vec<PairVectors> pairs) {
  return hn::BitCast(Vectors<float>(), hn::ShiftLeft<16>(pairs));
}
HWY_INLINE hn::Vec<Vectors<float>> second_of(hn::Vec<PairVectors> pairs) {
  return hn::BitCast(Vectors<float>(), hn::And(pairs, hn::Set(PairVectors(), 0xFFFF0000U)));
}

// Rounded to the nearest bfloat16, which is in the lower half; NaN stays NaN.
HWY_INLINE hn::Vec<PairVectors> rounded_to_bfloat16(hn::Vec<Vectors<float>> x) {
  const PairVectors d;
  const auto bits = hn::BitCast(d, x);
  const auto is_odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1U));
  const auto rounded = hn::Add(bits, hn::Add(is_odd, hn::Set(d, 0x7FFFU)));
  const auto quiet = hn::Or(bits, hn::Set(d, 0x400000U));
  const auto is_nan = hn::RebindMask(d, hn::IsNaN(x));
  return hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
}

// Whole vectors, on every processor.
HWY_INLINE void store_rounded(hn::Vec<Vectors<float>> x, BFloat16* HWY_RESTRICT to) {
  const auto bits = hn::BitCast(hn::RebindToSigned<PairVectors>(), rounded_to_bfloat16(x));
  const HalfVectors d;
  hn::StoreU(hn::DemoteTo(d, bits), d, reinterpret_cast<uint16_t*>(to));
}

// The same two for kernels of pairs, by the processor's instruction where the set has it.
#if ATTEND_BFLOAT16_INSTRUCTIONS
HWY_INLINE hn::Vec<HalfVectors> converted(hn::Vec<Vectors<float>> x) {
  hn::Vec<HalfVectors> result;
  asm("vcvtneps2bf16 %1, %0" : "=v"(result.raw) : "v"(x.raw));
  return result;
}
HWY_INLINE hn::Vec<PairVectors> half_of_pair(hn::Vec<Vectors<float>> x) {
  return hn::PromoteTo(PairVectors(), converted(x));
}
HWY_INLINE void store_halves(hn::Vec<Vectors<float>> x, BFloat16* HWY_RESTRICT to) {
  hn::StoreU(converted(x), HalfVectors(), reinterpret_cast<uint16_t*>(to));
}
#else
HWY_INLINE hn::Vec<PairVectors> half_of_pair(hn::Vec<Vectors<float>> x) {
  return rounded_to_bfloat16(x);
}
HWY_INLINE void store_halves(hn::Vec<Vectors<float>> x, BFloat16* HWY_RESTRICT to) {
  store_rounded(x, to);
}
#endif

// sum + the products of the firsts and of the seconds.
HWY_INLINE hn::Vec<Vectors<float>> add_product(hn::Vec<PairVectors> a, hn::Vec<PairVectors> b,
                                               hn::Vec<Vectors<float>> sum) {
#if ATTEND_BFLOAT16_INSTRUCTIONS
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#else
  return hn::MulAdd(first_of(a), first_of(b), hn::MulAdd(second_of(a), second_of(b), sum));
#endif
}

// Lane by lane, of bfloat16 in the lower halves.
HWY_INLINE hn::Vec<PairVectors> paired(hn::Vec<PairVectors> first, hn::Vec<PairVectors> second) {
  return hn::Or(first, hn::ShiftLeft<16>(second));
}

// Rows as pairs of neighbours, with zeros up to `pairs`, a multiple of the vectors.
HWY_INLINE void pack_row(const BFloat16* HWY_RESTRICT from, int64_t count, int64_t pairs,
                         Pair* HWY_RESTRICT to) {
  const HalfVectors d;
  const auto lanes = lanes_of<float>();
  const auto* const halves = reinterpret_cast<const uint16_t*>(from);
  auto* const packed = reinterpret_cast<uint16_t*>(to);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(hn::LoadU(d, halves + i), d, packed + i);
  for (; i < count; ++i) packed[i] = halves[i];
  for (; i < 2 * pairs; ++i) packed[i] = 0;
}
// The same of numbers that are rounded; whole vectors of them are written.
HWY_INLINE void pack_row(const float* HWY_RESTRICT from, int64_t count, Pair* HWY_RESTRICT to) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  auto* const halves = reinterpret_cast<BFloat16*>(to);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store_halves(hn::LoadU(d, from + i), halves + i);
  if (i < count) store_halves(load_first(d, from + i, count - i), halves + i);
}

// Pairs of the numbers of two rows, of which the second may be missing: zeros. Columns from `dim` on,
// up to `columns`, a multiple of the vectors, are zeros too.
HWY_INLINE void stack_row(const BFloat16* first, const BFloat16* second, int64_t dim,
                          int64_t columns, Pair* HWY_RESTRICT to) {
  const PairVectors d;
  const auto lanes = lanes_of<float>();
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    const auto above = second == nullptr ? hn::Zero(d) : load_halves(second + i);
    hn::StoreU(paired(load_halves(first + i), above), d, to + i);
  }
  if (i < dim) {
    const auto above = second == nullptr ? hn::Zero(d) : load_halves(second + i, dim - i);
    hn::StoreU(paired(load_halves(first + i, dim - i), above), d, to + i);
    i += lanes;
  }
  for (; i < columns; i += lanes) hn::StoreU(hn::Zero(d), d, to + i);
}
// The same of `columns` numbers, a multiple of the vectors, that are rounded. The result may take the
// place of `first`.
HWY_INLINE void stack_row(const float* first, const float* second, int64_t columns, Pair* to) {
  const Vectors<float> d;
  const PairVectors pairs;
  for (int64_t i = 0; i < columns; i += lanes_of<float>()) {
    const auto above = second == nullptr ? hn::Zero(d) : hn::LoadU(d, second + i);
    const auto low = half_of_pair(hn::LoadU(d, first + i));
    hn::StoreU(paired(low, half_of_pair(above)), pairs, to + i);
  }
}

// A row times `factor`, rounded to what is stored.
template <typename T>
HWY_INLINE void store_row(const T* HWY_RESTRICT from, int64_t count, T factor, T* HWY_RESTRICT to) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i] * factor;
}
HWY_INLINE void store_row(const float* HWY_RESTRICT from, int64_t count, float factor,
                          BFloat16* HWY_RESTRICT to) {
  const Vectors<float> d;
  const auto by = hn::Set(d, factor);
  const auto lanes = lanes_of<float>();
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    store_rounded(hn::Mul(hn::LoadU(d, from + i), by), to + i);
  }
  if (i < count) {
    HWY_ALIGN BFloat16 last[64 / sizeof(float)];
    store_rounded(hn::Mul(load_first(d, from + i, count - i), by), last);
    for (int64_t k = 0; i < count; ++i, ++k) to[i] = last[k];
  }
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
