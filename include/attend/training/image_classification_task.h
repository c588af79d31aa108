#pragma once

// For programs that train.

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attend/models/vision_transformer.h"
#include "attend/toolkit_export.h"
#include "attend/training/training_task.h"

namespace attend {

/// Images and what each shows, on the CPU.
struct LabelledImages {
  torch::Tensor images;  // [N, C, image_size, image_size]
  torch::Tensor labels;  // [N] integers
};

/// How an `ImageClassificationTask` makes batches.
struct ImageClassificationTaskOptions {
  int64_t batch_size = 128;  // images; > 0
  uint64_t seed = 1;         // of the order
};

/// A vision transformer that learns classes of images. The metric is `accuracy`, the part of the
/// validation images that it is right about.
///
/// Throws: c10::Error for shapes, c10::ValueError for options and without images to train on.
class ATTEND_TOOLKIT_API ImageClassificationTask : public TrainingTask {
 public:
  ImageClassificationTask(VisionTransformer model, LabelledImages train,
                          const ImageClassificationTaskOptions& options = {},
                          LabelledImages valid = {});

  torch::nn::Module& module() override { return *model_; }
  BatchPlan plan(uint64_t epoch, size_t pool) override;
  std::vector<torch::Tensor> collate(const std::vector<size_t>& examples) override;
  int64_t batch_tokens() const override;
  torch::Tensor loss_sum(const std::vector<torch::Tensor>& batch) override;
  std::vector<std::string> metrics() const override;
  std::vector<std::pair<std::string, double>> scores() override;
  bool is_better(const std::string& metric, double score, double best) const override;
  /// A folder of Hugging Face's, as `save_model` writes it.
  void save(const std::filesystem::path& folder) override;
  std::string identity() const override;

 private:
  VisionTransformer model_;
  ImageClassificationTaskOptions options_;
  LabelledImages train_, valid_;
};

}  // namespace attend
