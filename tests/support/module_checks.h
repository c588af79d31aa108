#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "support/tensor_assert.h"

namespace attend::testing_support {

/// A tensor and how to call it in a message.
struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

/// The parameters of a module by name.
std::vector<NamedTensor> parameters_of(const torch::nn::Module& module);

/// Compares the gradients of a float64 function with differences of its values, along random
/// directions of every tensor in `leaves` (float64, requiring gradients). `function` may return a
/// tensor of any shape.
void expect_gradients_match_differences(const std::function<torch::Tensor()>& function,
                                        const std::vector<NamedTensor>& leaves);

/// Expects every tensor to have a gradient without NaN and infinity.
void expect_finite_gradients(const std::vector<NamedTensor>& leaves);

/// Random values for every parameter, norms and biases included, so that none is 0 or 1 by chance.
void randomise(torch::nn::Module& module);

/// Expects a clone to have equal parameters and buffers of its own, of the same dtype, and the
/// same training mode.
void expect_clone_is_equal_and_separate(const torch::nn::Module& module,
                                        const torch::nn::Module& clone);

/// Saves `from` and loads it into `to`, which must then have equal parameters.
template <typename Module>
void expect_save_load_round_trip(const Module& from, Module& to) {
  std::stringstream file;
  torch::save(from, file);
  torch::load(to, file);
  const auto saved = from->named_parameters(), loaded = to->named_parameters();
  ASSERT_EQ(saved.keys(), loaded.keys());
  for (const auto& parameter : saved) {
    SCOPED_TRACE(parameter.key());
    EXPECT_TENSOR_EQUAL(loaded[parameter.key()], parameter.value());
  }
}

}  // namespace attend::testing_support
