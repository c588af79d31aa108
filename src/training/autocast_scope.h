#pragma once

#include <torch/torch.h>

#include "attend/training/trainer.h"

namespace attend::detail {

/// While it lives, LibTorch casts the inputs of matrix products on one kind of device.
class AutocastScope {
 public:
  AutocastScope(Precision precision, torch::DeviceType device);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;
  AutocastScope(AutocastScope&&) = delete;
  AutocastScope& operator=(AutocastScope&&) = delete;

 private:
  torch::DeviceType device_;
  bool active_;
  bool was_enabled_ = false;
  torch::ScalarType previous_ = torch::kBFloat16;
};

}  // namespace attend::detail
