#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "attend/models/incremental_model.h"
#include "inference/scratch.h"
#include "inference/weight_memory.h"
#include "kernels/cpu/packed_product.h"

namespace attend::detail {

/// A linear layer with packed weights, or several of the same input as one.
class PreparedLinear {
 public:
  PreparedLinear() = default;
  /// weight: [N, K]; bias: [N] or undefined. Float32, on the CPU.
  PreparedLinear(const torch::Tensor& weight, const torch::Tensor& bias, const Packing& packing);
  /// The layers' outputs side by side.
  static PreparedLinear joined(const std::vector<torch::nn::Linear>& layers,
                               const Packing& packing);
  static PreparedLinear of(const torch::nn::Linear& layer, const Packing& packing) {
    return joined({layer}, packing);
  }

  /// A layer of the same inputs and precision without outputs, for some that are copied from this one.
  PreparedLinear without_outputs() const;
  /// At least so many outputs. New ones have weights of zero.
  void grow(int64_t outputs);
  /// Makes the output `to` the output `from` of `other`, of which this is `without_outputs`.
  void copy_output(const PreparedLinear& other, int64_t from, int64_t to);

  /// output [rows, N] = ending(input [rows, K] weight^T + bias).
  void run(const float* input, int64_t rows, float* output, Scratch& scratch,
           const kernels::Ending& ending = {}) const;

  /// What is requested of the outputs of each row of the input, without all outputs in memory.
  BestTokens best(const float* input, int64_t rows, const BestTokensRequest& request,
                  Scratch& scratch) const;

  int64_t outputs() const { return columns_; }
  size_t bytes() const { return static_cast<size_t>(packed_.defined() ? packed_.numel() : 0); }

 private:
  kernels::PackedWeights view() const;
  kernels::PackedProduct product(const float* input, int64_t rows, Scratch& scratch) const;

  kernels::WeightStorage storage_ = kernels::WeightStorage::kFloat32;
  int64_t columns_ = 0, depth_ = 0;
  torch::Tensor packed_, bias_, scales_, sums_;  // as in PackedWeights
};

}  // namespace attend::detail
