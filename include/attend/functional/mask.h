#pragma once

// For all who call attention: masks.

#include <torch/torch.h>

#include <cstdint>
#include <limits>
#include <memory>

#include "attend/export.h"

namespace attend {

namespace functional {
class MaskMemo;
}  // namespace functional

/// Which keys each query may attend to: a description, not necessarily a tensor.
///
/// A mask is built from parts, joined with `&`: a key is attended to only where every part allows
/// it, and additive biases add up. It stays a description until an attention function lowers it to
/// the cheapest thing its kernel takes (nothing, a causal flag, a [B, 1, 1, S] row, ...). A dense
/// [B, H, T, S] tensor is made only when no smaller form says the same.
///
/// A query that may attend to no key at all gets a zero output, zero weights and finite gradients.
/// Keys that no query may attend to have no effect, on the CPU not even if they hold NaN.
///
/// A mask is an immutable value: copies share their parts, and may be used by several threads.
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

  /// Query i may attend to the keys i + S - T - left to i + S - T + right, clipped to those there
  /// are (bottom-right aligned, as `causal`). `window(n, 0)` is a causal window of n + 1 keys;
  /// joined with `causal()`, `window(n, n)` is the same.
  /// Source: Beltagy et al., 2020, arXiv:2004.05150, section 3.1.
  /// Throws: c10::ValueError if left or right is negative; when it is used without `positions`, if
  /// query 0 ends before the first key, T - S > right (causal alone gives such rows zero weights).
  static AttentionMask window(int64_t left, int64_t right);

  /// Query i may attend to key j of the same segment only, so that several documents share a row.
  /// query_ids: [B, T], key_ids: [B, S], integers. Positions are compared as they stand, so one id
  /// may come back later in a row.
  /// Source: Raffel et al., 2020, arXiv:1910.10683, section 3.5.2 (packing).
  static AttentionMask segments(const torch::Tensor& query_ids, const torch::Tensor& key_ids);

  /// The same for self-attention. ids: [B, T].
  static AttentionMask segments(const torch::Tensor& ids) { return segments(ids, ids); }

  /// Adds -slopes[h] |i + S - T - j| to the scores of head h. slopes: [H], floating point.
  /// Source: Press et al., 2022, arXiv:2108.12409, section 3; `functional::alibi_slopes` are
  ///         theirs.
  static AttentionMask alibi(const torch::Tensor& slopes);

  /// Adds bias[h][j - i + T - 1] to the score of query i and key j in head h: a bias by distance. The
  /// first value is that of a key S - 1 places before the query, value S - 1 that of the query's own
  /// place, the last one that of a key T - 1 places behind it, where the last query stands at the
  /// last key. It may be learned. bias: [H, T + S - 1], floating point; -infinity forbids.
  /// Source: Raffel et al., 2020, arXiv:1910.10683, section 2.1, where
  ///         `functional::relative_position_buckets` of the distances share values.
  /// Throws: c10::Error when it is used, for another shape or beside `positions`.
  static AttentionMask relative_bias(const torch::Tensor& bias);

  /// Sentence b may attend to its first lengths[b] keys. lengths: [B], integers in [0, S].
  static AttentionMask key_lengths(const torch::Tensor& lengths);

  /// Sentence b may attend to the keys s with may_attend[b][s]. may_attend: [B, S], bool.
  static AttentionMask padding(const torch::Tensor& may_attend);

  /// Queries and keys stand at these positions, instead of bottom-right aligned: causal, window and
  /// ALiBi go by them. Keys at negative positions are empty slots, which no query sees.
  /// query: [T] or [B, T], key: [S] or [B, S], integers.
  static AttentionMask positions(const torch::Tensor& query, const torch::Tensor& key);

  /// The same mask for several layers of one forward pass: what it is lowered to for the first of
  /// them, such as a dense tensor, is kept for the others, as long as this copy lives. The tensors
  /// that it was made of must not be changed meanwhile. attend's stacks of layers do this
  /// themselves.
  AttentionMask shared_by_layers() const;

  /// True if no part was given.
  bool is_none() const { return parts_ == nullptr; }

  /// True if a part holds a value for each key.
  bool has_tensors() const;

  /// The band of keys a query sees: those from i + S - T - left to i + S - T + right.
  struct Band {
    static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
    int64_t left = kAll, right = kAll;

    bool is_everything() const { return left == kAll && right == kAll; }
    bool operator==(const Band&) const = default;
  };

  /// What a mask consists of, for the functions of attend that lower it.
  struct Parts;
  explicit AttentionMask(Parts parts);
  const Parts& parts() const;
  const std::shared_ptr<functional::MaskMemo>& memo() const { return memo_; }

  friend ATTEND_API AttentionMask operator&(const AttentionMask& a, const AttentionMask& b);

 private:
  std::shared_ptr<const Parts> parts_;          // null: no part
  std::shared_ptr<functional::MaskMemo> memo_;  // null: nothing is kept
};

/// Both masks at once. Throws: c10::Error if both say where queries and keys stand.
ATTEND_API AttentionMask operator&(const AttentionMask& a, const AttentionMask& b);

namespace functional {

/// The causal mask of n positions as a bool tensor [n, n]: true on and below the diagonal.
/// Throws: c10::ValueError if n < 0.
ATTEND_API torch::Tensor causal_mask(int64_t n, torch::Device device = torch::kCPU);

/// The bottom-right aligned causal mask [T, S]: true where j <= i + S - T.
ATTEND_API torch::Tensor causal_mask(int64_t target_length, int64_t source_length,
                                     torch::Device device = torch::kCPU);

/// The bottom-right aligned band [T, S]: true where i + S - T - left <= j <= i + S - T + right.
ATTEND_API torch::Tensor window_mask(int64_t target_length, int64_t source_length, int64_t left,
                                     int64_t right, torch::Device device = torch::kCPU);

/// The slopes of ALiBi, one a head: 2^(-8 / H), 2^(-16 / H), ... for a power of two, otherwise
/// those of the power below and every second one of the power above.
/// Source: Press et al., 2022, arXiv:2108.12409, section 3.
/// Shapes: -> [num_heads], float32.
ATTEND_API torch::Tensor alibi_slopes(int64_t num_heads, torch::Device device = torch::kCPU);

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
