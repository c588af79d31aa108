// A causal language model learns the French side of the demo's corpus from nothing.
#include <gtest/gtest.h>

#include <iostream>
#include <set>
#include <string>

#include "attend/decoding/sampling.h"
#include "attend/models/causal_lm.h"
#include "attend/text/subword_training.h"
#include "attend/training/causal_lm_task.h"
#include "attend/training/training_loop.h"
#include "demo_corpus/grammar.h"

namespace attend::causal_lm_learning_test {
namespace {

TEST(CausalLMSlow, WritesFrenchThatTheGrammarAccepts) {
  constexpr int64_t kTokens = 1536, kDrawn = 300;
  constexpr double kUpdates = 2500;
  const auto corpus = generate_demo_corpus({.train = 80000, .validation = 1, .test = 1});
  std::vector<std::string> french;
  for (const auto& pair : corpus.train) french.push_back(pair.target);
  const auto tokenizer = train_subwords(french, {.vocab_size = 600});
  std::vector<std::vector<int64_t>> texts;
  for (const auto& text : french) texts.push_back(tokenizer.encode_target(text));

  torch::manual_seed(1);
  const auto pad = tokenizer.pad_id();
  CausalLM model(CausalLMOptions(tokenizer.vocab_size(), 128, 4, 3)
                     .max_length(64)
                     .feed_forward_dim(384)
                     .dropout(0.0)
                     .attention_dropout(0.0)
                     .bos_id(pad)
                     .eos_id(tokenizer.eos_id()));
  CausalLMTask task(model, texts, {.batch_tokens = kTokens});
  TrainingOptions options;
  options.after = {kUpdates, Duration::Unit::kUpdates};
  options.schedule = {.peak = 3e-3, .warmup = 200, .decay = Decay::kLinear};
  TrainingLoop(task, options).run();

  const auto begin = torch::full({kDrawn, 1}, pad, torch::kLong);
  std::set<std::string> distinct;
  int64_t accepted = 0;
  std::string refused;
  for (const auto& drawn : sample(*model, begin, {.temperature = 0.5, .max_new_tokens = 60})) {
    const auto text = tokenizer.decode_target(drawn.tokens);
    const bool fine = drawn.ended && demo_accepts_french(text);
    accepted += fine;
    distinct.insert(text);
    if (!fine && refused.size() < 1000) refused += text + "\n";
  }
  RecordProperty("accepted", std::to_string(accepted));
  std::cout << "accepted " << accepted << " of " << kDrawn << ", " << distinct.size()
            << " of them distinct\n";
  EXPECT_GE(accepted, kDrawn * 9 / 10) << refused;
  // It writes, and does not repeat one sentence that it knows by heart.
  EXPECT_GT(distinct.size(), static_cast<size_t>(kDrawn / 2));
}

}  // namespace
}  // namespace attend::causal_lm_learning_test
