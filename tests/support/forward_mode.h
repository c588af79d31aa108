#pragma once

#include <torch/csrc/autograd/forward_grad.h>
#include <torch/torch.h>

#include <cstdint>
#include <tuple>

namespace attend::testing_support {

/// Differentiation in forward mode, for as long as this lives.
class ForwardMode {
 public:
  ForwardMode() : level_(torch::autograd::ForwardADLevel::get_next_idx()) {}
  ~ForwardMode() { torch::autograd::ForwardADLevel::release_idx(level_); }
  ForwardMode(const ForwardMode&) = delete;
  ForwardMode& operator=(const ForwardMode&) = delete;

  /// `x` that carries `tangent`.
  torch::Tensor dual(const torch::Tensor& x, const torch::Tensor& tangent) const {
    return at::_make_dual(x, tangent, static_cast<int64_t>(level_));
  }
  /// `x` without its tangent.
  torch::Tensor primal(const torch::Tensor& x) const {
    return std::get<0>(at::_unpack_dual(x, static_cast<int64_t>(level_)));
  }
  /// The tangent that `x` carries; zeros where there is none.
  torch::Tensor tangent(const torch::Tensor& x) const {
    const auto& found = x._fw_grad(level_);
    return found.defined() ? found : torch::zeros_like(x);
  }

 private:
  uint64_t level_;
};

}  // namespace attend::testing_support
