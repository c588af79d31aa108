// Attention weights on request, as a picture: attention_picture [FILE.png|FILE.svg]
//
// The output is the same bits with and without a request, since weights are computed beside it. Heads,
// queries and layers that are not chosen are not computed.
#include <attend/attend.h>
#include <attend/viz/heatmap.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  torch::manual_seed(1);
  const std::vector<std::string> words{"the", "animal", "did", "not", "cross", "the", "street"};
  const auto length = static_cast<int64_t>(words.size());
  const std::filesystem::path path = argc > 1 ? argv[1] : "attention.svg";

  auto encoder = attend::TransformerEncoder(
      attend::TransformerLayerOptions(/*embed_dim=*/64, /*num_heads=*/8), /*num_layers=*/3);
  encoder->eval();
  const auto x = torch::randn({1, length, 64});

  // Heads 0 and 3 of the last layer.
  const auto request =
      attend::WeightsRequest(attend::WeightsRequest::kPerHead).heads({0, 3}).layers({-1});
  const auto [output, weights] = encoder(x, attend::AttentionMask::causal(), request);
  const auto& last = weights.back();  // [1, 2, T, T]

  attend::HeatmapGrid picture;
  picture.title = "the last layer of an untrained encoder";
  for (int64_t i = 0; i < last.size(1); ++i) {
    attend::Heatmap head{
        .values = last[0][i].detach(), .row_labels = words, .column_labels = words, .options = {}};
    head.options.title = i == 0 ? "head 0" : "head 3";
    picture.panels.push_back(head);
  }
  if (path.extension() == ".png") {
    attend::write_png(path, picture);
  } else {
    attend::write_svg(path, picture);
  }
  std::cout << path.string() << '\n' << attend::heatmap_text(picture.panels[0]);

  const auto plain = encoder(x, attend::AttentionMask::causal()).output;
  const bool is_same = torch::equal(output, plain);
  const auto sums = (last.sum(-1) - 1).abs().max().item<double>();
  return is_same && sums < 1e-5 && !weights[0].defined() && last.size(1) == 2 ? 0 : 1;
}
