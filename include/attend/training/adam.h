#pragma once

// For those who write training loops of their own.

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"
#include "attend/training/optimizer.h"

namespace attend {

/// The constants of `Adam`.
struct AdamOptions {
  double beta1 = 0.9;         // decay of the mean of gradients; [0, 1)
  double beta2 = 0.98;        // decay of the mean of their squares; [0, 1): Vaswani et al., 5.3
  double epsilon = 1e-9;      // added to the root of the second; > 0
  double weight_decay = 0.0;  // decoupled, relative to the learning rate: Loshchilov and Hutter,
                              // 2019, arXiv:1711.05101; >= 0
};

/// Adam over a module's parameters in one fused pass.
///
/// Source: Kingma and Ba, 2015, arXiv:1412.6980, algorithm 1.
/// Throws: c10::ValueError for options out of range.
class ATTEND_TOOLKIT_API Adam : public Optimizer {
 public:
  explicit Adam(const torch::nn::Module& module, const AdamOptions& options = {});
  explicit Adam(std::vector<NamedParameter> parameters, const AdamOptions& options = {});

  void step(double learning_rate, const torch::Tensor& skip = {}) override;

  /// Moments and step counts by the parameters' names: "mean.<name>", "square.<name>", "step.<name>".
  std::map<std::string, torch::Tensor> state() const override;

 private:
  AdamOptions options_;
  std::vector<torch::Tensor> means_, squares_, steps_;
};

}  // namespace attend
