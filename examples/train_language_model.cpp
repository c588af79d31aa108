// Trains a tiny language model of characters on one sentence with attend's training loop, and lets it
// continue the first letters.
#include <attend/attend.h>
#include <attend/training/causal_lm_task.h>
#include <attend/training/training_loop.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

namespace {

const std::string kText = "attention is all you need, said the paper, and the field agreed. ";

// One token a character; one more begins and ends a text.
constexpr int64_t kEnd = 128, kVocabSize = kEnd + 1;

}  // namespace

int main(int argc, char** argv) {
  const double updates = argc > 1 ? std::stod(argv[1]) : 60;
  torch::manual_seed(1);

  auto model = attend::CausalLM(
      attend::CausalLMOptions(kVocabSize, /*embed_dim=*/64, /*num_heads=*/4, /*num_layers=*/2)
          .max_length(128)
          .embedding_dropout(0.0)
          .dropout(0.0));

  std::vector<int64_t> text(kText.begin(), kText.end());
  text.push_back(kEnd);
  attend::CausalLMTask task(model, {text});
  attend::TrainingOptions options;
  options.after = {updates, attend::Duration::Unit::kUpdates};
  options.disp_freq = {20, attend::Duration::Unit::kUpdates};
  options.schedule = {.peak = 0.003, .warmup = 0, .decay = attend::Decay::kNone};
  attend::TrainingLoop loop(task, options);
  double loss = 0;
  attend::TrainingCallbacks callbacks;
  callbacks.report = [&](const attend::TrainingReport& report) {
    loss = report.cost;  // mean of the last 20 updates
    std::cout << "update " << report.update << "  loss " << loss << '\n';
  };
  loop.run(callbacks);

  const torch::NoGradGuard no_grad;
  const std::string prompt = kText.substr(0, 10);
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.begin(), kEnd);
  const auto written = attend::sample(*model, torch::tensor(ids).unsqueeze(0),
                                      {.top_k = 1, .max_new_tokens = 40})[0];
  const std::string continuation(written.tokens.begin(), written.tokens.end());
  std::cout << prompt << continuation << '\n';
  return loss < 0.5 && kText.starts_with(prompt + continuation) ? 0 : 1;
}
