#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cpu/additive_attention.h"
#include "kernels/cpu/dropout.h"

namespace attend::kernels {

/// Keys that a tile has, beside one or two queries.
constexpr int64_t kTileKeys = 4;
/// Keys whose f are kept at a time in the backward pass, and how many bytes of them: half of the
/// first cache.
constexpr int64_t kMostTileKeys = 64, kKeptBytes = 16384;
/// Elements behind a row that may be read and written with it: a vector and a tile.
constexpr int64_t kRowPadding = 20;

/// What a task of additive attention has of a block of queries and a part of the keys. Rows of pairs
/// have `stride` elements.
template <typename T>
struct AdditiveWork {
  T* vector;           // [A]: times (1 - slope) scale, then zeros
  T* of_vector;        // [A]: its gradient, padded likewise
  T* of_query[2];      // [A]: of the queries at hand, from the keys at hand alone
  T* scratch;          // [A], written to and never looked at
  T* kept;             // what a score function keeps
  T* tile[2];          // [kMostTileKeys]: scores, then their gradients
  T* scores;           // [kAdditiveRows, stride]: scores, then weights
  T* products;         // [kAdditiveRows, stride]: gradients of the weights
  T* key_terms;        // [stride]
  T* query_terms;      // [kAdditiveRows]
  uint32_t* numbers;   // [kDropoutBlock]
  bool* visible;       // [kAdditiveRows, stride]
  int64_t* keys;       // [stride]: keys that some query sees; the last one again up to a tile
  const T** key_rows;  // [stride]: where they are
  const T** value_rows;
  T** gradient_rows;  // [stride]
  int64_t stride;

  int64_t rows, count;  // queries that see some key, and keys that some query sees
  int64_t queries[kAdditiveRows];
  const T* query_rows[kAdditiveRows];
  bool all_visible;
};

/// The memory of it.
template <typename T>
class AdditiveMemory {
 public:
  AdditiveMemory(const AdditiveAttention<T>& a, int64_t keys)
      : stride_(keys + kRowPadding), padded_(a.hidden_dim + kRowPadding) {
    const auto tile = kMostTileKeys + kRowPadding;
    const auto kept = kKeptBytes / static_cast<int64_t>(sizeof(T)) + 2 * kTileKeys * padded_;
    numbers_.resize(
        size(5 * padded_ + kept + 2 * tile + kAdditiveRows + (2 * kAdditiveRows + 1) * stride_));
    random_.resize(size(kDropoutBlock));
    visible_.resize(size(kAdditiveRows * stride_));
    keys_.resize(size(stride_));
    rows_.resize(size(2 * stride_));
    gradients_.resize(size(stride_));
    T* next = numbers_.data();
    const auto take = [&](int64_t count) {
      T* const taken = next;
      next += count;
      return taken;
    };
    work_.vector = take(padded_);
    work_.of_vector = take(padded_);
    work_.of_query[0] = take(padded_);
    work_.of_query[1] = take(padded_);
    work_.scratch = take(padded_);
    work_.kept = take(kept);
    work_.tile[0] = take(tile);
    work_.tile[1] = take(tile);
    work_.scores = take(kAdditiveRows * stride_);
    work_.products = take(kAdditiveRows * stride_);
    work_.key_terms = take(stride_);
    work_.query_terms = take(kAdditiveRows);
    work_.numbers = random_.data();
    work_.visible = reinterpret_cast<bool*>(visible_.data());
    work_.keys = keys_.data();
    work_.key_rows = rows_.data();
    work_.value_rows = rows_.data() + stride_;
    work_.gradient_rows = gradients_.data();
    work_.stride = stride_;
  }
  AdditiveWork<T>& work() { return work_; }

 private:
  static size_t size(int64_t count) { return static_cast<size_t>(count); }

  int64_t stride_, padded_;
  std::vector<T> numbers_;
  std::vector<uint32_t> random_;
  std::vector<char> visible_;
  std::vector<int64_t> keys_;
  std::vector<const T*> rows_;
  std::vector<T*> gradients_;
  AdditiveWork<T> work_ = {};
};

}  // namespace attend::kernels
