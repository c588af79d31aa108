// What a block of threads does with a tile: kOwn rows that are its own, and kOther of the rows that it
// goes through.
#pragma once

#include "kernels/cuda/additive_attention.h"
#include "kernels/cuda/device-inl.h"

namespace attend::kernels::cuda {

// How the threads of a block share a tile.
//   Where they go across pairs:  thread i has pairs of own rows i / kOtherThreads + r kOwnThreads and
//                                other rows i % kOtherThreads + c kOtherThreads
//   Where they go along rows:    thread i has element i % kLanes of kRows own rows at a time, and all
//                                other rows
template <int kOwnThreads_, int kOwnEach_, int kOtherEach_, int kRows_, int kLanes_>
struct TileShape {
  static constexpr int kOwnThreads = kOwnThreads_, kOwnEach = kOwnEach_;
  static constexpr int kOtherThreads = kThreads / kOwnThreads, kOtherEach = kOtherEach_;
  static constexpr int kOwn = kOwnThreads * kOwnEach, kOther = kOtherThreads * kOtherEach;
  static constexpr int kRows = kRows_, kLanes = kLanes_;
  static constexpr int kGroups = kThreads / kLanes;  // of kRows rows, at a time
  // Of the numbers of one other row with all own ones, which are read four at a time: threads with
  // neighbouring other rows meet in fewer banks.
  static constexpr int kPairStride = kOwn == 1 ? 1 : kOwn + 4;
};
template <AdditiveShape>
struct ShapeOf;
template <>
struct ShapeOf<AdditiveShape::kSquare> : TileShape<8, 2, 4, 8, 64> {};
template <>
struct ShapeOf<AdditiveShape::kFewOwn> : TileShape<1, 1, 1, 1, 128> {};
template <>
struct ShapeOf<AdditiveShape::kFewOthers> : TileShape<128, 1, 1, 8, 32> {};

// additive_attention.h says the same to who allocates.
static_assert(ShapeOf<AdditiveShape::kSquare>::kOwn == own_rows(AdditiveShape::kSquare));
static_assert(ShapeOf<AdditiveShape::kFewOwn>::kOwn == own_rows(AdditiveShape::kFewOwn));
static_assert(ShapeOf<AdditiveShape::kFewOthers>::kOwn == own_rows(AdditiveShape::kFewOthers));
static_assert(ShapeOf<AdditiveShape::kSquare>::kGroups == vector_sums(AdditiveShape::kSquare));
static_assert(ShapeOf<AdditiveShape::kFewOwn>::kGroups == vector_sums(AdditiveShape::kFewOwn));

/// Calls body.operator()<Shape>(). On the host.
template <class Body>
void with_shape(AdditiveShape shape, const Body& body) {
  switch (shape) {
    case AdditiveShape::kSquare:
      return body.template operator()<ShapeOf<AdditiveShape::kSquare>>();
    case AdditiveShape::kFewOwn:
      return body.template operator()<ShapeOf<AdditiveShape::kFewOwn>>();
    case AdditiveShape::kFewOthers:
      return body.template operator()<ShapeOf<AdditiveShape::kFewOthers>>();
  }
}

// Elements of each row that are in shared memory at a time, and how far apart rows are there: threads
// of neighbouring rows read four elements each without meeting in a bank.
constexpr int kUnits = 32, kUnitStride = kUnits + 4;

template <typename T>
struct alignas(16) Four {
  T at[4];
};
template <typename T>
ATTEND_DEVICE Four<T> load_four(const T* from) {
  return *reinterpret_cast<const Four<T>*>(from);
}

// Rows of contiguous elements in the device's memory.
template <typename Element>
struct RowsAt {
  Element* data;
  int64_t stride;
  int count;

  ATTEND_DEVICE Element* row(int i) const { return data + i * stride; }
};

// What a block shares.
template <class Shape, typename T>
struct TileMemory {
  alignas(16) T own[Shape::kOwn * kUnitStride];
  alignas(16) T other[Shape::kOther * kUnitStride];
  alignas(16) T vector[kUnits];
  // Rows that are in some visible pair of the tile. Others may hold anything, and are not looked at.
  bool own_seen[Shape::kOwn], other_seen[Shape::kOther];
};
// One number for each pair of a tile.
template <class Shape, typename T>
struct PairMemory {
  alignas(16) T at[Shape::kOther * Shape::kPairStride];

  ATTEND_DEVICE T& of(int own, int other) { return at[other * Shape::kPairStride + own]; }
  ATTEND_DEVICE const T& of(int own, int other) const {
    return at[other * Shape::kPairStride + own];
  }
};

// What of a pair of elements, and the vector's, is summed: f of their sum, or their product.
template <class Score, typename T>
struct ScorePair {
  Score score;
  ATTEND_DEVICE T add(T sum, T factor, T x, T y) const {
    return multiply_add(factor, score.value(x + y), sum);
  }
};
template <typename T>
struct ProductPair {
  ATTEND_DEVICE T add(T sum, T /*factor*/, T x, T y) const { return multiply_add(x, y, sum); }
};

// Elements [begin, begin + kUnits) of rows, and zeros where there is none.
template <class Block, typename T>
ATTEND_DEVICE void stage_rows(const Block& block, T* to, const RowsAt<const T>& rows, int capacity,
                              const bool* seen, int64_t begin, int64_t dim) {
  const int unit = block.thread() % kUnits;
  for (int i = block.thread() / kUnits; i < capacity; i += kThreads / kUnits) {
    const bool is_there = i < rows.count && begin + unit < dim && seen[i];
    to[i * kUnitStride + unit] = is_there ? rows.row(i)[begin + unit] : T{0};
  }
}

// Adds what is staged of the thread's pairs.
template <class Shape, class Pair, typename T>
ATTEND_DEVICE void add_staged(int thread, const TileMemory<Shape, T>& memory, const Pair& pair,
                              int units, T (&sums)[Shape::kOwnEach][Shape::kOtherEach]) {
  const T* own = memory.own + thread / Shape::kOtherThreads * kUnitStride;
  const T* other = memory.other + thread % Shape::kOtherThreads * kUnitStride;
  T partial[Shape::kOwnEach][Shape::kOtherEach] =
      {};  // a sum of sums rounds less than one long one
  ATTEND_NO_UNROLL
  for (int u = 0; u < units; u += 4) {
    const auto factor = load_four(memory.vector + u);
    Four<T> x[Shape::kOwnEach];
    ATTEND_UNROLL
    for (int r = 0; r < Shape::kOwnEach; ++r) {
      x[r] = load_four(own + r * Shape::kOwnThreads * kUnitStride + u);
    }
    ATTEND_UNROLL
    for (int c = 0; c < Shape::kOtherEach; ++c) {
      const auto y = load_four(other + c * Shape::kOtherThreads * kUnitStride + u);
      ATTEND_UNROLL
      for (int r = 0; r < Shape::kOwnEach; ++r) {
        ATTEND_UNROLL
        for (int i = 0; i < 4; ++i) {
          partial[r][c] = pair.add(partial[r][c], factor.at[i], x[r].at[i], y.at[i]);
        }
      }
    }
  }
  ATTEND_UNROLL
  for (int r = 0; r < Shape::kOwnEach; ++r) {
    ATTEND_UNROLL
    for (int c = 0; c < Shape::kOtherEach; ++c) sums[r][c] += partial[r][c];
  }
}

// The pairs of a tile that are this thread's: body(own row, other row). Not unrolled: what is done for a
// pair outside of the sums takes many registers and little of the time.
template <class Shape, class Block, class Body>
ATTEND_DEVICE void for_each_pair(const Block& block, const Body& body) {
  const int own = block.thread() / Shape::kOtherThreads;
  const int other = block.thread() % Shape::kOtherThreads;
  ATTEND_NO_UNROLL
  for (int i = 0; i < Shape::kOwnEach * Shape::kOtherEach; ++i) {
    body(own + i / Shape::kOtherEach * Shape::kOwnThreads,
         other + i % Shape::kOtherEach * Shape::kOtherThreads);
  }
}

// to = sum_a of `pair` of an own row, another row and scale * vector, for all pairs; each thread writes
// its own.
template <class Shape, class Pair, class Block, typename T>
ATTEND_DEVICE void sum_pairs(const Block& block, TileMemory<Shape, T>& memory, const Pair& pair,
                             const RowsAt<const T>& own, const RowsAt<const T>& other,
                             const T* vector, T scale, int64_t dim, PairMemory<Shape, T>& to) {
  const int thread = block.thread();
  T sums[Shape::kOwnEach][Shape::kOtherEach] = {};
  ATTEND_NO_UNROLL
  for (int64_t begin = 0; begin < dim; begin += kUnits) {
    stage_rows(block, memory.own, own, Shape::kOwn, memory.own_seen, begin, dim);
    stage_rows(block, memory.other, other, Shape::kOther, memory.other_seen, begin, dim);
    if (thread < kUnits) {
      const bool is_there = vector != nullptr && begin + thread < dim;
      memory.vector[thread] = is_there ? scale * vector[begin + thread] : T{0};
    }
    block.sync();
    const auto rest = dim - begin;
    const int units = rest < kUnits ? (static_cast<int>(rest) + 3) / 4 * 4 : kUnits;
    add_staged<Shape>(thread, memory, pair, units, sums);
    block.sync();
  }
  ATTEND_UNROLL
  for (int r = 0; r < Shape::kOwnEach; ++r) {
    ATTEND_UNROLL
    for (int c = 0; c < Shape::kOtherEach; ++c) {
      to.of(thread / Shape::kOtherThreads + r * Shape::kOwnThreads,
            thread % Shape::kOtherThreads + c * Shape::kOtherThreads) = sums[r][c];
    }
  }
}

// The numbers of other row o with the thread's kRows own rows.
template <class Shape, typename T>
ATTEND_DEVICE void load_pairs(const PairMemory<Shape, T>& pairs, int group, int o,
                              T (&to)[Shape::kRows]) {
  const T* from = pairs.at + o * Shape::kPairStride + group * Shape::kRows;
  if constexpr (Shape::kRows % 4 == 0) {
    ATTEND_UNROLL
    for (int r = 0; r < Shape::kRows; r += 4) {
      const auto four = load_four(from + r);
      ATTEND_UNROLL
      for (int i = 0; i < 4; ++i) to[r + i] = four.at[i];
    }
  } else {
    ATTEND_UNROLL
    for (int r = 0; r < Shape::kRows; ++r) to[r] = from[r];
  }
}

// The elements of own rows that are this thread's: body(group of rows, element). Since it is the same
// thread each time, it may read what it wrote without a barrier.
template <class Shape, class Block, class Body>
ATTEND_DEVICE void for_each_element(const Block& block, int64_t dim, const Body& body) {
  constexpr int kAll = Shape::kOwn / Shape::kRows;
  const int lane = block.thread() % Shape::kLanes, first = block.thread() / Shape::kLanes;
  ATTEND_NO_UNROLL
  for (int group = first; group < kAll; group += Shape::kGroups) {
    ATTEND_NO_UNROLL
    for (int64_t i = lane; i < dim; i += Shape::kLanes) body(group, i);
  }
}

template <class Shape, class Block, typename T>
ATTEND_DEVICE void clear_rows(const Block& block, const RowsAt<T>& rows, int64_t dim) {
  for_each_element<Shape>(block, dim, [&](int group, int64_t i) {
    for (int r = 0; r < Shape::kRows; ++r) {
      const int row = group * Shape::kRows + r;
      if (row < rows.count) rows.row(row)[i] = T{0};
    }
  });
}

// to = rescale * to + sum over other rows o of weights(., o) other_o; rescale: a factor for each own
// row, or null.
template <class Shape, class Block, typename T>
ATTEND_DEVICE void add_products(const Block& block, const TileMemory<Shape, T>& memory,
                                const PairMemory<Shape, T>& weights, const T* rescale,
                                const RowsAt<const T>& other, int64_t dim, const RowsAt<T>& to) {
  for_each_element<Shape>(block, dim, [&](int group, int64_t i) {
    T sums[Shape::kRows] = {};
    ATTEND_UNROLL_BY_4
    for (int o = 0; o < Shape::kOther; ++o) {
      const T x = memory.other_seen[o] ? other.row(o)[i] : T{0};
      T factors[Shape::kRows];
      load_pairs<Shape>(weights, group, o, factors);
      ATTEND_UNROLL
      for (int r = 0; r < Shape::kRows; ++r) sums[r] = multiply_add(factors[r], x, sums[r]);
    }
    ATTEND_UNROLL
    for (int r = 0; r < Shape::kRows; ++r) {
      const int row = group * Shape::kRows + r;
      if (row >= to.count) continue;
      T& result = to.row(row)[i];
      result = multiply_add(rescale == nullptr ? T{1} : rescale[row], result, sums[r]);
    }
  });
}

// With g = gradients(., o) and x = own + other_o, summed over other rows o: to += scale vector g f'(x),
// and, of all rows, of_vector[group] += scale g f(x), unless it is null.
template <class Shape, class Score, class Block, typename T>
ATTEND_DEVICE void add_gradients(const Block& block, const TileMemory<Shape, T>& memory,
                                 const PairMemory<Shape, T>& gradients, const Score& score,
                                 const RowsAt<const T>& own, const RowsAt<const T>& other,
                                 const T* vector, T scale, int64_t dim, const RowsAt<T>& to,
                                 T* of_vector) {
  for_each_element<Shape>(block, dim, [&](int group, int64_t i) {
    T x[Shape::kRows], sums[Shape::kRows], of_unit{0};
    ATTEND_UNROLL
    for (int r = 0; r < Shape::kRows; ++r) {
      const int row = group * Shape::kRows + r;
      x[r] = row < own.count && memory.own_seen[row] ? own.row(row)[i] : T{0};
      sums[r] = T{0};
    }
    ATTEND_NO_UNROLL
    for (int o = 0; o < Shape::kOther; ++o) {
      if (!memory.other_seen[o]) continue;
      const T y = other.row(o)[i];
      T g[Shape::kRows];
      load_pairs<Shape>(gradients, group, o, g);
      ATTEND_UNROLL
      for (int r = 0; r < Shape::kRows; ++r) {
        const auto f = score.gradient(x[r] + y);
        sums[r] = multiply_add(g[r], f.slope, sums[r]);
        of_unit = multiply_add(g[r], f.value, of_unit);
      }
    }
    const T factor = scale * vector[i];
    ATTEND_UNROLL
    for (int r = 0; r < Shape::kRows; ++r) {
      const int row = group * Shape::kRows + r;
      if (row < to.count) to.row(row)[i] = multiply_add(factor, sums[r], to.row(row)[i]);
    }
    if (of_vector != nullptr) {
      T& sum = of_vector[block.thread() / Shape::kLanes * dim + i];
      sum = multiply_add(scale, of_unit, sum);
    }
  });
}

}  // namespace attend::kernels::cuda
