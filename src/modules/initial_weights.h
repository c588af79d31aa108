#pragma once

#include <torch/torch.h>

namespace attend::detail {

/// While one lives, the layers that its thread makes by the functions below have weights that nobody
/// has written: whoever makes them reads all weights from a file, and to draw random numbers first
/// would take longer than to read them.
class WeightsComeLater {
 public:
  WeightsComeLater();
  ~WeightsComeLater();
  WeightsComeLater(const WeightsComeLater&) = delete;
  WeightsComeLater& operator=(const WeightsComeLater&) = delete;
};

/// Layers with LibTorch's own initial weights.
torch::nn::Linear make_plain_linear(int64_t from, int64_t to, bool bias);
torch::nn::Embedding make_embedding(int64_t count, int64_t dim);

/// Options to construct an embedding of a subclass with, whose own `options` then have to forget
/// `_weight`: a clone would share it.
torch::nn::EmbeddingOptions embedding_options(int64_t count, int64_t dim);

/// As torch::nn::init's, with mean 0.
void initialize_normal(const torch::Tensor& weight, double std);
void initialize_xavier_uniform(const torch::Tensor& weight, double gain);

}  // namespace attend::detail
