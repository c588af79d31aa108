// Replaces torch::nn::MultiheadAttention in a model, with its trained weights: the output stays the same.
//
// torch::nn is sequence first and its bool masks mean true = ignore. attend is batch first and its
// masks mean true = attend; the mask of torch::nn is converted once, by name.
#include <attend/attend.h>

#include <iostream>

namespace {

constexpr int64_t kBatch = 2, kLength = 7, kEmbedDim = 32, kHeads = 4;

// A block of a user's model, as it was.
struct BlockBeforeImpl : torch::nn::Module {
  BlockBeforeImpl() {
    attention = register_module("attention", torch::nn::MultiheadAttention(kEmbedDim, kHeads));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kEmbedDim})));
  }

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& is_padding) {
    const auto sequence_first = x.transpose(0, 1);  // [T, B, E]
    const auto output = std::get<0>(attention(sequence_first, sequence_first, sequence_first,
                                              is_padding, /*need_weights=*/false));
    return norm(x + output.transpose(0, 1));
  }

  torch::nn::MultiheadAttention attention{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(BlockBefore);

// The same block with attend's module.
struct BlockAfterImpl : torch::nn::Module {
  explicit BlockAfterImpl(const BlockBefore& before) {
    attention = register_module("attention", attend::self_attention_from_torch(before->attention));
    norm = register_module("norm", before->norm);
  }

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& is_padding) {
    return norm(x + attention(x, attend::functional::padding_from_torch(is_padding)).output);
  }

  attend::MultiHeadSelfAttention attention{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(BlockAfter);

}  // namespace

int main() {
  torch::manual_seed(1);
  auto before = BlockBefore();
  auto after = BlockAfter(before);

  const auto x = torch::randn({kBatch, kLength, kEmbedDim});
  auto is_padding = torch::zeros({kBatch, kLength}, torch::kBool);
  is_padding[1].narrow(0, /*start=*/5, /*length=*/2).fill_(true);

  const auto difference = (before(x, is_padding) - after(x, is_padding)).abs().max().item<double>();
  std::cout << "largest difference of the two outputs: " << difference << '\n';
  return difference < 1e-5 ? 0 : 1;
}
