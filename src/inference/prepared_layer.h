#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "attend/modules/transformer_decoder.h"
#include "attend/modules/transformer_encoder.h"
#include "inference/prepared_linear.h"
#include "inference/scratch.h"
#include "inference/slot_cache.h"
#include "kernels/cpu/cached_attention.h"
#include "kernels/cpu/norm.h"

namespace attend::detail {

/// A norm's weights.
class PreparedNorm {
 public:
  PreparedNorm() = default;
  explicit PreparedNorm(const NormImpl& norm);
  /// output [rows, size], which may be the input.
  void run(const float* input, int64_t rows, float* output) const;

 private:
  NormOptions options_{1};
  torch::Tensor weight_, bias_;
};

/// The rows of a step: tokens, each with its place in its sequence.
struct StepRows {
  int64_t count;             // N
  const int32_t* positions;  // [N], from 0
};

/// What a self-attention's queries and keys see, for rows that attend to a cache.
struct CachedKeys {
  SlotCache* cache;
  int64_t layer;
  const int32_t* slots;  // row r: its keys' slots, its own last; null: they follow first[r]
  int64_t slots_stride;
  const int32_t *first, *counts;  // [N]
};

/// The sentences whose tokens are the rows of an encoder's step: sentence b has the rows
/// [first[b], first[b] + length[b]).
struct Sentences {
  std::vector<int32_t> first, length;
};

/// The encoder's output as keys and values of one decoder layer, and which rows are whose.
struct MemoryKeys {
  // Token t is row t % block of blocks[t / block], [block, 2 Hkv D]: keys, then values.
  const float* const* blocks;
  int64_t block;                  // a power of two
  const int32_t *first, *counts;  // [N], each row's tokens
  float* mean_weights = nullptr;  // [N, mean_stride] or null
  int64_t mean_stride = 0;
};

/// Projections and settings of one attention.
class PreparedAttention {
 public:
  PreparedAttention() = default;
  /// `positions`: the largest position, for rotary tables.
  PreparedAttention(const MultiHeadSelfAttentionImpl& attention, int64_t positions,
                    WeightPrecision precision);
  PreparedAttention(const MultiHeadCrossAttentionImpl& attention, WeightPrecision precision);

  /// The width of the queries, H D, and of keys or values, Hkv D.
  int64_t query_width() const { return heads_ * head_dim_; }
  int64_t key_width() const { return kv_heads_ * head_dim_; }

  /// x += the attention of the rows of `normal` to themselves and to the cached ones. mean_weights:
  /// [N, mean_stride], over all keys, or null.
  void add_cached(const float* normal, const StepRows& rows, const CachedKeys& keys,
                  float* mean_weights, int64_t mean_stride, float* x, Scratch& scratch) const;
  /// x += the attention of each sentence's rows to each other.
  void add_within(const float* normal, const StepRows& rows, const Sentences& sentences, float* x,
                  Scratch& scratch) const;
  /// x += the attention to a memory.
  void add_memory(const float* normal, int64_t rows, const MemoryKeys& memory, float* x,
                  Scratch& scratch) const;
  /// Of cross-attention: keys and values [rows, 2 Hkv D] of the encoder's output.
  void project_memory(const float* encoded, int64_t rows, float* key_values,
                      Scratch& scratch) const;

  size_t bytes() const { return projection_.bytes() + memory_.bytes() + out_.bytes(); }

 private:
  void read(const MultiHeadAttentionOptions& options, const torch::Tensor& sinks,
            const Norm& q_norm, const Norm& k_norm);
  float* project(const float* normal, const StepRows& rows, Scratch& scratch) const;
  void rotate(float* head, int64_t position) const;
  kernels::CachedAttention kernel() const;

  int64_t heads_ = 1, kv_heads_ = 1, head_dim_ = 1;
  double scale_ = 1.0;
  float soft_cap_ = 0;
  AttentionWindow window_;
  torch::Tensor slopes_, sinks_;  // [H] or undefined
  PreparedNorm q_norm_, k_norm_;
  bool normalises_ = false;
  torch::Tensor cosines_, sines_;  // [positions, pairs], or undefined
  bool halves_ = true;             // RotaryPairing::kHalves
  PreparedLinear projection_;      // self: queries, keys, values; cross: queries
  PreparedLinear memory_;          // cross: keys and values
  PreparedLinear out_;
};

/// A feed-forward block.
class PreparedFeedForward {
 public:
  PreparedFeedForward() = default;
  PreparedFeedForward(const FeedForwardImpl& block, WeightPrecision precision);
  void add(const float* normal, int64_t rows, float* x, Scratch& scratch) const;
  size_t bytes() const { return fc1_.bytes() + gate_.bytes() + fc2_.bytes(); }

 private:
  kernels::Ending::Activation activation_ = kernels::Ending::Activation::kRelu;
  bool gated_ = false;
  PreparedLinear fc1_, gate_, fc2_;
};

/// A layer of an encoder, a decoder or a causal model.
class PreparedLayer {
 public:
  PreparedLayer(const TransformerEncoderLayerImpl& layer, int64_t positions,
                WeightPrecision precision);
  PreparedLayer(const TransformerDecoderLayerImpl& layer, int64_t positions,
                WeightPrecision precision);

  /// Each takes x [N, E] through the layer, in place.
  void run_encoder(float* x, const StepRows& rows, const Sentences& sentences,
                   Scratch& scratch) const;
  void run_causal(float* x, const StepRows& rows, const CachedKeys& keys, float* mean_weights,
                  int64_t mean_stride, Scratch& scratch) const;
  void run_decoder(float* x, const StepRows& rows, const CachedKeys& keys, const MemoryKeys& memory,
                   Scratch& scratch) const;

  const PreparedAttention& self() const { return self_; }
  const PreparedAttention& cross() const { return cross_; }
  size_t bytes() const { return self_.bytes() + cross_.bytes() + feed_forward_.bytes(); }

 private:
  template <typename Add>
  void sublayer(const PreparedNorm& norm, float* x, int64_t rows, Scratch& scratch,
                const Add& add) const;

  bool pre_norm_;
  int64_t embed_dim_;
  PreparedAttention self_, cross_;
  PreparedFeedForward feed_forward_;
  PreparedNorm self_norm_, cross_norm_, final_norm_;
};

/// What of a layer's options cannot be prepared, or "".
std::string layer_obstacle(const TransformerLayerOptions& options);

}  // namespace attend::detail
