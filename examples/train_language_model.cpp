// Trains a tiny language model of characters on one sentence, and lets it continue the first letters.
#include <attend/attend.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

namespace {

const std::string kText = "attention is all you need, said the paper, and the field agreed. ";

// One token a character; the last id begins and ends a text.
constexpr int64_t kVocabSize = 129;

torch::Tensor encode(const std::string& text) {
  return torch::tensor(std::vector<int64_t>(text.begin(), text.end()));
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t updates = argc > 1 ? std::stoll(argv[1]) : 60;
  torch::manual_seed(1);

  auto model = attend::CausalLM(
      attend::CausalLMOptions(kVocabSize, /*embed_dim=*/64, /*num_heads=*/4, /*num_layers=*/2)
          .max_length(128)
          .embedding_dropout(0.0)
          .dropout(0.0));
  auto optimizer = torch::optim::AdamW(model->parameters(), torch::optim::AdamWOptions(3e-3));

  const auto text = encode(kText).unsqueeze(0);             // [1, N]
  const auto ids = text.narrow(1, 0, text.size(1) - 1);     // each token ...
  const auto labels = text.narrow(1, 1, text.size(1) - 1);  // ... and the one after it
  double loss = 0;
  for (int64_t update = 1; update <= updates; ++update) {
    optimizer.zero_grad();
    const auto mean = model->loss_sum(ids, labels) / labels.numel();
    mean.backward();
    optimizer.step();
    loss = mean.item<double>();
    if (update % 20 == 0) std::cout << "update " << update << "  loss " << loss << '\n';
  }

  model->eval();
  const torch::NoGradGuard no_grad;
  const std::string prompt = kText.substr(0, 10);
  const auto written =
      attend::sample(*model, encode(prompt).unsqueeze(0), {.top_k = 1, .max_new_tokens = 40})[0];
  const std::string continuation(written.tokens.begin(), written.tokens.end());
  std::cout << prompt << continuation << '\n';
  return loss < 0.1 && kText.starts_with(prompt + continuation) ? 0 : 1;
}
