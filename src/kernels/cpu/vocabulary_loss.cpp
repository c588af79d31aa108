#include "kernels/cpu/vocabulary_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <hwy/cache_control.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/vocabulary_loss.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// x [rows, columns], rows `stride` apart, by groups of `width` columns, in each all rows, in each
// the group's columns; zeros up to padded_rows and padded_columns.
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

// x [rows, columns], rows `stride` apart, by groups of `width` rows, in each all columns, in each
// the group's rows; zeros up to padded_rows.
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

static_assert(kDimGroup % kWideTile == 0);
static_assert(kLossWords % kWideTile == 0 && kLossWords % kTallTile == 0);

// Rows of a panel of rows, and columns of a panel of dimensions.
constexpr int64_t kRowVectors = kWideVectors, kDimVectors = kTallVectors;
template <typename T>
HWY_INLINE int64_t row_panel() {
  return kRowVectors * lanes_of<T>();
}
template <typename T>
HWY_INLINE int64_t dim_panel() {
  return kDimVectors * lanes_of<T>();
}

template <typename T>
HWY_INLINE void pack_tiles(const T* weight, int64_t classes, int64_t dim, T* by_word, T* by_dim,
                           int64_t first, int64_t last) {
  for (int64_t tile = first; tile < last; ++tile) {
    const auto word = tile * kLossWords, words = std::min(kLossWords, classes - word);
    const T* from = weight + word * dim;
    pack_rows(from, dim, words, kLossWords, dim, kWideTile, by_word + word * dim);
    if (by_dim == nullptr) continue;
    pack_columns(from, dim, words, kLossWords, dim, padded_dim(dim), kWideTile,
                 by_dim + word * padded_dim(dim));
  }
}

template <typename T>
HWY_INLINE void pack_block(const VocabularyLoss<T>& loss) {
  pack_rows(loss.hidden, loss.dim, loss.rows, kLossRows, loss.dim, row_panel<T>(), loss.row_panels);
  pack_columns(loss.hidden, loss.dim, loss.rows, kLossRows, loss.dim, padded_dim(loss.dim),
               dim_panel<T>(), loss.dim_panels);
}

// A tile's logits of one panel of rows, [words, row_panel], become exp(z - greatest); the three
// results are of the panel's rows.
template <typename T>
HWY_INLINE void exponentials(T* HWY_RESTRICT z, const T* HWY_RESTRICT bias, int64_t words,
                             T* HWY_RESTRICT greatest, T* HWY_RESTRICT total, T* HWY_RESTRICT sum) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>(), width = row_panel<T>();
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
  hn::Vec<Vectors<T>> most[kRowVectors], sums[kRowVectors], totals[kRowVectors];
  for (int64_t i = 0; i < kRowVectors; ++i) {
    most[i] = nothing;
    sums[i] = totals[i] = hn::Zero(d);
  }
  for (int64_t v = 0; v < words; ++v) {
    const auto added = hn::Set(d, bias == nullptr ? T{0} : bias[v]);
    for (int64_t i = 0; i < kRowVectors; ++i) {
      T* at = z + v * width + i * lanes;
      const auto x = hn::Add(hn::Load(d, at), added);
      hn::Store(x, d, at);
      most[i] = hn::Max(most[i], x);
      sums[i] = hn::Add(sums[i], x);
    }
  }
  hn::Vec<Vectors<T>> shift[kRowVectors];
  for (int64_t i = 0; i < kRowVectors; ++i) {
    // Where nothing is possible, exp(-infinity - 0) = 0 says so.
    shift[i] = hn::IfThenZeroElse(hn::Eq(most[i], nothing), most[i]);
  }
  for (int64_t v = 0; v < words; ++v) {
    for (int64_t i = 0; i < kRowVectors; ++i) {
      T* at = z + v * width + i * lanes;
      const auto e = hn::Exp(d, hn::Sub(hn::Load(d, at), shift[i]));
      hn::Store(e, d, at);
      totals[i] = hn::Add(totals[i], e);
    }
  }
  for (int64_t i = 0; i < kRowVectors; ++i) {
    hn::Store(most[i], d, greatest + i * lanes);
    hn::Store(totals[i], d, total + i * lanes);
    hn::Store(sums[i], d, sum + i * lanes);
  }
}

// Where the logit of a row and a word stands in a tile.
template <typename T>
HWY_INLINE int64_t place(int64_t row, int64_t word) {
  const auto width = row_panel<T>();
  return (row / width * kLossWords + word) * width + row % width;
}

template <typename T>
HWY_INLINE void logits_of_tiles(const VocabularyLoss<T>& loss, int64_t first, int64_t last) {
  const auto width = row_panel<T>();
  for (int64_t tile = first; tile < last; ++tile) {
    const auto word = tile * kLossWords, words = std::min(kLossWords, loss.classes - word);
    T* z = loss.logits + tile * kLossRows * kLossWords;
    for (int64_t v = 0; v < kLossWords; v += kWideTile) {
      const T* factors = loss.by_word + (word + v) * loss.dim;
      for (int64_t row = 0; row < kLossRows; row += width) {
        Tile<kWideTile, kRowVectors, T> sums;
        sums.zero();
        sums.multiply(factors, 1, kWideTile, loss.row_panels + row * loss.dim, loss.dim);
        sums.store(z + row * kLossWords + v * width, width);
      }
    }
    const T* bias = loss.bias == nullptr ? nullptr : loss.bias + word;
    for (int64_t row = 0; row < loss.rows; ++row) {
      const auto y = loss.target[row] - word;
      if (y < 0 || y >= words) continue;
      loss.chosen[row] = z[place<T>(row, y)] + (bias == nullptr ? T{0} : bias[y]);
    }
    for (int64_t row = 0; row < kLossRows; row += width) {
      const auto at = tile * kLossRows + row;
      exponentials(z + row * kLossWords, bias, words, loss.greatest + at, loss.total + at,
                   loss.sum + at);
    }
  }
}

template <typename T>
HWY_INLINE void losses_of_rows(const VocabularyLoss<T>& loss, T* losses) {
  const Vectors<T> d;
  const auto end = vocabulary_tiles(loss.classes) * kLossRows;
  const T part = loss.label_smoothing / static_cast<T>(loss.classes);
  HWY_ALIGN T log_totals[kLossRows], sums[kLossRows];
  for (int64_t row = 0; row < kLossRows; row += lanes_of<T>()) {
    auto most = hn::Load(d, loss.greatest + row);
    for (auto t = row; t < end; t += kLossRows) {
      most = hn::Max(most, hn::Load(d, loss.greatest + t));
    }
    auto total = hn::Zero(d), sum = hn::Zero(d);
    for (auto t = row; t < end; t += kLossRows) {
      const auto part_of_tile = hn::Exp(d, hn::Sub(hn::Load(d, loss.greatest + t), most));
      hn::Store(part_of_tile, d, loss.greatest + t);
      total = hn::MulAdd(part_of_tile, hn::Load(d, loss.total + t), total);
      sum = hn::Add(sum, hn::Load(d, loss.sum + t));
    }
    // Exp and Max let what is not a number pass for one, and infinity for nothing; sums do not.
    const auto infinity = hn::Set(d, std::numeric_limits<T>::infinity());
    const auto is_nan = hn::Or(hn::IsNaN(sum), hn::Eq(most, infinity));
    const auto nan = hn::Set(d, std::numeric_limits<T>::quiet_NaN());
    total = hn::IfThenElse(is_nan, nan, total);
    for (auto t = row; t < end; t += kLossRows) {
      hn::Store(hn::Div(hn::Load(d, loss.greatest + t), total), d, loss.greatest + t);
    }
    hn::Store(hn::IfThenElse(is_nan, nan, hn::Add(hn::Log(d, total), most)), d, log_totals + row);
    hn::Store(sum, d, sums + row);
  }
  for (int64_t row = 0; row < loss.rows; ++row) {
    // Without smoothing a class of logit -infinity costs nothing, not 0 * infinity.
    losses[row] = log_totals[row] - (1 - loss.label_smoothing) * loss.chosen[row] -
                  (part > 0 ? part * sums[row] : 0);
  }
}

// The exponentials of a tile become the gradient of its logits, and its sums over rows are added to
// `bias` unless that is null. Rows and words that are not there get zeros.
template <typename T>
HWY_INLINE void gradient_of_tile(const VocabularyLoss<T>& loss, int64_t tile, T* HWY_RESTRICT z,
                                 T* HWY_RESTRICT bias) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>(), width = row_panel<T>();
  const auto word = tile * kLossWords, words = std::min(kLossWords, loss.classes - word);
  const T part = loss.label_smoothing / static_cast<T>(loss.classes);
  T* factors = loss.greatest + tile * kLossRows;
  HWY_ALIGN T parts[kLossRows];
  std::fill(parts, parts + loss.rows, part);
  std::fill(parts + loss.rows, parts + kLossRows, T{0});
  std::fill(factors + loss.rows, factors + kLossRows, T{0});
  for (int64_t row = 0; row < kLossRows; row += width) {
    T* panel = z + row * kLossWords;
    for (int64_t v = 0; v < words; ++v) {
      for (int64_t i = 0; i < kRowVectors; ++i) {
        T* at = panel + v * width + i * lanes;
        hn::Store(hn::MulSub(hn::Load(d, at), hn::Load(d, factors + row + i * lanes),
                             hn::Load(d, parts + row + i * lanes)),
                  d, at);
      }
    }
    std::fill(panel + words * width, panel + kLossWords * width, T{0});
  }
  for (int64_t row = 0; row < loss.rows; ++row) {
    const auto y = loss.target[row] - word;
    if (y >= 0 && y < words) z[place<T>(row, y)] -= 1 - loss.label_smoothing;
  }
  for (int64_t v = 0; bias != nullptr && v < words; ++v) {
    auto sum = hn::Zero(d);
    for (int64_t row = 0; row < kLossRows; row += width) {
      for (int64_t i = 0; i < kRowVectors; ++i) {
        sum = hn::Add(sum, hn::Load(d, z + row * kLossWords + v * width + i * lanes));
      }
    }
    bias[word + v] += hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

// dW of kTallTile words, whose gradients start at z, and the dimensions of one panel.
template <typename T>
HWY_INLINE void multiply_rows(Tile<kTallTile, kDimVectors, T>& sums, const T* z, const T* panel) {
  const auto width = row_panel<T>();
  for (int64_t row = 0; row < kLossRows; row += width) {
    sums.multiply(z + row * kLossWords, width, 1, panel + row * dim_panel<T>(), width);
  }
}

template <typename T>
HWY_INLINE void weights_of_tiles(const VocabularyLoss<T>& loss, T* weight, T* bias, int64_t first,
                                 int64_t last) {
  const auto width = dim_panel<T>();
  for (int64_t tile = first; tile < last; ++tile) {
    const auto word = tile * kLossWords, words = std::min(kLossWords, loss.classes - word);
    T* z = loss.logits + tile * kLossRows * kLossWords;
    gradient_of_tile(loss, tile, z, bias);
    for (int64_t v = 0; weight != nullptr && v < words; v += kTallTile) {
      const T* of_words = z + v * row_panel<T>();
      T* out = weight + (word + v) * loss.dim;
      const auto rows = std::min(kTallTile, words - v);
      // dW is the one thing that is not in a near cache.
      const auto ahead = rows * loss.dim;
      for (int64_t column = 0; column < loss.dim; column += width) {
        const T* panel = loss.dim_panels + column * kLossRows;
        const auto columns = std::min(width, loss.dim - column);
        Tile<kTallTile, kDimVectors, T> sums;
        if (rows == kTallTile && columns == width) {
          for (int64_t r = 0; r < kTallTile; ++r) {
            hwy::Prefetch(out + ahead + r * loss.dim + column);
          }
          sums.load(out + column, loss.dim);
          multiply_rows(sums, of_words, panel);
          sums.store(out + column, loss.dim);
          continue;
        }
        HWY_ALIGN T whole[kTallTile * kDimVectors * (64 / sizeof(T))];
        sums.zero();
        multiply_rows(sums, of_words, panel);
        sums.store(whole, width);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t j = 0; j < columns; ++j) {
            out[r * loss.dim + column + j] += whole[r * width + j];
          }
        }
      }
    }
  }
}

template <typename T>
HWY_INLINE void hidden_of_dims(const VocabularyLoss<T>& loss, T* hidden, int64_t first,
                               int64_t last) {
  const auto width = row_panel<T>();
  const auto begin = first * kDimGroup, end = last * kDimGroup, dim = padded_dim(loss.dim);
  for (int64_t row = 0; row < kLossRows; row += width) {
    T* sums_of_panel = loss.row_panels + row * dim;
    std::fill(sums_of_panel + begin * width, sums_of_panel + end * width, T{0});
  }
  for (int64_t tile = 0; tile < vocabulary_tiles(loss.classes); ++tile) {
    const T* z = loss.logits + tile * kLossRows * kLossWords;
    for (int64_t row = 0; row < kLossRows; row += width) {
      for (int64_t e = begin; e < end; e += kWideTile) {
        T* to = loss.row_panels + row * dim + e * width;
        Tile<kWideTile, kRowVectors, T> sums;
        sums.load(to, width);
        sums.multiply(loss.by_dim + (tile * dim + e) * kLossWords, 1, kWideTile,
                      z + row * kLossWords, kLossWords);
        sums.store(to, width);
      }
    }
  }
  for (int64_t row = 0; row < loss.rows; ++row) {
    const T* from = loss.row_panels + row / width * width * dim + row % width;
    for (int64_t e = begin; e < std::min(end, loss.dim); ++e) {
      hidden[row * loss.dim + e] = from[e * width];
    }
  }
}

// Highway's tables hold functions, not templates. A type cannot be put in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_VOCABULARY_LOSS(T)                                                             \
  void pack_##T(const T* weight, int64_t classes, int64_t dim, T* by_word, T* by_dim,         \
                int64_t first, int64_t last) {                                                \
    pack_tiles(weight, classes, dim, by_word, by_dim, first, last);                           \
  }                                                                                           \
  void block_##T(const VocabularyLoss<T>& loss) { pack_block(loss); }                         \
  void logits_##T(const VocabularyLoss<T>& loss, int64_t first, int64_t last) {               \
    logits_of_tiles(loss, first, last);                                                       \
  }                                                                                           \
  void losses_##T(const VocabularyLoss<T>& loss, T* losses) { losses_of_rows(loss, losses); } \
  void weights_##T(const VocabularyLoss<T>& loss, T* weight, T* bias, int64_t first,          \
                   int64_t last) {                                                            \
    weights_of_tiles(loss, weight, bias, first, last);                                        \
  }                                                                                           \
  void hidden_##T(const VocabularyLoss<T>& loss, T* hidden, int64_t first, int64_t last) {    \
    hidden_of_dims(loss, hidden, first, last);                                                \
  }
ATTEND_VOCABULARY_LOSS(float)
ATTEND_VOCABULARY_LOSS(double)
#undef ATTEND_VOCABULARY_LOSS
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {

// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_VOCABULARY_LOSS(T)                                                                 \
  HWY_EXPORT(pack_##T);                                                                           \
  HWY_EXPORT(block_##T);                                                                          \
  HWY_EXPORT(logits_##T);                                                                         \
  HWY_EXPORT(losses_##T);                                                                         \
  HWY_EXPORT(weights_##T);                                                                        \
  HWY_EXPORT(hidden_##T);                                                                         \
  template <>                                                                                     \
  void pack_vocabulary(const T* weight, int64_t classes, int64_t dim, T* by_word, T* by_dim,      \
                       int64_t first, int64_t last) {                                             \
    HWY_DYNAMIC_DISPATCH(pack_##T)(weight, classes, dim, by_word, by_dim, first, last);           \
  }                                                                                               \
  template <>                                                                                     \
  void pack_hidden(const VocabularyLoss<T>& loss) {                                               \
    HWY_DYNAMIC_DISPATCH(block_##T)(loss);                                                        \
  }                                                                                               \
  template <>                                                                                     \
  void vocabulary_logits(const VocabularyLoss<T>& loss, int64_t first, int64_t last) {            \
    HWY_DYNAMIC_DISPATCH(logits_##T)(loss, first, last);                                          \
  }                                                                                               \
  template <>                                                                                     \
  void vocabulary_losses(const VocabularyLoss<T>& loss, T* losses) {                              \
    HWY_DYNAMIC_DISPATCH(losses_##T)(loss, losses);                                               \
  }                                                                                               \
  template <>                                                                                     \
  void vocabulary_weights(const VocabularyLoss<T>& loss, T* weight, T* bias, int64_t first,       \
                          int64_t last) {                                                         \
    HWY_DYNAMIC_DISPATCH(weights_##T)(loss, weight, bias, first, last);                           \
  }                                                                                               \
  template <>                                                                                     \
  void vocabulary_hidden(const VocabularyLoss<T>& loss, T* hidden, int64_t first, int64_t last) { \
    HWY_DYNAMIC_DISPATCH(hidden_##T)(loss, hidden, first, last);                                  \
  }
ATTEND_VOCABULARY_LOSS(float)
ATTEND_VOCABULARY_LOSS(double)
#undef ATTEND_VOCABULARY_LOSS
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace attend::kernels
#endif  // HWY_ONCE
