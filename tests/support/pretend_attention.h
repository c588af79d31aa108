#pragma once

#include <cstdint>

namespace attend::testing_support {

/// While it lives, the pretend device has a fused kernel for attention, as GPUs have: with grouped
/// queries, with dropout whose mask the kernel draws twice and does not show, with a first
/// derivative and no second one. Without it, at::scaled_dot_product_attention takes the formula
/// there.
class PretendFusedAttention {
 public:
  PretendFusedAttention();
  ~PretendFusedAttention();
  PretendFusedAttention(const PretendFusedAttention&) = delete;
  PretendFusedAttention& operator=(const PretendFusedAttention&) = delete;
  PretendFusedAttention(PretendFusedAttention&&) = delete;
  PretendFusedAttention& operator=(PretendFusedAttention&&) = delete;

  /// How often the kernel ran since then, forward and backward.
  int64_t calls() const;
};

}  // namespace attend::testing_support
