// A Llama-style language model, made of parts: grouped-query attention with rotary positions, RMSNorm
// before each sublayer, SwiGLU, no biases. It is written as a Hugging Face folder and read again:
// llama [FOLDER]
#include <attend/attend.h>

#include <filesystem>
#include <iostream>

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : "llama-folder";
  torch::manual_seed(1);
  const torch::NoGradGuard no_grad;
  const int64_t vocab_size = 100, embed_dim = 64;

  const auto attention = attend::MultiHeadAttentionOptions(embed_dim, /*num_heads=*/8)
                             .num_kv_heads(2)
                             .rotary(attend::RotaryOptions{.base = 500000});
  const auto layer =
      attend::TransformerLayerOptions(attention)
          .feed_forward(attend::FeedForwardOptions(embed_dim, /*feed_forward_dim=*/172)
                            .gated(true)
                            .activation(attend::Activation::kSwish))
          .norm(attend::NormKind::kRms)
          .norm_order(attend::NormOrder::kPre)
          .bias(false)
          .dropout(0.0);
  auto model = attend::CausalLM(attend::CausalLMOptions(vocab_size, layer, /*num_layers=*/3)
                                    .positions(attend::PositionKind::kNone)
                                    .tie_output(false)
                                    .embedding_dropout(0.0));
  model->eval();

  // Two prompts, three and five tokens, padded on the left; the mask says which are tokens.
  const auto prompts = torch::tensor({{0, 0, 11, 12, 13}, {21, 22, 23, 24, 25}});
  const auto is_token = torch::arange(5) >= torch::tensor({2, 0}).unsqueeze(1);
  const attend::SamplingOptions greedy{.top_k = 1, .max_new_tokens = 8};
  const auto padding = attend::AttentionMask::padding(is_token);
  const auto together = attend::sample(*model, prompts, greedy, std::nullopt, padding);
  const auto alone = attend::sample(*model, prompts.narrow(0, 0, 1).narrow(1, 2, 3), greedy);
  const bool padding_does_not_matter = together[0].tokens == alone[0].tokens;
  std::cout << "a padded prompt continues as it does alone: " << padding_does_not_matter << '\n';

  attend::save_model(folder, *model);  // transformers' LlamaForCausalLM reads it
  auto loaded = attend::load_causal_lm(folder);
  std::cout << "model type " << attend::model_type(folder) << '\n';
  const bool is_same = torch::equal(loaded(prompts), model(prompts));
  std::cout << "the folder gives the same logits: " << is_same << '\n';
  return padding_does_not_matter && is_same ? 0 : 1;
}
