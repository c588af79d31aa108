#include "modules/initial_weights.h"

namespace attend::detail {
namespace {

// How many WeightsComeLater live on this thread.
thread_local int guards = 0;

}  // namespace

WeightsComeLater::WeightsComeLater() { ++guards; }
WeightsComeLater::~WeightsComeLater() { --guards; }

torch::nn::Linear make_plain_linear(int64_t from, int64_t to, bool bias) {
  const auto options = torch::nn::LinearOptions(from, to).bias(bias);
  if (guards == 0) return torch::nn::Linear(options);
  // A layer always draws its weights: one without outputs, which then gets its sizes.
  torch::nn::Linear layer(torch::nn::LinearOptions(1, 0).bias(bias));
  layer->options = options;
  layer->weight.set_data(torch::empty({to, from}));
  if (bias) layer->bias.set_data(torch::empty({to}));
  return layer;
}

torch::nn::EmbeddingOptions embedding_options(int64_t count, int64_t dim) {
  torch::nn::EmbeddingOptions options(count, dim);
  if (guards > 0) options._weight(torch::empty({count, dim}));
  return options;
}

torch::nn::Embedding make_embedding(int64_t count, int64_t dim) {
  torch::nn::Embedding layer(embedding_options(count, dim));
  layer->options._weight(torch::Tensor());
  return layer;
}

void initialize_normal(const torch::Tensor& weight, double std) {
  if (guards == 0) torch::nn::init::normal_(weight, 0.0, std);
}

void initialize_xavier_uniform(const torch::Tensor& weight, double gain) {
  if (guards == 0) torch::nn::init::xavier_uniform_(weight, gain);
}

}  // namespace attend::detail
