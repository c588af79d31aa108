#include "trained_models.h"

#include <iostream>

#include "attend/checkpoint/model_folder.h"
#include "attend/text/subword_training.h"
#include "attend/training/causal_lm_task.h"
#include "attend/training/folder_lock.h"
#include "attend/training/image_classification_task.h"
#include "attend/training/training_loop.h"
#include "attend/translation/tokenizer_fit.h"
#include "common/console.h"
#include "common/demo_training.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;

// Written last, so its presence means that the folder is complete.
constexpr auto kFinished = "finished";

bool is_trained(const fs::path& folder) { return fs::exists(folder / kFinished); }

// Trains into a folder, or resumes an interrupted run.
void train(const fs::path& folder, TrainingTask& task, TrainingOptions options,
           torch::Device device) {
  TrainingConsole console(/*quiet=*/false);
  const FolderLock lock(folder);
  options.valid_freq = options.after;  // an interrupted run writes a snapshot anyway
  const auto result = TrainingLoop(task, options, folder, device).run(console.callbacks());
  TORCH_CHECK(!result.interrupted, "interrupted; the same command goes on from update ",
              result.updates);
  fs::create_directory(folder / kFinished);
}

}  // namespace

fs::path trained_translator(const fs::path& tour, torch::Device device) {
  const auto folder = tour / "models" / "translator";
  const DemoTraining training;
  if (is_trained(folder)) return folder;
  std::cerr << "training the translator, about five minutes on two cores; once only\n";
  train_demo(folder, training, generate_demo_corpus(demo_corpus()), device);
  fs::create_directory(folder / kFinished);
  return folder;
}

std::pair<CausalLM, SubwordTokenizer> trained_writer(const fs::path& tour, torch::Device device) {
  const auto folder = tour / "models" / "writer";
  if (is_trained(folder)) {
    auto model = load_causal_lm(folder);
    model->to(device);
    return {model, load_tokenizer_of(*model, folder)};
  }
  std::cerr << "training the writer, about five minutes on two cores; once only\n";
  std::vector<std::string> french;
  for (const auto& pair : generate_demo_corpus(demo_corpus()).train) {
    french.push_back(pair.target);
  }
  const auto tokenizer = train_subwords(french, {.vocab_size = 600});
  std::vector<std::vector<int64_t>> texts;
  for (const auto& text : french) texts.push_back(tokenizer.encode_target(text));
  const auto pad = tokenizer.pad_id();
  CausalLM model(CausalLMOptions(tokenizer.vocab_size(), 128, 4, 3)
                     .max_length(64)
                     .feed_forward_dim(384)
                     .dropout(0.0)
                     .attention_dropout(0.0)
                     .bos_id(pad)
                     .eos_id(tokenizer.eos_id()));
  tokenizer.save(folder);
  CausalLMTask task(model, texts, {.batch_tokens = 1536});
  TrainingOptions options;
  options.after = {2500, Duration::Unit::kUpdates};
  options.disp_freq = {250, Duration::Unit::kUpdates};
  options.schedule = {.peak = 3e-3, .warmup = 200, .decay = Decay::kLinear};
  train(folder, task, options, device);
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
  std::cerr << "training the vision transformer, half a minute on two cores; once only\n";
  VisionTransformer model(
      VisionTransformerOptions(16, 4, 4, 48, 4, 3).num_channels(1).feed_forward_dim(96));
  const auto [pictures, labels] = shape_pictures(6000);
  ImageClassificationTask task(model, {.images = pictures, .labels = labels}, {.batch_size = 100});
  TrainingOptions options;
  options.after = {12, Duration::Unit::kEpochs};
  options.disp_freq = {1, Duration::Unit::kEpochs};
  options.schedule = {
      .peak = 2e-3, .warmup = 0, .decay = Decay::kNone, .cooldown = 0.25, .cooldown_floor = 0.15};
  options.adam = {.beta2 = 0.999, .epsilon = 1e-8};
  train(folder, task, options, device);
  return model;
}

}  // namespace attend::app
