#pragma once

#include <torch/torch.h>

#include <vector>

#include "attend/export.h"

namespace attend {

/// Which keys each query may attend to: a description, not necessarily a tensor.
///
/// A mask is built from parts, joined with `&`: a key is attended to only where every part allows
/// it, and additive biases add up. It stays a description until an attention function lowers it to
/// the cheapest thing its kernel takes (nothing, a causal flag, a [B, 1, 1, S] row, ...). A dense
/// [B, H, T, S] tensor is made only when no smaller form says the same.
///
/// A query that may attend to no key at all gets a zero output, zero weights and finite gradients.
///
/// Shapes: a bool tensor (true = may attend) or a floating-point tensor (added to the scores;
///         -infinity forbids) of shape [T, S] or broadcastable to [B, H, T, S]. A 3-D tensor is
///         ambiguous and refused when it is used, except [H, T, S] with unbatched input.
/// Throws: c10::Error for another rank or dtype.
/// Note:   torch::nn::MultiheadAttention has the opposite polarity (true = ignore); convert once,
///         with `mask_from_torch` and `padding_from_torch`.
class ATTEND_API AttentionMask {
 public:
  /// Every query may attend to every key.
  AttentionMask() = default;

  /// Implicit, so that a tensor can be passed where a mask is expected; undefined means no mask.
  AttentionMask(const torch::Tensor& mask);  // NOLINT(google-explicit-constructor)

  /// Query i may attend to the keys j <= i + S - T (bottom-right aligned: the last query sees all,
  /// which is what a cached step needs).
  static AttentionMask causal();

  /// Sentence b may attend to its first lengths[b] keys. lengths: [B], integers in [0, S].
  static AttentionMask key_lengths(const torch::Tensor& lengths);

  /// Sentence b may attend to the keys s with may_attend[b][s]. may_attend: [B, S], bool.
  static AttentionMask padding(const torch::Tensor& may_attend);

  /// True if no part was given.
  bool is_none() const;

  bool is_causal() const { return causal_; }
  const std::vector<torch::Tensor>& lengths() const { return lengths_; }    // each [B]
  const std::vector<torch::Tensor>& paddings() const { return paddings_; }  // each bool [B, S]
  const std::vector<torch::Tensor>& allowed() const { return allowed_; }    // bool, broadcastable
  const std::vector<torch::Tensor>& biases() const { return biases_; }      // float, broadcastable

  friend ATTEND_API AttentionMask operator&(const AttentionMask& a, const AttentionMask& b);

 private:
  bool causal_ = false;
  std::vector<torch::Tensor> lengths_;
  std::vector<torch::Tensor> paddings_;
  std::vector<torch::Tensor> allowed_;
  std::vector<torch::Tensor> biases_;
};

/// Both masks at once.
ATTEND_API AttentionMask operator&(const AttentionMask& a, const AttentionMask& b);

namespace functional {

/// The causal mask of n positions as a bool tensor [n, n]: true on and below the diagonal.
/// Throws: c10::ValueError if n < 0.
ATTEND_API torch::Tensor causal_mask(int64_t n, torch::Device device = torch::kCPU);

/// The bottom-right aligned causal mask [T, S]: true where j <= i + S - T.
ATTEND_API torch::Tensor causal_mask(int64_t target_length, int64_t source_length,
                                     torch::Device device = torch::kCPU);

/// Where a batch of token ids holds real tokens: bool, true = not pad_id.
/// Shapes: tokens [B, S] (or [S]) -> the same. Use with `AttentionMask::padding`.
ATTEND_API torch::Tensor padding_mask(const torch::Tensor& tokens, int64_t pad_id);

/// From torch::nn's attn_mask: a bool tensor there means true = ignore; a float one is a bias in
/// both worlds and is returned as it is. A 3-D [B * num_heads, T, S] mask becomes [B, H, T, S].
ATTEND_API AttentionMask mask_from_torch(const torch::Tensor& attn_mask, int64_t num_heads = 1);

/// From torch::nn's key_padding_mask [B, S], bool, true = ignore.
ATTEND_API AttentionMask padding_from_torch(const torch::Tensor& key_padding_mask);

}  // namespace functional
}  // namespace attend
