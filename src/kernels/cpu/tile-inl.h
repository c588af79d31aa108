// The inner loop of all products: a tile of sums in registers. Included once for each instruction
// set that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_TILE_INL_H
#undef ATTEND_KERNELS_CPU_TILE_INL_H
#else
#define ATTEND_KERNELS_CPU_TILE_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernels/cpu/bfloat16-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// As many rows of so many vectors as there are registers for their sums, 32 or 16, with some left
// for what is multiplied: two shapes, for columns that divide by three vectors and by two.
#if HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
inline constexpr int64_t kWideTile = 8, kTallTile = 12;
#else
inline constexpr int64_t kWideTile = 4, kTallTile = 6;
#endif
inline constexpr int64_t kWideVectors = 3, kTallVectors = 2;

// sum + a b
template <typename V>
HWY_INLINE V add_product(V a, V b, V sum) {
  return hn::MulAdd(a, b, sum);
}

// Sums of kRows by kVectors vectors. Where a loop over rows is not unrolled they lie in memory, hence
// the pragmas.
template <int64_t kRows, int64_t kVectors, typename T>
struct Tile {
  hn::Vec<Vectors<T>> sums[kRows][kVectors];

#if !HWY_ARCH_X86
  // Vectors have constructors there, and the compiler's own for the tile would be compiled for the
  // baseline, which may not inline them.
  HWY_INLINE Tile() {}  // NOLINT(modernize-use-equals-default)
#endif

  HWY_INLINE void zero() {
    HWY_UNROLL(16)
    for (auto& row : sums) {
      for (auto& sum : row) sum = hn::Zero(Vectors<T>());
    }
  }
  HWY_INLINE void fill(const T* HWY_RESTRICT row) {  // each row alike
    const Vectors<T> d;
    for (int64_t v = 0; v < kVectors; ++v) {
      const auto values = hn::LoadU(d, row + v * lanes_of<T>());
      for (int64_t r = 0; r < kRows; ++r) sums[r][v] = values;
    }
  }
  HWY_INLINE void load(const T* HWY_RESTRICT from, int64_t stride) {
    const Vectors<T> d;
    HWY_UNROLL(16)
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::LoadU(d, from + r * stride + v * lanes_of<T>());
      }
    }
  }
  HWY_INLINE void scale(T factor) {
    const auto by = hn::Set(Vectors<T>(), factor);
    HWY_UNROLL(16)
    for (auto& row : sums) {
      for (auto& sum : row) sum = hn::Mul(sum, by);
    }
  }
  // After the products: added first, each of them would be rounded to the sum so far.
  HWY_INLINE void add(const T* HWY_RESTRICT from, int64_t stride) {
    const Vectors<T> d;
    HWY_UNROLL(16)
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::Add(sums[r][v], hn::LoadU(d, from + r * stride + v * lanes_of<T>()));
      }
    }
  }
  HWY_INLINE void store(T* HWY_RESTRICT to, int64_t stride) const {
    const Vectors<T> d;
    HWY_UNROLL(16)
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kVectors; ++v) {
        hn::StoreU(sums[r][v], d, to + r * stride + v * lanes_of<T>());
      }
    }
  }
  // Adds the product of factors[r * row_stride + k * depth_stride] and panel
  // [depth, kVectors vectors], whose rows lie together or panel_stride apart.
  // Number: T, or pairs; Stored: what has a load_vector of it.
  template <typename Number, typename Stored>
  HWY_INLINE void multiply(const Number* HWY_RESTRICT factors, int64_t row_stride,
                           int64_t depth_stride, const Stored* HWY_RESTRICT panel, int64_t depth,
                           int64_t panel_stride = kVectors * lanes_of<T>()) {
    const hn::Rebind<Number, Vectors<T>> d;
    const auto lanes = lanes_of<T>();
    for (int64_t k = 0; k < depth; ++k) {
      hn::Vec<decltype(d)> values[kVectors];
      for (int64_t v = 0; v < kVectors; ++v) values[v] = load_vector(d, panel + v * lanes);
      HWY_UNROLL(16)
      for (int64_t r = 0; r < kRows; ++r) {
        const auto factor = hn::Set(d, factors[r * row_stride]);
        for (int64_t v = 0; v < kVectors; ++v) {
          sums[r][v] = add_product(factor, values[v], sums[r][v]);
        }
      }
      panel += panel_stride;
      factors += depth_stride;
    }
  }
};

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
