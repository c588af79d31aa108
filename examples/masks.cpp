// Masks: parts joined with &, what they mean, and which kernel takes them.
//
// A mask is a description. Most stay one: a causal flag, a band, a row of [B, S]. Only where no kernel
// takes the description does it become a tensor of scores' size.
#include <attend/attend.h>

#include <iostream>
#include <string>
#include <utility>
#include <vector>

using attend::AttentionMask;

int main() {
  torch::manual_seed(1);
  const int64_t length = 6;
  auto attention = attend::MultiHeadSelfAttention(/*embed_dim=*/16, /*num_heads=*/2);
  const auto x = torch::randn({3, length, 16});

  // Sentences of 6, 4 and 0 tokens. Each position sees itself and the two before it.
  const auto lengths = torch::tensor({6, 4, 0});
  const auto mask =
      AttentionMask::window(/*left=*/2, /*right=*/0) & AttentionMask::key_lengths(lengths);

  // The same as a bool tensor, true = may attend.
  const auto position = torch::arange(length);
  const auto distance = position.unsqueeze(1) - position;             // [T, S]
  const auto in_window = (distance >= 0) & (distance <= 2);           // [T, S]
  const auto is_token = position < lengths.unsqueeze(1);              // [B, S]
  const auto dense = in_window & is_token.unsqueeze(1).unsqueeze(1);  // [B, 1, T, S]

  const auto output = attention(x, mask).output;
  const auto same = (output - attention(x, dense).output).abs().max().item<double>();
  std::cout << "parts against one dense tensor: " << same << '\n';

  // A sentence without tokens gives zeros, not NaN: its output is the bias of out_proj alone.
  const auto empty = (output[2] - attention->out_proj->bias).abs().max().item<double>();
  std::cout << "a sentence without tokens, beside the bias: " << empty << '\n';

  // Which path each description takes, without computing anything.
  const std::vector<std::pair<std::string, AttentionMask>> masks{
      {"none", {}},
      {"causal", AttentionMask::causal()},
      {"causal & key lengths",
       AttentionMask::causal() & AttentionMask::key_lengths(torch::tensor({1024, 900}))},
      {"window(128, 0)", AttentionMask::window(128, 0)},
      {"a bool tensor [T, S]", torch::ones({1024, 1024}, torch::kBool)}};
  const auto q = torch::randn({2, 4, 1024, 32});
  for (const auto& [name, described] : masks) {
    std::cout << name << ": " << attend::functional::explain_attention(q, q, q, described) << '\n';
  }
  return same < 1e-6 && empty < 1e-6 ? 0 : 1;
}
