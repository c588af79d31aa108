#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attend/viz/attention_page.h"
#include "attend/viz/heatmap.h"

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

/// Attention weights with their colours from 0 to 1.
Heatmap attention_heatmap(const torch::Tensor& weights, std::vector<std::string> rows,
                          std::vector<std::string> columns, const std::string& title);

/// A matrix [T, S] of weights of a view, labelled with the view's tokens.
Heatmap view_heatmap(const AttentionPage& page, const AttentionView& view,
                     const torch::Tensor& weights, const std::string& title);

/// The heads of a layer of a view, side by side.
HeatmapGrid heads_of_layer(const AttentionPage& page, const AttentionView& view, int64_t layer);

}  // namespace attend::app
