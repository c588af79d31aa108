#pragma once

#include <mutex>
#include <optional>

#include "functional/lowered_mask.h"
#include "functional/mask_parts.h"

namespace attend::functional {

/// What the layers that share a mask keep of it: the last lowering, and the last bias that was made
/// of one for LibTorch's kernel. Results are kept with all that they depend on, so that another
/// mask, size or type is never answered with them.
class MaskMemo {
 public:
  /// make(): the lowering of `parts`.
  template <typename Make>
  LoweredMask lowered(const AttentionMask::Parts& parts, const AttentionShape& shape,
                      torch::Device device, torch::ScalarType type, const Make& make) {
    const std::scoped_lock lock(mutex_);
    const Sizes sizes{shape, device, type};
    if (!lowering_ || !(lowering_->sizes == sizes) || !lowering_->parts.is_same(parts)) {
      lowering_ = Lowering{parts, sizes, make()};
    }
    return lowering_->result;
  }

  /// make(): the bias of `mask`.
  template <typename Make>
  KernelMask bias(const LoweredMask& mask, const AttentionShape& shape, torch::Device device,
                  torch::ScalarType type, const Make& make) {
    const std::scoped_lock lock(mutex_);
    const Sizes sizes{shape, device, type};
    const bool is_kept = bias_ && bias_->sizes == sizes && bias_->of.band == mask.band &&
                         bias_->of.allowed.is_same(mask.allowed) &&
                         bias_->of.bias.is_same(mask.bias);
    if (!is_kept) bias_ = Bias{{mask.band, mask.allowed, mask.bias, {}}, sizes, make()};
    return bias_->result;
  }

 private:
  struct Sizes {
    AttentionShape shape;
    torch::Device device;
    torch::ScalarType type;
    // A tensor made without a graph, or in inference mode, cannot stand for one made with it.
    bool records = torch::GradMode::is_enabled(), infers = c10::InferenceMode::is_enabled();

    bool operator==(const Sizes&) const = default;
  };
  struct Lowering {
    AttentionMask::Parts parts;  // owns the tensors, so that no other can take their place
    Sizes sizes;
    LoweredMask result;
  };
  struct Bias {
    LoweredMask of;
    Sizes sizes;
    KernelMask result;
  };

  std::mutex mutex_;
  std::optional<Lowering> lowering_;
  std::optional<Bias> bias_;
};

}  // namespace attend::functional
