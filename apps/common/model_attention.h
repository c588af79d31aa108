#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "attend/viz/attention_page.h"

namespace attend::app {

/// What to look at.
struct AttentionRequest {
  std::filesystem::path model_dir = {};
  std::string text = {};
  std::optional<std::string> target =
      {};                 // a translation to force on the model; else it searches one
  int64_t beam_size = 5;  // of that search; 1: greedy
  torch::Device device = torch::kCPU;
};

/// Runs the model of a folder, a translator or a causal language model, on a text.
///
/// Views of a Transformer: encoder (source x source), decoder (what has been read x itself) and
/// cross (the tokens predicted x source); of a recurrent translator: cross; of a causal model: self.
///
/// Throws: FileError for the folder, c10::ValueError for an empty text and for one that is longer
///         than the model has positions.
AttentionPage model_attention(const AttentionRequest& request);

}  // namespace attend::app
