#include "trained_models.h"

#include <fmt/format.h>

#include <iostream>

#include "attend/checkpoint/model_folder.h"
#include "attend/data/batches.h"
#include "attend/functional/loss.h"
#include "attend/text/subword_training.h"
#include "attend/training/adam.h"
#include "attend/training/schedule.h"
#include "attend/translation/tokenizer_fit.h"
#include "common/demo_training.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;

void progress(const std::string& what, int64_t done, int64_t all, double loss) {
  std::cerr << fmt::format("{}: update {} of {}, loss {:.3f}\n", what, done, all, loss);
}

// Written last: a folder with it is complete.
bool is_trained(const fs::path& folder) { return fs::exists(folder / "model.safetensors"); }

}  // namespace

fs::path trained_translator(const fs::path& tour, torch::Device device) {
  const auto folder = tour / "models" / "translator";
  const DemoTraining training;
  if (fs::exists(folder / "finished")) return folder;
  std::cerr << "training the translator, about five minutes on two cores; once only\n";
  train_demo(folder, training, generate_demo_corpus(demo_corpus()), device);
  fs::create_directory(folder / "finished");
  return folder;
}

std::pair<CausalLM, SubwordTokenizer> trained_writer(const fs::path& tour, torch::Device device) {
  const auto folder = tour / "models" / "writer";
  if (is_trained(folder)) {
    auto model = load_causal_lm(folder);
    model->to(device);
    return {model, load_tokenizer_of(*model, folder)};
  }
  constexpr int64_t kUpdates = 2500, kTokens = 1536, kReports = 10;
  std::cerr << "training the writer, about five minutes on two cores; once only\n";
  std::vector<std::string> french;
  for (const auto& pair : generate_demo_corpus(demo_corpus()).train) {
    french.push_back(pair.target);
  }
  const auto tokenizer = train_subwords(french, {.vocab_size = 600});
  std::vector<TokenPair> texts;
  for (const auto& text : french) texts.push_back({{}, tokenizer.encode_target(text)});
  const auto pad = tokenizer.pad_id();
  CausalLM model(CausalLMOptions(tokenizer.vocab_size(), 128, 4, 3)
                     .max_length(64)
                     .feed_forward_dim(384)
                     .dropout(0.0)
                     .attention_dropout(0.0)
                     .bos_id(pad)
                     .eos_id(tokenizer.eos_id()));
  model->to(device);
  Adam adam(*model, {});
  const Schedule schedule{.peak = 3e-3, .warmup = 200, .decay = Decay::kLinear};
  int64_t update = 0;
  for (uint64_t epoch = 0; update < kUpdates; ++epoch) {
    for (const auto& chosen : plan_batches(texts, kTokens, /*seed=*/1, epoch)) {
      if (update == kUpdates) break;
      const auto batch = make_batch(texts, chosen, pad, pad);
      adam.zero_grad();
      const auto loss = functional::cross_entropy_sum(model(batch.target_input.to(device)),
                                                      batch.target.to(device), pad) /
                        static_cast<double>(batch.target_tokens);
      loss.backward();
      adam.clip_gradients(1.0);
      const auto part = static_cast<double>(update) / static_cast<double>(kUpdates);
      adam.step(schedule.rate(++update, part));
      if (update % (kUpdates / kReports) == 0) {
        progress("writer", update, kUpdates, loss.item<double>());
      }
    }
  }
  model->eval();
  tokenizer.save(folder);
  save_model(folder, *model);
  return {model, tokenizer};
}

std::pair<torch::Tensor, torch::Tensor> shape_pictures(int64_t count) {
  constexpr int64_t kSide = 16;
  const auto labels = torch::randint(0, 4, {count}, torch::kLong);
  auto pictures = torch::randn({count, 1, kSide, kSide}) * 0.1;
  const auto axis = torch::arange(kSide, torch::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const auto radius = torch::rand({}).item<float>() * 2.0F + 3.0F;
    const auto middle = [&] {
      return torch::rand({}).item<float>() * (static_cast<float>(kSide) - 1 - 2 * radius) + radius;
    };
    const auto dy = (axis - middle()).abs().unsqueeze(1).expand({kSide, kSide});
    const auto dx = (axis - middle()).abs().unsqueeze(0).expand({kSide, kSide});
    const auto far = torch::maximum(dy, dx);
    torch::Tensor inside;
    switch (labels[i].item<int64_t>()) {
      case 0:
        inside = far <= radius;
        break;
      case 1:
        inside = dy.pow(2) + dx.pow(2) <= radius * radius;
        break;
      case 2:
        inside = torch::minimum(dy, dx).le(1).logical_and(far <= radius);
        break;
      default:
        inside = (far - radius).abs() <= 0.7;
    }
    const auto brightness = torch::rand({}).item<float>() * 0.5F + 0.5F;
    pictures[i][0] += inside.to(torch::kFloat) * brightness;
  }
  return {pictures, labels};
}

VisionTransformer trained_shape_finder(const fs::path& tour, torch::Device device) {
  const auto folder = tour / "models" / "shapes";
  if (is_trained(folder)) {
    auto model = load_vision_transformer(folder);
    model->to(device);
    return model;
  }
  constexpr int64_t kPictures = 6000, kBatch = 100, kEpochs = 12;
  std::cerr << "training the vision transformer, half a minute on two cores; once only\n";
  const auto [pictures, labels] = shape_pictures(kPictures);
  VisionTransformer model(
      VisionTransformerOptions(16, 4, 4, 48, 4, 3).num_channels(1).feed_forward_dim(96));
  model->to(device);
  Adam adam(*model, {.beta2 = 0.999, .epsilon = 1e-8});
  int64_t update = 0;
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = torch::randperm(kPictures);
    torch::Tensor loss;
    for (int64_t first = 0; first < kPictures; first += kBatch) {
      const auto chosen = order.narrow(0, first, kBatch);
      adam.zero_grad();
      loss =
          torch::nn::functional::cross_entropy(model(pictures.index_select(0, chosen).to(device)),
                                               labels.index_select(0, chosen).to(device));
      loss.backward();
      constexpr double kRate = 2e-3, kLastRate = 3e-4;
      adam.step(epoch < kEpochs - 3 ? kRate : kLastRate);
      ++update;
    }
    progress("shapes", update, kEpochs * kPictures / kBatch, loss.item<double>());
  }
  model->eval();
  save_model(folder, *model);
  return model;
}

}  // namespace attend::app
