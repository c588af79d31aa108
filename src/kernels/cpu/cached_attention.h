#pragma once

#include <cstdint>

namespace attend::kernels {

/// Where the keys or values of many positions lie: position p of a cache is row p % block of
/// blocks[p / block], [block, kv_heads * head_dim], whose rows are `stride` apart.
struct CacheRows {
  const float* const* blocks;
  int64_t block;       // positions of a block, a power of two
  int64_t stride;      // in elements
  int64_t offset = 0;  // of the keys or values in their rows

  const float* at(int64_t slot) const {
    return blocks[slot / block] + (slot & (block - 1)) * stride + offset;
  }
};

/// Attention of single queries, each to keys of its own that lie anywhere in a cache: rows of a step
/// of decoding, of whatever sentences.
///
///   output = softmax(cap(scale query key^T) - slope distance) value
struct CachedAttention {
  int64_t heads, kv_heads, head_dim;
  const float* query;  // row r: [heads, head_dim], r * query_stride
  int64_t query_stride;
  CacheRows keys, values;
  // Row r attends to counts[r] keys. Key j lies in slots[r * slots_stride + j], or, without slots, in
  // first[r] + j.
  const int32_t* slots;
  int64_t slots_stride;
  const int32_t *first, *counts;
  float scale;
  float soft_cap = 0;             // above 0: cap(x) = soft_cap tanh(x / soft_cap)
  const float* slopes = nullptr;  // [heads] or null: ALiBi's, of the distance counts[r] - 1 - j
  const float* sinks = nullptr;   // [heads] or null: the score of one more key, whose value is zero
  int64_t window = -1;            // at least 0: only the last 1 + window keys
  float* output;                  // [rows, heads, head_dim]
  float* mean_weights = nullptr;  // row r: the mean over heads of counts[r] weights, or null
  int64_t weights_stride = 0;
};

/// Computes the rows [first, last). A row without keys gets zeros.
void cached_attention(const CachedAttention& attention, int64_t first, int64_t last);

}  // namespace attend::kernels
