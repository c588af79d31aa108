// Updates of a translator as the trainer makes them, on random sentences of 32 + 32 tokens: prints
// source + target tokens/s, and to stderr the last loss. benchmarks/training_speed.py runs it beside Python's.
//
//   training_speed [tiny|base|recurrent] [updates] [fp32|bf16] [cpu|cuda] [shares]
//
// recurrent: GRUs of 192 with additive attention, as the demo's. shares: threads that each compute a part of the batch (attend::BatchThreads); all by default on CPU.
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/training/adam.h"
#include "attend/training/batch_threads.h"
#include "common/machine.h"

namespace {

constexpr int64_t kVocab = 10'000, kBatch = 64, kLength = 32;
constexpr int kWarmUp = 3;

std::shared_ptr<attend::TranslationModel> model_of(const std::string& size) {
  if (size == "recurrent") {
    return std::make_shared<attend::RecurrentSeq2SeqImpl>(
        attend::RecurrentSeq2SeqOptions(kVocab, kVocab, 192).dropout(0.3));
  }
  TORCH_CHECK_VALUE(size == "tiny" || size == "base", "expected tiny, base or recurrent, got ",
                    size);
  const auto options =
      size == "base"
          ? attend::Seq2SeqOptions(kVocab, kVocab, 512, 8, 6).feed_forward_dim(2048).dropout(0.1)
          : attend::Seq2SeqOptions(kVocab, kVocab, 128, 4, 4).feed_forward_dim(256).dropout(0.3);
  return std::make_shared<attend::Seq2SeqImpl>(attend::Seq2SeqOptions(options).max_length(64));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> given(argv + 1, argv + argc);
  const auto argument = [&](size_t i, const char* otherwise) {
    return given.size() > i ? given[i] : std::string(otherwise);
  };
  const int updates = std::atoi(argument(1, "10").c_str());
  const bool narrow = argument(2, "fp32") == "bf16";
  const auto device = attend::app::prepare_machine({.device = argument(3, "cpu")});
  const auto finish = [&] {
    if (device.is_cuda()) torch::cuda::synchronize();
  };
  torch::manual_seed(1);
  const auto model = model_of(argument(0, "tiny"));
  model->module().to(device);
  attend::Adam adam(model->module());
  const auto ids = torch::TensorOptions(torch::kLong).device(device);
  const auto source = torch::randint(3, kVocab - 1, {kBatch, kLength}, ids);
  const auto target = torch::randint(3, kVocab - 1, {kBatch, kLength}, ids);
  const auto labels = torch::randint(3, kVocab - 1, {kBatch, kLength}, ids);
  const int all = torch::get_num_threads();
  const int64_t shares =
      std::atoi(argument(4, device.is_cuda() ? "1" : std::to_string(all).c_str()).c_str());
  attend::BatchThreads threads(model->module(), shares, std::max<int64_t>(1, all / shares));
  const auto loss_of = [&](int64_t share) {
    const auto rows = [&](const torch::Tensor& t) { return t.tensor_split(shares)[share]; };
    at::autocast::set_autocast_dtype(device.type(), torch::kBFloat16);
    at::autocast::set_autocast_cache_enabled(device.is_cuda());  // one for all threads
    at::autocast::set_autocast_enabled(device.type(), narrow);
    const auto loss = model->loss_sum(rows(source), rows(target), rows(labels), 0.1);
    at::autocast::set_autocast_enabled(device.type(), false);
    at::autocast::clear_cache();
    return loss / static_cast<double>(kBatch * kLength);
  };
  const auto update = [&] {
    adam.zero_grad();
    const auto loss = threads.backward(loss_of);
    adam.clip_gradients(1.0);
    adam.step(1e-4);
    return loss;
  };
  for (int i = 0; i < kWarmUp; ++i) update();
  finish();
  const auto start = std::chrono::steady_clock::now();
  torch::Tensor loss;
  for (int i = 0; i < updates; ++i) loss = update();
  finish();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print(stderr, "loss of the last update {:.4f}\n", loss.item<double>());
  fmt::print("{:.0f}\n", static_cast<double>(2 * kBatch * kLength * updates) / seconds);
}
