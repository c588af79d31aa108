#include "demo_pictures.h"

#include <fmt/format.h>

#include "attend/models/seq2seq.h"
#include "attend/text/words.h"
#include "attend/viz/heatmap.h"
#include "common/terminal.h"

namespace attend::app {
namespace {

Heatmap words_heatmap(const Translator& translator, const std::string& source,
                      const std::string& target) {
  Heatmap heatmap;
  heatmap.values = translator.align({source}, {target}).front();
  heatmap.row_labels = split_words(target);
  heatmap.column_labels = split_words(source);
  heatmap.options.title = "Cross-attention, mean over heads, word by word";
  heatmap.options.x_label = "source";
  heatmap.options.y_label = "target";
  heatmap.options.value_label = "attention";
  heatmap.options.minimum = 0.0;
  heatmap.options.maximum = 1.0;
  return heatmap;
}

std::vector<std::string> pieces(const std::vector<Subword>& subwords) {
  std::vector<std::string> labels;
  for (const auto& subword : subwords) labels.push_back(subword.piece);
  return labels;
}

std::vector<int64_t> ids(const std::vector<Subword>& subwords) {
  std::vector<int64_t> values;
  for (const auto& subword : subwords) values.push_back(subword.id);
  return values;
}

// One panel for each head of the last decoder layer. Row i is what predicts target token i.
HeatmapGrid heads_grid(const Translator& translator, Seq2SeqImpl& model, const std::string& source,
                       const std::string& target) {
  const torch::InferenceMode inference;
  const auto source_subwords = translator.tokenizer().source_subwords(source);
  const auto target_subwords = translator.tokenizer().target_subwords(target);
  const auto device = model.parameters().front().device();
  auto input = ids(target_subwords);
  input.insert(input.begin(), model.special_tokens().start_id);
  input.pop_back();
  const auto row = [&](const std::vector<int64_t>& values) {
    return torch::tensor(values, torch::kLong).unsqueeze(0).to(device);
  };
  const auto output =
      model.run(row(ids(source_subwords)), row(input), {}, {}, WeightsRequest::kPerHead);
  const auto weights = output.cross_weights.back()[0];  // [H, T, S]
  HeatmapGrid grid;
  grid.title = "Cross-attention of the last decoder layer, head by head";
  for (int64_t h = 0; h < weights.size(0); ++h) {
    Heatmap panel;
    panel.values = weights[h];
    panel.row_labels = pieces(target_subwords);
    panel.column_labels = pieces(source_subwords);
    panel.options.title = fmt::format("head {}", h + 1);
    panel.options.x_label = "source";
    panel.options.y_label = "target";
    panel.options.value_label = "attention";
    panel.options.minimum = 0.0;
    panel.options.maximum = 1.0;
    grid.panels.push_back(std::move(panel));
  }
  return grid;
}

}  // namespace

std::vector<std::filesystem::path> draw_attention(const std::filesystem::path& folder,
                                                  const Translator& translator,
                                                  const std::string& source,
                                                  const std::string& target) {
  std::filesystem::create_directories(folder);
  std::vector<std::filesystem::path> files;
  const auto draw = [&](const std::string& name, const auto& picture) {
    files.push_back(folder / (name + ".png"));
    write_png(files.back(), picture);
    files.push_back(folder / (name + ".svg"));
    write_svg(files.back(), picture);
  };
  draw("cross-attention", words_heatmap(translator, source, target));
  if (auto* model = dynamic_cast<Seq2SeqImpl*>(&translator.model())) {
    draw("cross-attention-heads", heads_grid(translator, *model, source, target));
  }
  return files;
}

std::string attention_text(const Translator& translator, const std::string& source,
                           const std::string& target) {
  const auto [color, width] = terminal_of_output();
  return heatmap_text(words_heatmap(translator, source, target), color, width);
}

}  // namespace attend::app
