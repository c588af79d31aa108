// Updates of a translator as the trainer makes them, on random sentences of 32 + 32 tokens: prints
// source + target tokens/s. benchmarks/training_speed.py runs it beside Python's.
//
//   training_speed [tiny|base] [updates]
#include <fmt/format.h>
#include <malloc.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "attend/models/seq2seq.h"
#include "attend/training/adam.h"

namespace {

constexpr int64_t kVocab = 10'000, kBatch = 64, kLength = 32;
constexpr int kWarmUp = 3;

attend::Seq2SeqOptions options(const std::string& size) {
  if (size == "base") {
    return attend::Seq2SeqOptions(kVocab, kVocab, 512, 8, 6)
        .encoder_feed_forward_dim(2048)
        .decoder_feed_forward_dim(2048)
        .dropout(0.1);
  }
  TORCH_CHECK_VALUE(size == "tiny", "expected tiny or base, got ", size);
  return attend::Seq2SeqOptions(kVocab, kVocab, 128, 4, 4)
      .encoder_feed_forward_dim(256)
      .decoder_feed_forward_dim(256)
      .dropout(0.3);
}

}  // namespace

int main(int argc, char** argv) {
  // As attend's programs do.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  const int updates = argc > 2 ? std::atoi(argv[2]) : 10;
  torch::manual_seed(1);
  attend::Seq2Seq model(options(argc > 1 ? argv[1] : "tiny").max_length(64));
  attend::Adam adam(*model);
  const auto source = torch::randint(3, kVocab - 1, {kBatch, kLength}, torch::kLong);
  const auto target = torch::randint(3, kVocab - 1, {kBatch, kLength}, torch::kLong);
  const auto labels = torch::randint(3, kVocab - 1, {kBatch, kLength}, torch::kLong);
  const auto update = [&] {
    adam.zero_grad();
    const auto loss = model->loss_sum(source, target, labels, 0.1);
    (loss / static_cast<double>(kBatch * kLength)).backward();
    adam.clip_gradients(1.0);
    adam.step(1e-4);
  };
  for (int i = 0; i < kWarmUp; ++i) update();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < updates; ++i) update();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{:.0f}\n", static_cast<double>(2 * kBatch * kLength * updates) / seconds);
}
