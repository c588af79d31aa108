// A decoder with a cache writes token by token what one pass over the whole sequence computes.
//
// The cache is an argument, so that a module may serve any number of sequences. Three kinds: growing;
// fixed (all memory at once, sizes that never change: for CUDA graphs); ring (the last positions only:
// what a sliding window needs, however long the text).
#include <attend/attend.h>

#include <algorithm>
#include <iostream>

namespace {

// The largest difference between the full pass and one step a position.
template <typename Decoder>
double difference_of_steps(Decoder& decoder, const torch::Tensor& target,
                           const torch::Tensor& memory, const attend::KeyValueCache& kind) {
  const auto full = decoder(target, memory).output;  // [B, T, E]
  auto cache = decoder->start(memory, kind);         // projects the memory once
  double largest = 0;
  for (int64_t t = 0; t < target.size(1); ++t) {
    const auto next = decoder->step(target.narrow(1, t, 1), cache).output;  // [B, 1, E]
    largest = std::max(largest, (next - full.narrow(1, t, 1)).abs().max().template item<double>());
  }
  return largest;
}

}  // namespace

int main() {
  torch::manual_seed(1);
  const torch::NoGradGuard no_grad;
  const int64_t batch = 2, target_length = 12, source_length = 5, embed_dim = 32;
  const auto target = torch::randn({batch, target_length, embed_dim});
  const auto memory = torch::randn({batch, source_length, embed_dim});

  const auto attention = attend::MultiHeadAttentionOptions(embed_dim, /*num_heads=*/4)
                             .num_kv_heads(2)
                             .rotary(attend::RotaryOptions());
  auto decoder =
      attend::TransformerDecoder(attend::TransformerLayerOptions(attention), /*num_layers=*/2);
  decoder->eval();

  // With a window of four positions, three before the query and itself, a ring of four is enough.
  auto windowed_attention = attention;
  windowed_attention.window(attend::AttentionWindow{.left = 3});
  auto windowed = attend::TransformerDecoder(attend::TransformerLayerOptions(windowed_attention),
                                             /*num_layers=*/2);
  windowed->eval();

  const auto growing = difference_of_steps(decoder, target, memory, attend::KeyValueCache());
  const auto fixed =
      difference_of_steps(decoder, target, memory, attend::KeyValueCache::fixed(target_length));
  const auto ring = difference_of_steps(windowed, target, memory, attend::KeyValueCache::ring(4));
  std::cout << "steps against the full pass, largest difference\n"
            << "  growing: " << growing << "\n  fixed:   " << fixed << "\n  ring:    " << ring
            << '\n';
  return std::max({growing, fixed, ring}) < 1e-5 ? 0 : 1;
}
