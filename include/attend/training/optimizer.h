#pragma once

// For those who write training loops of their own.

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// A parameter and its name in its module.
struct ATTEND_TOOLKIT_API NamedParameter {
  std::string name;
  torch::Tensor tensor;
};

/// The parameters of a module that take gradients, by their names.
ATTEND_TOOLKIT_API std::vector<NamedParameter> trainable_parameters(
    const torch::nn::Module& module);

/// Updates parameters by their gradients, on the parameters' device. The host never waits for it.
class ATTEND_TOOLKIT_API Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  Optimizer(Optimizer&&) = delete;
  Optimizer& operator=(Optimizer&&) = delete;

  /// Sets every gradient to none.
  void zero_grad();

  /// Scales the gradients so that their joint norm is at most max_norm (0: no limit), and returns
  /// the norm before scaling, as a scalar tensor: reading its value waits for the device.
  torch::Tensor clip_gradients(double max_norm);

  /// One update. Parameters without a gradient keep their value. Where `skip`, a scalar float
  /// tensor on their device, is 1, nothing changes; the host does not wait for its value.
  virtual void step(double learning_rate, const torch::Tensor& skip = {}) = 0;

  /// Moments and the like by name, for a snapshot; they share memory with the optimiser's.
  virtual std::map<std::string, torch::Tensor> state() const = 0;

  /// The reverse of `state`. Throws c10::Error unless names and shapes fit; nothing is changed
  /// then.
  void load_state(const std::map<std::string, torch::Tensor>& state);

 protected:
  explicit Optimizer(std::vector<NamedParameter> parameters);
  const std::vector<NamedParameter>& parameters() const { return parameters_; }

 private:
  std::vector<NamedParameter> parameters_;
};

}  // namespace attend
