#pragma once

#include <torch/torch.h>

#include "attend/training/training_options.h"

namespace attend::detail {

/// While it lives, LibTorch casts the inputs of matrix products on one kind of device. On CPU it does
/// not keep the casts of weights: its cache is one for all threads, and a cast that one thread recorded
/// would become part of another's graph.
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
  bool was_enabled_ = false, was_cached_ = true;
  torch::ScalarType previous_ = torch::kBFloat16;
};

}  // namespace attend::detail
