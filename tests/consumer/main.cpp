#include <attend/attend.h>

#include <iostream>

int main() {
  auto attention = attend::MultiHeadSelfAttention(/*embed_dim=*/64, /*num_heads=*/8);
  const auto x = torch::randn({2, 5, 64});  // [B, T, E]
  // Each position sees those before it, and the second sentence ends after three.
  const auto mask =
      attend::AttentionMask::causal() & attend::AttentionMask::key_lengths(torch::tensor({5, 3}));

  const auto [output, weights] = attention(x, mask, attend::WeightsRequest::kPerHead);
  std::cout << "output " << output.sizes() << ", weights " << weights.sizes() << '\n';
}
