#pragma once

#include <filesystem>
#include <utility>

#include "attend/models/causal_lm.h"
#include "attend/models/vision_transformer.h"
#include "attend/text/subword_tokenizer.h"

namespace attend::app {

// The models that the tour shows. Each is trained on first use into a folder inside the tour's,
// with progress on standard error, and loaded from there afterwards.

/// The demo's translator: a model folder.
std::filesystem::path trained_translator(const std::filesystem::path& tour, torch::Device device);

/// A causal language model of the demo corpus's French side.
std::pair<CausalLM, SubwordTokenizer> trained_writer(const std::filesystem::path& tour,
                                                     torch::Device device);

/// Images of shapes, [count, 1, 16, 16], and their classes, as indices into kShapes.
std::pair<torch::Tensor, torch::Tensor> shape_pictures(int64_t count);
inline constexpr const char* kShapes[]{"square", "disc", "cross", "outline"};

/// A vision transformer that classifies those shapes.
VisionTransformer trained_shape_finder(const std::filesystem::path& tour, torch::Device device);

}  // namespace attend::app
