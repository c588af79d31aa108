#include "training/autocast_scope.h"

#include <ATen/autocast_mode.h>

namespace attend::detail {

AutocastScope::AutocastScope(Precision precision, torch::DeviceType device)
    : device_(device), active_(precision == Precision::kBFloat16) {
  if (!active_) return;
  was_enabled_ = at::autocast::is_autocast_enabled(device_);
  previous_ = at::autocast::get_autocast_dtype(device_);
  was_cached_ = at::autocast::is_autocast_cache_enabled();
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, torch::kBFloat16);
  at::autocast::set_autocast_cache_enabled(device_ != torch::kCPU);
  at::autocast::increment_nesting();
}

AutocastScope::~AutocastScope() {
  if (!active_) return;
  // The casts of this update's weights are of no use to the next one.
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_cache_enabled(was_cached_);
  at::autocast::set_autocast_dtype(device_, previous_);
  at::autocast::set_autocast_enabled(device_, was_enabled_);
}

}  // namespace attend::detail
