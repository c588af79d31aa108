#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// The constants of `Adam`.
struct AdamOptions {
  double beta1 = 0.9;         // decay of the mean of gradients; [0, 1)
  double beta2 = 0.98;        // decay of the mean of their squares; [0, 1): Vaswani et al., 5.3
  double epsilon = 1e-9;      // added to the root of the second; > 0
  double weight_decay = 0.0;  // decoupled, as a part of the learning rate: Loshchilov and Hutter,
                              // 2019, arXiv:1711.05101; >= 0
};

/// Adam over a module's parameters in one fused pass, with gradient clipping.
///
/// Source: Kingma and Ba, 2015, arXiv:1412.6980, algorithm 1.
/// Throws: c10::ValueError for options out of range.
class ATTEND_TOOLKIT_API Adam {
 public:
  explicit Adam(const torch::nn::Module& module, const AdamOptions& options = {});

  /// Sets every gradient to none.
  void zero_grad();

  /// Scales the gradients so that their joint norm is at most max_norm (0: no limit), and returns
  /// the norm from before, a scalar tensor: reading it would wait for the device.
  torch::Tensor clip_gradients(double max_norm);

  /// One update. Parameters without a gradient keep their value. Where `skip`, a float tensor of one
  /// element on their device, is 1, nothing changes: whether to is decided without waiting.
  void step(double learning_rate, const torch::Tensor& skip = {});

  /// Moments and step counts by the parameters' names, for a snapshot.
  std::map<std::string, torch::Tensor> state() const;

  /// The reverse of `state`. Throws c10::Error unless names and shapes fit; nothing is changed
  /// then.
  void load_state(const std::map<std::string, torch::Tensor>& state);

 private:
  AdamOptions options_;
  std::vector<std::string> names_;
  std::vector<torch::Tensor> parameters_, means_, squares_, steps_;
};

}  // namespace attend
