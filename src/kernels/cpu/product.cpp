#include "kernels/cpu/product.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/product.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// A tile of c: few rows, so that as many of a as it reads at a time stay in the first cache whatever
// their stride is.
constexpr int64_t kTileRows = 6;
#if HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
constexpr int64_t kTileVectors = 4, kDotRows = 4;
#else
constexpr int64_t kTileVectors = 2, kDotRows = 3;
#endif
constexpr int64_t kDotColumns = 4;

// Rows of b in a panel that is copied, and in one that is read where it lies.
constexpr int64_t kPanelDepth = 512, kDepthInPlace = 256;
// Rows of c for which a panel is used before the next is copied.
constexpr int64_t kBlockRows = 384;
// Up to so many rows, copying b takes longer than reading it where it lies, by its columns.
constexpr int64_t kFewRows = 32;
// And by its rows: a panel that is one line wide has them all in a few places of the cache.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr int64_t kRowsInPlace = 128;
#else
constexpr int64_t kRowsInPlace = 16;
#endif
// Up to so many, not even fetching a panel ahead is worth it.
constexpr int64_t kRowsWithoutFetch = 8;
constexpr int64_t kLine = 64 / sizeof(float);

HWY_INLINE int64_t panel_width() { return kTileVectors * lanes_of<float>(); }

HWY_INLINE int64_t divide_up(int64_t x, int64_t y) { return (x + y - 1) / y; }

// The size of as few even parts as there are of at most `most`.
HWY_INLINE int64_t even_part(int64_t whole, int64_t most) {
  return divide_up(whole, std::max<int64_t>(divide_up(whole, most), 1));
}

#if HWY_TARGET != HWY_SCALAR
// A block of row 0, one of row 4, one of row 8, ..., as many as a vector has.
template <class D>
HWY_INLINE hn::Vec<D> load_blocks(D d, const float* HWY_RESTRICT from, int64_t stride) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    constexpr auto kRows = static_cast<int64_t>(hn::MaxLanes(half));
    return hn::Combine(d, load_blocks(half, from + kRows * stride, stride),
                       load_blocks(half, from, stride));
  }
}
#endif

// to[k * to_stride + i] = from[i * from_stride + k], for 4 k and as many i as D has lanes.
template <class D>
HWY_INLINE void transpose([[maybe_unused]] D d, const float* HWY_RESTRICT from,
                          [[maybe_unused]] int64_t from_stride, float* HWY_RESTRICT to,
                          int64_t to_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t k = 0; k < 4; ++k) to[k * to_stride] = from[k];
#else
  const hn::RepartitionToWide<D> pairs;
  const auto r0 = load_blocks(d, from, from_stride);
  const auto r1 = load_blocks(d, from + from_stride, from_stride);
  const auto r2 = load_blocks(d, from + 2 * from_stride, from_stride);
  const auto r3 = load_blocks(d, from + 3 * from_stride, from_stride);
  const auto low_01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto low_23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high_01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto high_23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low_01, low_23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low_01, low_23)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high_01, high_23)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high_01, high_23)), d, to + 3 * to_stride);
#endif
}

// The same for a line of k, and for i from `i` on as long as they fill D: returns the next one.
template <class D>
HWY_INLINE int64_t transpose_line(D d, int64_t i, int64_t end, const float* HWY_RESTRICT from,
                                  int64_t from_stride, float* HWY_RESTRICT to, int64_t to_stride) {
  constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(D()));
  for (; i + kLanes <= end; i += kLanes) {
    for (int64_t k = 0; k < kLine; k += 4) {
      transpose(d, from + i * from_stride + k, from_stride, to + k * to_stride + i, to_stride);
    }
  }
  return i;
}

// `columns` columns of `depth` rows of b, from `from` on, as a panel; zeros beyond them.
HWY_INLINE void pack_panel(const Strided& b, const float* HWY_RESTRICT from, int64_t depth,
                           int64_t columns, float* HWY_RESTRICT panel) {
  const auto width = panel_width();
  int64_t k = 0;
  if (b.column_stride == 1 && columns == width) {
    const Vectors<float> d;
    for (; k < depth; ++k) {
      for (int64_t v = 0; v < width; v += lanes_of<float>()) {
        hn::Store(hn::LoadU(d, from + k * b.row_stride + v), d, panel + k * width + v);
      }
    }
  } else if (b.row_stride == 1) {
    // By lines of few columns, as many streams as the processor follows.
    const auto whole = depth / kLine * kLine;
    for (int64_t first = 0; first < columns; first += kLine) {
      const auto last = std::min(first + kLine, columns);
      for (k = 0; k < whole; k += kLine) {
        const float* lines = from + k;
        float* to = panel + k * width;
        auto j = transpose_line(Vectors<float>(), first, last, lines, b.column_stride, to, width);
        j = transpose_line(hn::CappedTag<float, 4>(), j, last, lines, b.column_stride, to, width);
        for (; j < last; ++j) {
          for (int64_t i = 0; i < kLine; ++i) to[i * width + j] = lines[j * b.column_stride + i];
        }
      }
    }
    k = whole;
  }
  for (; k < depth; ++k) {
    for (int64_t j = 0; j < columns; ++j) {
      panel[k * width + j] = from[k * b.row_stride + j * b.column_stride];
    }
  }
  for (k = 0; k < depth && columns < width; ++k) {
    std::fill(panel + k * width + columns, panel + (k + 1) * width, 0.0F);
  }
}

// Rows of a by tiles of `height` rows, in each `depth` times its rows: for columns that are contiguous.
// Tiles begin an odd number of lines apart, for which they do not share the places of one in the cache.
HWY_INLINE int64_t tile_size(int64_t height, int64_t depth) {
  return (divide_up(height * depth, kLine) | 1) * kLine;
}

HWY_INLINE void pack_tiles(const Strided& a, const float* HWY_RESTRICT from, int64_t rows,
                           int64_t height, int64_t depth, float* HWY_RESTRICT packed) {
  constexpr int64_t kAhead = 2;
  const auto size = tile_size(height, depth);
  for (int64_t k = 0; k < depth; ++k) {
    const float* column = from + k * a.column_stride;
    for (int64_t r = 0; r < rows && k + kAhead < depth && a.row_stride == 1; r += kLine) {
      hwy::Prefetch(column + kAhead * a.column_stride + r);
    }
    float* tile = packed;
    for (int64_t r = 0; r < rows; r += height, tile += size) {
      const auto count = std::min(height, rows - r);
      if (a.row_stride == 1 && count == kTileRows) {
        hwy::CopyBytes<kTileRows * sizeof(float)>(column + r, tile + k * height);
        continue;
      }
      for (int64_t i = 0; i < count; ++i) tile[k * height + i] = column[(r + i) * a.row_stride];
    }
  }
}

// A panel that will be read or copied next, fetched into the cache between multiplications: by rows of
// memory, of each as many lines at a time as a panel is wide.
struct Fetch {
  static constexpr int64_t kLines = std::max<int64_t>(
      kTileVectors * static_cast<int64_t>(hn::MaxLanes(Vectors<float>())) / kLine, 1);
  const float* next;
  int64_t stride, rows, left, at_a_time, row = 0;

  HWY_INLINE Fetch(const Strided& b, const float* from, int64_t depth, int64_t columns,
                   int64_t times)
      : next(from),
        stride(b.row_stride == 1 ? b.column_stride : b.row_stride),
        rows(b.row_stride == 1 ? columns : depth),
        left(rows * divide_up(b.row_stride == 1 ? depth : columns, kLines * kLine)),
        at_a_time(divide_up(left, std::max<int64_t>(times, 1))) {}

  HWY_INLINE void some() {
    const auto end = left - std::min(at_a_time, left);
    for (; left > end; --left) {
      for (int64_t line = 0; line < kLines; ++line) hwy::Prefetch(next + line * kLine);
      next += stride;
      if (++row == rows) {
        row = 0;
        next += kLines * kLine - rows * stride;
      }
    }
  }
};

// What a tile of c is the product of, and what it starts from.
struct Step {
  const float* a;
  int64_t row_stride, depth_stride;
  const float* panel;
  int64_t panel_stride, depth;
  const float* bias;  // of the tile's columns, or null
  bool adds;          // to what is in c
  int64_t stride, columns;
};

constexpr int64_t kDepthOfFetch = 16;

// kRows rows of c and up to kVectors vectors of columns.
template <int64_t kVectors, bool kByRows, int64_t kRows>
void multiply_tile(const Step& step, float* HWY_RESTRICT c, Fetch& fetch) {
  const Vectors<float> d;
  constexpr int64_t kMost = kVectors * (64 / sizeof(float));
  const auto lanes = lanes_of<float>();
  const bool is_whole = step.columns == kVectors * lanes;
  HWY_ALIGN float whole[kRows * kMost];
  Tile<kRows, kVectors, float> sums;
  if (step.bias == nullptr) {
    sums.zero();
  } else if (is_whole) {
    sums.fill(step.bias);
  } else {
    for (int64_t j = 0; j < kMost; ++j) whole[j] = j < step.columns ? step.bias[j] : 0.0F;
    sums.fill(whole);
  }
  for (int64_t r = 0; r < kRows; ++r) {  // for when it is written
    for (int64_t j = 0; j < step.columns; j += kLine) hwy::Prefetch(c + r * step.stride + j);
  }
  // Compilers then know one of them.
  const auto row_stride = kByRows ? step.row_stride : 1;
  const auto depth_stride = kByRows ? 1 : step.depth_stride;
  for (int64_t k = 0; k < step.depth; k += kDepthOfFetch) {
    fetch.some();
    sums.multiply(step.a + k * depth_stride, row_stride, depth_stride,
                  step.panel + k * step.panel_stride, std::min(kDepthOfFetch, step.depth - k),
                  step.panel_stride);
  }
  if (!is_whole) {
    sums.store(whole, kVectors * lanes);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < step.columns; ++j) {
        auto& to = c[r * step.stride + j];
        to = whole[r * kVectors * lanes + j] + (step.adds ? to : 0.0F);
      }
    }
    return;
  }
  if (step.adds) {
    HWY_UNROLL(16)
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kVectors; ++v) {
        sums.sums[r][v] = hn::Add(sums.sums[r][v], hn::LoadU(d, c + r * step.stride + v * lanes));
      }
    }
  }
  sums.store(c, step.stride);
}

using MultiplyTile = void (*)(const Step&, float*, Fetch&);
using Tiles = std::array<MultiplyTile, kTileRows>;  // of one row, of two, ...

template <int64_t kVectors, bool kByRows, size_t... kRow>
constexpr Tiles tiles(std::index_sequence<kRow...> /*rows*/) {
  return {multiply_tile<kVectors, kByRows, static_cast<int64_t>(kRow) + 1>...};
}

// For a panel whose columns fill all its vectors, or up to half of them; for rows of a, or columns.
template <int64_t kVectors>
HWY_INLINE MultiplyTile tile_of(bool by_rows, int64_t rows) {
  constexpr std::make_index_sequence<kTileRows> kRows;
  static constexpr Tiles kOfRows = tiles<kVectors, true>(kRows);
  static constexpr Tiles kOfColumns = tiles<kVectors, false>(kRows);
  return (by_rows ? kOfRows : kOfColumns)[static_cast<size_t>(rows - 1)];
}

// The rows of a block of c, and one panel of its columns.
HWY_INLINE void multiply_panel(Step step, int64_t tile_stride, int64_t rows, int64_t height,
                               float* c, Fetch& fetch) {
  const bool by_rows = step.depth_stride == 1;
  for (int64_t r = 0; r < rows; r += height) {
    const auto count = std::min(height, rows - r);
    const auto multiply = step.columns * 2 <= panel_width()
                              ? tile_of<kTileVectors / 2>(by_rows, count)
                              : tile_of<kTileVectors>(by_rows, count);
    multiply(step, c, fetch);
    step.a += tile_stride;
    c += height * step.stride;
  }
}

bool reads_in_place(const Product& p) { return p.b.column_stride == 1 && p.rows <= kRowsInPlace; }

// Whether a tile would read a where it lies from many places.
bool packs_a(const Product& p) { return p.a.column_stride != 1; }

struct BlockSizes {
  int64_t depth, rows, height;
};

BlockSizes block_sizes(const Product& p, const Rectangle& of) {
  const auto rows = even_part(of.row_end - of.row, kBlockRows);
  return {.depth = std::max<int64_t>(
              even_part(p.depth, reads_in_place(p) ? kDepthInPlace : kPanelDepth), 1),
          .rows = rows,
          .height = even_part(rows, kTileRows)};
}

void multiply_by_panels(const Product& p, const Rectangle& of) {
  const auto width = panel_width();
  const auto block = block_sizes(p, of);
  const bool packs = packs_a(p), in_place = reads_in_place(p);
  const bool fetches = !in_place || p.rows > kRowsWithoutFetch;
  const auto size_of_a =
      packs ? divide_up(block.rows, block.height) * tile_size(block.height, block.depth) : 0;
  const auto memory =
      hwy::AllocateAligned<float>(static_cast<size_t>(size_of_a + width * block.depth));
  if (memory == nullptr) throw std::bad_alloc();
  float *packed_a = memory.get(), *packed_b = packed_a + size_of_a;
  for (int64_t row = of.row; row < of.row_end; row += block.rows) {
    const auto rows = std::min(block.rows, of.row_end - row);
    const auto height = std::min(block.height, rows);
    for (int64_t k = 0; k < p.depth || k == 0; k += block.depth) {
      const auto depth = std::min(block.depth, p.depth - k);
      const float* a = p.a.data + row * p.a.row_stride + k * p.a.column_stride;
      if (packs) pack_tiles(p.a, a, rows, height, depth, packed_a);
      for (int64_t column = of.column; column < of.column_end; column += width) {
        const auto columns = std::min(width, of.column_end - column);
        const float* b = p.b.data + k * p.b.row_stride + column * p.b.column_stride;
        const bool reads = in_place && columns == width;
        if (!reads) pack_panel(p.b, b, depth, columns, packed_b);
        const auto next = fetches ? std::min(width, of.column_end - column - columns) : 0;
        Fetch fetch(p.b, b + width * p.b.column_stride, next > 0 ? depth : 0, next,
                    divide_up(rows, height) * divide_up(depth, kDepthOfFetch));
        multiply_panel({.a = packs ? packed_a : a,
                        .row_stride = packs ? 1 : p.a.row_stride,
                        .depth_stride = packs ? height : p.a.column_stride,
                        .panel = reads ? b : packed_b,
                        .panel_stride = reads ? p.b.row_stride : width,
                        .depth = depth,
                        .bias = p.bias == nullptr || k > 0 ? nullptr : p.bias + column,
                        .adds = k > 0,
                        .stride = p.columns,
                        .columns = columns},
                       packs ? tile_size(height, depth) : height * p.a.row_stride, rows, height,
                       p.c + row * p.columns + column, fetch);
      }
    }
  }
}

// `depth` rows of b from k on and kVectors vectors of columns, added to a single row.
template <int64_t kVectors>
HWY_INLINE void add_to_row(const Product& p, int64_t k, int64_t depth, int64_t column) {
  Tile<1, kVectors, float> sums;
  if (k > 0) {
    sums.load(p.c + column, 0);
  } else if (p.bias != nullptr) {
    sums.fill(p.bias + column);
  } else {
    sums.zero();
  }
  sums.multiply(p.a.data + k * p.a.column_stride, 0, p.a.column_stride,
                p.b.data + k * p.b.row_stride + column, depth, p.b.row_stride);
  sums.store(p.c + column, 0);
}

// Rows of b are read along their length, a few at a time: memory is read fastest as a few long streams.
void multiply_row(const Product& p, const Rectangle& of) {
  constexpr int64_t kStreams = 16, kVectors = 4;
  const auto lanes = lanes_of<float>();
  for (int64_t k = 0; k < p.depth || k == 0; k += kStreams) {
    const auto depth = std::min(kStreams, p.depth - k);
    auto column = of.column;
    for (; column + kVectors * lanes <= of.column_end; column += kVectors * lanes) {
      add_to_row<kVectors>(p, k, depth, column);
    }
    for (; column + lanes <= of.column_end; column += lanes) add_to_row<1>(p, k, depth, column);
    for (; column < of.column_end; ++column) {
      float sum = k > 0 ? p.c[column] : p.bias == nullptr ? 0.0F : p.bias[column];
      for (int64_t i = k; i < k + depth; ++i) {
        sum += p.a.data[i * p.a.column_stride] * p.b.data[i * p.b.row_stride + column];
      }
      p.c[column] = sum;
    }
  }
}

// Dot products, of vectors of numbers that a row of a and a column of b have in common.
#if HWY_TARGET != HWY_SCALAR

template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::Full128<float>> sum_of_blocks(D /*d*/, V v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_of_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The sums of four vectors' lanes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::Full128<float>> sums_of_lanes(D d, V v0, V v1, V v2, V v3) {
  const hn::RepartitionToWide<D> pairs;
  const auto v01 =
      hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1)));
  const auto v23 =
      hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3)));
  return sum_of_blocks(d, hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, v01, v23)),
                                  hn::BitCast(d, hn::InterleaveUpper(pairs, v01, v23))));
}

// The products of rows of a and `columns` columns of b, which are `apart` from each other.
struct Dots {
  Strided a, b;
  int64_t depth, columns, apart;
  const float* start;  // what sums start from, or null; by rows start_stride apart
  int64_t start_stride;
  float* c;
  int64_t stride;
};

template <int64_t kRows>
HWY_INLINE void multiply_dots(const Dots& s) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const float* columns[kDotColumns];
  for (int64_t j = 0; j < kDotColumns; ++j) {
    columns[j] = s.b.data + std::min(j, s.columns - 1) * s.apart * s.b.column_stride;
  }
  hn::Vec<Vectors<float>> sums[kRows][kDotColumns];
  for (auto& row : sums) {
    for (auto& sum : row) sum = hn::Zero(d);
  }
  hn::Vec<Vectors<float>> values[kDotColumns];
  int64_t k = 0;
  for (; k + lanes <= s.depth; k += lanes) {
    for (int64_t j = 0; j < kDotColumns; ++j) values[j] = hn::LoadU(d, columns[j] + k);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto factors = hn::LoadU(d, s.a.data + r * s.a.row_stride + k);
      for (int64_t j = 0; j < kDotColumns; ++j) {
        sums[r][j] = hn::MulAdd(factors, values[j], sums[r][j]);
      }
    }
  }
  if (k < s.depth) {
    const auto left = s.depth - k;
    for (int64_t j = 0; j < kDotColumns; ++j) values[j] = load_first(d, columns[j] + k, left);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto factors = load_first(d, s.a.data + r * s.a.row_stride + k, left);
      for (int64_t j = 0; j < kDotColumns; ++j) {
        sums[r][j] = hn::MulAdd(factors, values[j], sums[r][j]);
      }
    }
  }
  // A loop of its own, which compilers unroll: else the sums would lie in memory.
  const hn::Full128<float> four;
  hn::Vec<hn::Full128<float>> totals[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    totals[r] = sums_of_lanes(d, sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
  }
  for (int64_t r = 0; r < kRows; ++r) {
    const float* start = s.start == nullptr ? nullptr : s.start + r * s.start_stride;
    float* c = s.c + r * s.stride;
    HWY_ALIGN float some[kDotColumns];
    hn::Store(totals[r], four, some);
    for (int64_t j = 0; j < s.columns; ++j) {
      c[j * s.apart] = start == nullptr ? some[j] : some[j] + start[j * s.apart];
    }
  }
}

// Columns are taken a quarter of them apart: memory is read fastest as a few long streams.
void multiply_by_dots(const Product& p, const Rectangle& of) {
  const auto lanes = lanes_of<float>();
  const bool is_read_once = p.rows <= kDotRows;
  const auto most_depth =
      divide_up(even_part(p.depth, is_read_once ? std::max(p.depth, lanes) : kPanelDepth), lanes) *
      lanes;
  const auto apart = divide_up(of.column_end - of.column, kDotColumns);
  for (int64_t k = 0; k < p.depth || k == 0; k += std::max(most_depth, lanes)) {
    for (int64_t column = of.column; column < of.column + apart; ++column) {
      Dots dots{.a = p.a,
                .b = p.b,
                .depth = std::min(most_depth, p.depth - k),
                .columns = divide_up(of.column_end - column, apart),
                .apart = apart,
                .start = nullptr,
                .start_stride = k > 0 ? p.columns : 0,
                .c = nullptr,
                .stride = p.columns};
      dots.b.data += column * p.b.column_stride + k;
      for (int64_t row = of.row; row < of.row_end;) {
        dots.a.data = p.a.data + row * p.a.row_stride + k;
        dots.c = p.c + row * p.columns + column;
        dots.start = k > 0 ? dots.c : p.bias == nullptr ? nullptr : p.bias + column;
        const auto rows = std::min(of.row_end - row, kDotRows);
        if (rows == kDotRows) {
          multiply_dots<kDotRows>(dots);
        } else if (rows == 3) {
          multiply_dots<3>(dots);
        } else if (rows == 2) {
          multiply_dots<2>(dots);
        } else {
          multiply_dots<1>(dots);
        }
        row += rows;
      }
    }
  }
}

// Few rows, of depth enough that their vectors are seldom summed up.
bool takes_dots(const Product& p) {
  constexpr int64_t kDepthOfDots = 8, kAlways = 4;
  return p.a.column_stride == 1 && p.b.row_stride == 1 &&
         p.rows <= std::max(std::min(p.depth / kDepthOfDots, kFewRows), kAlways);
}

#endif  // HWY_TARGET != HWY_SCALAR

void multiply(const Product& p, const Rectangle& of) {
#if HWY_TARGET != HWY_SCALAR
  if (takes_dots(p)) {
    multiply_by_dots(p, of);
    return;
  }
#endif
  if (p.rows == 1 && p.b.column_stride == 1) {
    multiply_row(p, of);
    return;
  }
  multiply_by_panels(p, of);
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {

HWY_EXPORT(multiply);

void product(const Product& product, int64_t part, int64_t parts) {
  // Halves of the longer side, of as many parts each. Columns are divided between panels.
  constexpr int64_t kRows = 6, kColumns = 64;
  Rectangle of{.row = 0, .row_end = product.rows, .column = 0, .column_end = product.columns};
  while (parts > 1) {
    const bool by_rows = of.row_end - of.row > of.column_end - of.column;
    auto& first = by_rows ? of.row : of.column;
    auto& last = by_rows ? of.row_end : of.column_end;
    const auto step = by_rows ? kRows : kColumns, before = parts / 2;
    const auto exact = (last - first) * before / parts;
    const auto middle = std::min(first + (exact + step / 2) / step * step, last);
    const bool is_before = part < before;
    (is_before ? last : first) = middle;
    part -= is_before ? 0 : before;
    parts = is_before ? before : parts - before;
  }
  if (of.row < of.row_end && of.column < of.column_end) HWY_DYNAMIC_DISPATCH(multiply)(product, of);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
