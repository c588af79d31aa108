// Products of small tiles whose sums stay in registers: what the kernels' matrix products are made of.
// Included once for each instruction set, after highway.h.
#if defined(ATTEND_KERNELS_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_TILE_INL_H_
#undef ATTEND_KERNELS_CPU_TILE_INL_H_
#else
#define ATTEND_KERNELS_CPU_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// As many rows of so many vectors as there are registers for their sums, 32 or 16, with some left for
// what is multiplied: two shapes, for columns that divide by three vectors and by two.
#if HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
constexpr int kWideTile = 8, kTallTile = 12;
#else
constexpr int kWideTile = 4, kTallTile = 6;
#endif
constexpr int kWideVectors = 3, kTallVectors = 2;

template <typename T>
using Vectors = hn::CappedTag<T, 64 / sizeof(T)>;

template <typename T>
HWY_INLINE int64_t lanes_of() {
  return static_cast<int64_t>(hn::Lanes(Vectors<T>()));
}

// Sums of kRows by kVectors vectors.
template <int kRows, int kVectors, typename T>
struct Tile {
  hn::Vec<Vectors<T>> sums[kRows][kVectors];

  HWY_INLINE void zero() {
    for (auto& row : sums) {
      for (auto& sum : row) sum = hn::Zero(Vectors<T>());
    }
  }
  HWY_INLINE void load(const T* HWY_RESTRICT from, int64_t stride) {
    const Vectors<T> d;
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::LoadU(d, from + r * stride + v * lanes_of<T>());
      }
    }
  }
  HWY_INLINE void store(T* HWY_RESTRICT to, int64_t stride) const {
    const Vectors<T> d;
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        hn::StoreU(sums[r][v], d, to + r * stride + v * lanes_of<T>());
      }
    }
  }
  // Adds the product of factors[r * row_stride + k * depth_stride] and panel [depth, kVectors vectors].
  HWY_INLINE void multiply(const T* HWY_RESTRICT factors, int64_t row_stride, int64_t depth_stride,
                           const T* HWY_RESTRICT panel, int64_t depth) {
    const Vectors<T> d;
    const auto lanes = lanes_of<T>();
    for (int64_t k = 0; k < depth; ++k) {
      hn::Vec<Vectors<T>> values[kVectors];
      for (int v = 0; v < kVectors; ++v) values[v] = hn::Load(d, panel + v * lanes);
      for (int r = 0; r < kRows; ++r) {
        const auto factor = hn::Set(d, factors[r * row_stride]);
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = hn::MulAdd(factor, values[v], sums[r][v]);
        }
      }
      panel += kVectors * lanes;
      factors += depth_stride;
    }
  }
};

// x [rows, columns], rows `stride` apart, by groups of `width` columns, in each all rows, in each the group's columns; zeros
// up to padded_rows and padded_columns.
template <typename T>
HWY_INLINE void pack_columns(const T* HWY_RESTRICT x, int64_t stride, int64_t rows,
                             int64_t padded_rows, int64_t columns, int64_t padded_columns,
                             int64_t width, T* HWY_RESTRICT packed) {
  for (int64_t first = 0; first < padded_columns; first += width) {
    const auto count = std::max<int64_t>(0, std::min(width, columns - first));
    for (int64_t r = 0; r < padded_rows; ++r) {
      const auto here = r < rows ? count : 0;
      const T* from = x + r * stride + first;
      for (int64_t j = 0; j < here; ++j) packed[j] = from[j];
      for (int64_t j = here; j < width; ++j) packed[j] = 0;
      packed += width;
    }
  }
}

// x [rows, columns], rows `stride` apart, by groups of `width` rows, in each all columns, in each the group's rows; zeros up
// to padded_rows.
template <typename T>
HWY_INLINE void pack_rows(const T* HWY_RESTRICT x, int64_t stride, int64_t rows,
                          int64_t padded_rows, int64_t columns, int64_t width,
                          T* HWY_RESTRICT packed) {
  for (int64_t first = 0; first < padded_rows; first += width) {
    for (int64_t j = 0; j < width; ++j) {
      const bool is_there = first + j < rows;
      const T* from = is_there ? x + (first + j) * stride : nullptr;
      for (int64_t k = 0; k < columns; ++k) packed[k * width + j] = is_there ? from[k] : T{0};
    }
    packed += columns * width;
  }
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
