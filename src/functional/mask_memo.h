#pragma once

#include <mutex>
#include <optional>
#include <utility>

#include "functional/lowered_mask.h"
#include "functional/mask_parts.h"

namespace attend::functional {

/// What the layers that share a mask keep of it: the last lowering, and the last one that was made
/// dense. Results are kept with all that they depend on, so that another mask, size or type is never
/// answered with them.
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

  /// make(): `mask` made dense.
  template <typename Make>
  LoweredMask dense(const LoweredMask& mask, const AttentionShape& shape, const Make& make) {
    const std::scoped_lock lock(mutex_);
    const Sizes sizes{shape, torch::kCPU, torch::kFloat};
    const auto same = [](const torch::Tensor& a, const torch::Tensor& b) { return a.is_same(b); };
    const bool is_kept = dense_ && dense_->sizes == sizes && dense_->of.band == mask.band &&
                         same(dense_->of.allowed, mask.allowed) &&
                         same(dense_->of.bias, mask.bias) && same(dense_->of.slopes, mask.slopes) &&
                         same(dense_->of.relative_bias, mask.relative_bias) &&
                         same(dense_->of.query_segments, mask.query_segments) &&
                         same(dense_->of.key_segments, mask.key_segments);
    if (!is_kept) {
      auto of = mask;
      of.memo = nullptr;
      auto result = make();
      result.memo = nullptr;
      dense_ = Dense{std::move(of), sizes, std::move(result)};
    }
    return dense_->result;
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
  struct Dense {
    LoweredMask of;
    Sizes sizes;
    LoweredMask result;
  };

  std::mutex mutex_;
  std::optional<Lowering> lowering_;
  std::optional<Dense> dense_;
};

}  // namespace attend::functional
