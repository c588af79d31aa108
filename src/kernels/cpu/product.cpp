#include "kernels/cpu/product.h"

#include <algorithm>
#include <new>

#include <hwy/aligned_allocator.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/product.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// Columns of a block of b, and rows of one of a, which stay in the second cache.
constexpr int64_t kColumns = 512, kBlockRows = 96;
static_assert(kBlockRows % kTallTile == 0);

HWY_INLINE int64_t panel_width() { return kTallVectors * lanes_of<float>(); }

// Rows of a panel of b, which stays in the first cache.
HWY_INLINE int64_t panel_depth() {
  constexpr int64_t kPanel = 4096;
  return kPanel / panel_width();
}

// Rows [row, row + depth) and columns [column, column + columns) of b, by panels of columns, in
// each all rows; zeros beyond the last column.
HWY_INLINE void pack(const Strided& b, int64_t row, int64_t depth, int64_t column, int64_t columns,
                     float* HWY_RESTRICT packed) {
  const auto width = panel_width();
  for (int64_t first = 0; first < columns; first += width) {
    const auto count = std::min(width, columns - first);
    const float* from = b.data + row * b.row_stride + (column + first) * b.column_stride;
    if (b.column_stride == 1 && count == width) {
      const Vectors<float> d;
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t v = 0; v < width; v += lanes_of<float>()) {
          hn::Store(hn::LoadU(d, from + k * b.row_stride + v), d, packed + k * width + v);
        }
      }
    } else {
      for (int64_t j = 0; j < count; ++j) {
        const float* of_column = from + j * b.column_stride;
        for (int64_t k = 0; k < depth; ++k) packed[k * width + j] = of_column[k * b.row_stride];
      }
    }
    for (int64_t j = count; j < width; ++j) {
      for (int64_t k = 0; k < depth; ++k) packed[k * width + j] = 0.0F;
    }
    packed += depth * width;
  }
}

// The same of a, rows [row, row + rows), by tiles of rows, for which it is not read row by row.
HWY_INLINE void pack_transposed(const Strided& a, int64_t row, int64_t rows, int64_t column,
                                int64_t depth, float* HWY_RESTRICT packed) {
  for (int64_t first = 0; first < rows; first += kTallTile) {
    const auto count = std::min(kTallTile, rows - first);
    const float* from = a.data + (row + first) * a.row_stride + column * a.column_stride;
    if (a.row_stride == 1 && count == kTallTile) {
      for (int64_t k = 0; k < depth; ++k) {
        hwy::CopyBytes<kTallTile * sizeof(float)>(from + k * a.column_stride, packed);
        packed += kTallTile;
      }
      continue;
    }
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t r = 0; r < count; ++r) packed[r] = from[k * a.column_stride + r * a.row_stride];
      packed += kTallTile;
    }
  }
}

// What a tile of c is the product of, and what it starts from.
struct Step {
  const float* a;
  int64_t row_stride, depth_stride, depth;
  const float* panel;
  const float* bias;  // of the tile's columns, or null
  bool adds;          // to what is in c
};

// kRows rows of c and `columns` of a panel's.
template <int64_t kRows>
HWY_INLINE void multiply_tile(const Step& step, float* HWY_RESTRICT c, int64_t stride,
                              int64_t columns) {
  const auto width = panel_width();
  HWY_ALIGN float whole[kRows * kTallVectors * (64 / sizeof(float))];
  const bool is_whole = columns == width;
  Tile<kRows, kTallVectors, float> sums;
  if (step.adds && is_whole) {
    sums.load(c, stride);
  } else if (step.bias != nullptr && is_whole) {
    sums.fill(step.bias);
  } else if (step.adds || step.bias != nullptr) {
    for (int64_t r = 0; r < kRows; ++r) {
      const float* from = step.adds ? c + r * stride : step.bias;
      for (int64_t j = 0; j < width; ++j) whole[r * width + j] = j < columns ? from[j] : 0.0F;
    }
    sums.load(whole, width);
  } else {
    sums.zero();
  }
  sums.multiply(step.a, step.row_stride, step.depth_stride, step.panel, step.depth);
  if (is_whole) {
    sums.store(c, stride);
    return;
  }
  sums.store(whole, width);
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t j = 0; j < columns; ++j) c[r * stride + j] = whole[r * width + j];
  }
}

// The rows [row, row_end) of a block of c, and one panel of its columns.
HWY_INLINE void product_panel(const Product& p, Step step, int64_t row, int64_t row_end,
                              int64_t column, int64_t columns, int64_t tile_stride) {
  for (; row + kTallTile <= row_end; row += kTallTile) {
    multiply_tile<kTallTile>(step, p.c + row * p.columns + column, p.columns, columns);
    step.a += tile_stride;
  }
  for (; row < row_end; ++row) {
    multiply_tile<1>(step, p.c + row * p.columns + column, p.columns, columns);
    step.a += step.row_stride;
  }
}

HWY_INLINE void product_rows(const Product& p, int64_t begin, int64_t end,
                             float* HWY_RESTRICT packed_b, float* HWY_RESTRICT packed_a) {
  const auto width = panel_width(), most_depth = panel_depth();
  const bool packs_a = p.a.column_stride != 1;
  for (int64_t column = 0; column < p.columns; column += kColumns) {
    const auto columns = std::min(kColumns, p.columns - column);
    for (int64_t k = 0; k < p.depth || k == 0; k += most_depth) {
      const auto depth = std::min(most_depth, p.depth - k);
      pack(p.b, k, depth, column, columns, packed_b);
      for (int64_t block = begin; block < end; block += kBlockRows) {
        const auto block_end = std::min(block + kBlockRows, end);
        if (packs_a) pack_transposed(p.a, block, block_end - block, k, depth, packed_a);
        for (int64_t j = 0; j < columns; j += width) {
          const Step step{.a = packs_a ? packed_a : p.a.data + block * p.a.row_stride + k,
                          .row_stride = packs_a ? 1 : p.a.row_stride,
                          .depth_stride = packs_a ? kTallTile : 1,
                          .depth = depth,
                          .panel = packed_b + j * depth,
                          .bias = p.bias == nullptr ? nullptr : p.bias + column + j,
                          .adds = k > 0};
          product_panel(p, step, block, block_end, column + j, std::min(width, columns - j),
                        kTallTile * (packs_a ? depth : p.a.row_stride));
        }
      }
    }
  }
}

// The memory that packed parts of b and a take.
HWY_INLINE int64_t packed_size_of_b(const Product& p) {
  const auto width = panel_width();
  const auto columns = (std::min(kColumns, p.columns) + width - 1) / width * width;
  return columns * std::min(panel_depth(), p.depth);
}

int64_t packed_size(const Product& p) {
  return packed_size_of_b(p) + kBlockRows * std::min(panel_depth(), p.depth);
}

void rows(const Product& p, int64_t begin, int64_t end, float* packed) {
  product_rows(p, begin, end, packed, packed + packed_size_of_b(p));
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {

HWY_EXPORT(rows);
HWY_EXPORT(packed_size);

void product(const Product& product, int64_t first, int64_t last) {
  const auto size = HWY_DYNAMIC_DISPATCH(packed_size)(product);
  const auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(std::max<int64_t>(size, 1)));
  if (packed == nullptr) throw std::bad_alloc();
  HWY_DYNAMIC_DISPATCH(rows)(product, first, last, packed.get());
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
