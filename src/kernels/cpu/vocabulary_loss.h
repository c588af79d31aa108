#pragma once

#include <cstdint>

namespace attend::kernels {

/// Rows that `VocabularyLoss` takes at a time, and words of a tile of their logits: multiples of
/// what any instruction set multiplies at once, and small enough for the second cache together.
constexpr int64_t kLossRows = 96, kLossWords = 288;

/// Axes that a thread may have a part of are divided into groups of so many.
constexpr int64_t kDimGroup = 8;

/// The label-smoothed cross-entropy of up to kLossRows rows x of `hidden` against the words of a
/// vocabulary of V, and its gradients:
///
///   z = W x + b,   loss = log sum_v exp(z_v) - (1 - eps) z_y - eps / V sum_v z_v
///   dz = softmax(z) - eps / V, less 1 - eps at y;   dx = W^T dz,   dW = sum over rows of dz x^T
///
/// Tiles of words do not depend on each other, nor do the dimensions of dx, so that threads can
/// share each step without changing a bit. The steps, in this order:
///
///   pack_vocabulary      once, tiles: W in the order in which products read it
///   vocabulary_logits    tiles: exp(z - the tile's greatest), and what the losses need of it
///   vocabulary_losses    losses, and what turns those exponentials into probabilities
///   vocabulary_weights   tiles: dz, and with it dW and db
///   vocabulary_hidden    groups of dimensions: dx
///
/// Logits stand as the products write and read them: by panels of rows, in each all words, in each
/// the panel's rows. A word's logits of several rows are then one vector, in the products as in the
/// softmax.
///
/// Of a logit that is NaN or infinity, the row's loss and dz are NaN.
///
/// Source: the shift by each tile's greatest: Milakov and Gimelshein, 2018, arXiv:1805.02867,
///         section 3.
template <typename T>
struct VocabularyLoss {
  int64_t rows, dim, classes;  // [1, kLossRows], E, V
  const T* hidden;             // [rows, E]
  const T* bias;               // [V] or null
  const int64_t* target;       // [rows], in [0, V)
  T label_smoothing;

  // Made by pack_vocabulary, [tiles * kLossWords * padded_dim]: for the logits and for dx.
  const T *by_word, *by_dim;

  // Work memory, in elements. All of it starts at a multiple of 64 bytes.
  T* row_panels;  // kLossRows * padded_dim: rows for the logits; then dx
  T* dim_panels;  // kLossRows * padded_dim: rows for dW
  T* logits;      // [tiles, kLossRows, kLossWords]
  T* greatest;    // [tiles, kLossRows]: of a tile's logits; then what makes its exponentials p
  T* total;       // [tiles, kLossRows]: of its exponentials
  T* sum;         // [tiles, kLossRows]: of its logits
  T* chosen;      // [kLossRows]: z_y
};

/// E as a multiple of what any instruction set multiplies at once.
constexpr int64_t padded_dim(int64_t dim) {
  constexpr int64_t kWidest = 32;
  return (dim + kWidest - 1) / kWidest * kWidest;
}

constexpr int64_t vocabulary_tiles(int64_t classes) {
  return (classes + kLossWords - 1) / kLossWords;
}

/// Tiles [first, last) of `weight` [V, E], contiguous. `by_dim` may be null: no dx is wanted then.
template <typename T>
void pack_vocabulary(const T* weight, int64_t classes, int64_t dim, T* by_word, T* by_dim,
                     int64_t first, int64_t last);

/// `hidden` into `row_panels` and `dim_panels`.
template <typename T>
void pack_hidden(const VocabularyLoss<T>& loss);

/// Tiles [first, last).
template <typename T>
void vocabulary_logits(const VocabularyLoss<T>& loss, int64_t first, int64_t last);

/// losses: [rows].
template <typename T>
void vocabulary_losses(const VocabularyLoss<T>& loss, T* losses);

/// Tiles [first, last), added to `weight` [V, E] and `bias` [V], where they are not null.
template <typename T>
void vocabulary_weights(const VocabularyLoss<T>& loss, T* weight, T* bias, int64_t first,
                        int64_t last);

/// Groups [first, last) of kDimGroup dimensions, of padded_dim, of `hidden` [rows, E].
template <typename T>
void vocabulary_hidden(const VocabularyLoss<T>& loss, T* hidden, int64_t first, int64_t last);

}  // namespace attend::kernels
