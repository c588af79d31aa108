// A vision transformer learns to tell shapes apart from nothing.
#include <gtest/gtest.h>

#include <string>

#include "attend/training/image_classification_task.h"
#include "attend/training/training_loop.h"

namespace attend::vision_transformer_learning_test {
namespace {

// Shapes of random size, place and brightness on noise; the class is the shape.
LabelledImages shapes(int64_t count) {
  constexpr int64_t kSide = 16;
  const auto labels = torch::randint(0, 4, {count}, torch::kLong);
  auto pictures = torch::randn({count, 1, kSide, kSide}) * 0.1;
  const auto axis = torch::arange(kSide, torch::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const auto radius = torch::rand({}).item<float>() * 2.0F + 3.0F;
    const auto middle = [&] {
      return torch::rand({}).item<float>() * (kSide - 1 - 2 * radius) + radius;
    };
    const auto dy = (axis - middle()).abs().unsqueeze(1), dx = (axis - middle()).abs().unsqueeze(0);
    torch::Tensor inside;
    switch (labels[i].item<int64_t>()) {
      case 0:  // square
        inside = torch::maximum(dy.expand({kSide, kSide}), dx.expand({kSide, kSide})) <= radius;
        break;
      case 1:  // disc
        inside = dy.pow(2) + dx.pow(2) <= radius * radius;
        break;
      case 2:  // cross
        inside = (torch::minimum(dy.expand({kSide, kSide}), dx.expand({kSide, kSide})) <= 1) &
                 (torch::maximum(dy.expand({kSide, kSide}), dx.expand({kSide, kSide})) <= radius);
        break;
      default:  // a square's outline
        inside =
            (torch::maximum(dy.expand({kSide, kSide}), dx.expand({kSide, kSide})) - radius).abs() <=
            0.7;
    }
    const auto brightness = torch::rand({}).item<float>() * 0.5F + 0.5F;
    pictures[i][0] += inside.to(torch::kFloat) * brightness;
  }
  return {pictures, labels};
}

TEST(VisionTransformerSlow, LearnsShapesFromScratch) {
  torch::manual_seed(1);
  const auto pictures = shapes(6000), unseen = shapes(1000);
  const VisionTransformer model(
      VisionTransformerOptions(16, 4, 4, 48, 4, 3).num_channels(1).feed_forward_dim(96));
  ImageClassificationTask task(model, pictures, {.batch_size = 100}, unseen);
  TrainingOptions options;
  options.after = {12, Duration::Unit::kEpochs};
  options.valid_freq = options.after;
  options.clip_norm = 0;
  options.schedule = {
      .peak = 2e-3, .warmup = 0, .decay = Decay::kNone, .cooldown = 0.25, .cooldown_floor = 0.15};
  options.adam = {.beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01};
  const auto accuracy = TrainingLoop(task, options).run().last->scores.front().second;
  RecordProperty("accuracy", std::to_string(accuracy));
  EXPECT_GT(accuracy, 0.95);
}

}  // namespace
}  // namespace attend::vision_transformer_learning_test
