#pragma once

#include <torch/torch.h>

#include <optional>

#include "support/oracle.h"

namespace attend::oracle {

/// The variants of multi-head attention, as plain numbers.
struct VariantForm {
  int64_t num_heads;
  int64_t num_kv_heads;
  std::optional<double> scale;
  bool rotary = false;
  int64_t rotary_dim = 0;  // 0: all
  bool interleaved = false;
  double rotary_base = 10000;
  bool alibi = false;            // num_heads must be a power of two
  int64_t relative_buckets = 0;  // 0: none
  int64_t relative_max_distance = 128;
  bool relative_bidirectional = true;
  std::optional<int64_t> window_left, window_right;
  bool qk_norm = false;
  double soft_cap = 0;
  bool sinks = false;
  bool bias_kv = false;
  bool zero_attn = false;
};

/// The bucket of a distance, as section 2.1 of Raffel et al. describes it. ahead: key - query.
int64_t relative_bucket(int64_t ahead, int64_t buckets, int64_t max_distance, bool bidirectional);

/// Multi-head attention with variants, number by number. Inputs [B, T or S, size]; the mask is for
/// the caller's keys; weights [B, H, T, S + own keys].
Result variant_attention(const torch::Tensor& query, const torch::Tensor& key,
                         const torch::Tensor& value, const Weights& weights,
                         const VariantForm& form, const Mask& mask = {});

}  // namespace attend::oracle
