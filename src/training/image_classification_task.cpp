#include "attend/training/image_classification_task.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "attend/checkpoint/model_folder.h"
#include "attend/functional/loss.h"
#include "data/shuffle.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kImageTask = "ImageClassificationTask";

void check_images(const LabelledImages& data, const VisionTransformerOptions& options) {
  const auto side = options.image_size();
  detail::check_shape(kImageTask, "images", data.images, {-1, options.num_channels(), side, side});
  detail::check_shape(kImageTask, "labels", data.labels, {data.images.size(0)});
}

}  // namespace

ImageClassificationTask::ImageClassificationTask(VisionTransformer model, LabelledImages train,
                                                 const ImageClassificationTaskOptions& options,
                                                 LabelledImages valid)
    : model_(std::move(model)),
      options_(options),
      train_(std::move(train)),
      valid_(std::move(valid)) {
  detail::check_positive(kImageTask, "batch_size", options_.batch_size);
  check_images(train_, model_->options);
  if (valid_.images.defined()) check_images(valid_, model_->options);
  TORCH_CHECK_VALUE(train_.images.size(0) > 0, kImageTask,
                    ": expected images to train on, got none");
}

BatchPlan ImageClassificationTask::plan(uint64_t epoch, size_t /*pool*/) {
  std::vector<size_t> order(static_cast<size_t>(train_.images.size(0)));
  std::iota(order.begin(), order.end(), 0);
  auto random = detail::random_engine(options_.seed, epoch);
  detail::shuffle(order, random);
  BatchPlan plan;
  const auto size = static_cast<size_t>(options_.batch_size);
  for (size_t first = 0; first < order.size(); first += size) {
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
    plan.emplace_back(begin,
                      begin + static_cast<std::ptrdiff_t>(std::min(size, order.size() - first)));
  }
  return plan;
}

std::vector<torch::Tensor> ImageClassificationTask::collate(const std::vector<size_t>& examples) {
  const std::vector<int64_t> numbers(examples.begin(), examples.end());
  const auto chosen = torch::tensor(numbers, torch::kLong);
  return {train_.images.index_select(0, chosen), train_.labels.index_select(0, chosen)};
}

int64_t ImageClassificationTask::batch_tokens() const {
  const auto side = model_->options.image_size() / model_->options.patch_size();
  return options_.batch_size * (side * side + 1);
}

torch::Tensor ImageClassificationTask::loss_sum(const std::vector<torch::Tensor>& batch) {
  constexpr int64_t kNoLabel = -100;
  return functional::cross_entropy_sum(model_(batch[0]), batch[1], kNoLabel);
}

std::vector<std::string> ImageClassificationTask::metrics() const {
  return valid_.images.defined() ? std::vector<std::string>{"accuracy"}
                                 : std::vector<std::string>();
}

std::vector<std::pair<std::string, double>> ImageClassificationTask::scores() {
  const torch::InferenceMode inference;
  const auto device = model_->parameters().front().device();
  auto right = torch::zeros({}, torch::TensorOptions(torch::kLong).device(device));
  const auto images = valid_.images.split(options_.batch_size);
  const auto labels = valid_.labels.split(options_.batch_size);
  for (size_t i = 0; i < images.size(); ++i) {
    right += model_(images[i].to(device)).argmax(1).eq(labels[i].to(device)).sum();
  }
  const auto all = static_cast<double>(std::max<int64_t>(valid_.labels.size(0), 1));
  return {{"accuracy", right.item<double>() / all}};
}

bool ImageClassificationTask::is_better(const std::string& /*metric*/, double score,
                                        double best) const {
  return score > best;
}

void ImageClassificationTask::save(const std::filesystem::path& folder) {
  save_model(folder, *model_);
}

std::string ImageClassificationTask::identity() const {
  return nlohmann::json{{"images", train_.images.size(0)},
                        {"batch_size", options_.batch_size},
                        {"order seed", options_.seed}}
      .dump();
}

}  // namespace attend
