#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attend/viz/attention_page.h"
#include "attend/viz/heatmap.h"

namespace attend::app {

/// The model and the text whose attention is shown.
struct AttentionRequest {
  std::filesystem::path model_dir = {};
  std::string text = {};
  std::optional<std::string> target = {};  // a given translation (teacher forcing); default: search
  int64_t beam_size = 5;                   // of that search; 1: greedy
  torch::Device device = torch::kCPU;
};

/// Runs the model of a folder, a translator or a causal language model, on a text.
///
/// Views of a Transformer: encoder (source x source), decoder (target inputs x target inputs) and
/// cross (predicted tokens x source). Of a recurrent translator: cross. Of a causal model: self.
///
/// Throws: FileError for the folder, c10::ValueError for a text that is empty or exceeds the
///         model's positions.
AttentionPage model_attention(const AttentionRequest& request);

/// A heatmap of attention weights, with a colour scale from 0 to 1.
Heatmap attention_heatmap(const torch::Tensor& weights, std::vector<std::string> rows,
                          std::vector<std::string> columns, const std::string& title);

/// A heatmap of weights [T, S] of a view, with the view's tokens as labels.
Heatmap view_heatmap(const AttentionPage& page, const AttentionView& view,
                     const torch::Tensor& weights, const std::string& title);

/// The heads of a layer of a view, side by side.
HeatmapGrid heads_of_layer(const AttentionPage& page, const AttentionView& view, int64_t layer);

}  // namespace attend::app
