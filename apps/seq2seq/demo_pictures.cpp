#include "demo_pictures.h"

#include "attend/text/words.h"
#include "common/model_attention.h"
#include "common/terminal.h"

namespace attend::app {
namespace {

Heatmap words_heatmap(const Translator& translator, const std::string& source,
                      const std::string& target) {
  auto heatmap =
      attention_heatmap(translator.align({source}, {target}).front(), split_words(target),
                        split_words(source), "Cross-attention, mean over heads, word by word");
  heatmap.options.x_label = "source";
  heatmap.options.y_label = "target";
  return heatmap;
}

}  // namespace

std::vector<std::filesystem::path> draw_attention(const std::filesystem::path& model_dir,
                                                  const Translator& translator,
                                                  const std::string& source,
                                                  const std::string& target) {
  const auto folder = model_dir / "pictures";
  std::filesystem::create_directories(folder);
  std::vector<std::filesystem::path> files;
  const auto draw = [&](const std::string& name, const auto& picture) {
    files.push_back(folder / (name + ".png"));
    write_png(files.back(), picture);
    files.push_back(folder / (name + ".svg"));
    write_svg(files.back(), picture);
  };
  draw("cross-attention", words_heatmap(translator, source, target));
  const auto page = model_attention({.model_dir = model_dir, .text = source, .target = target});
  const auto& cross = page.views.back();
  if (cross.weights.size(1) > 1) {
    draw("cross-attention-heads", heads_of_layer(page, cross, cross.weights.size(0) - 1));
  }
  return files;
}

std::string attention_text(const Translator& translator, const std::string& source,
                           const std::string& target) {
  const auto [color, width] = terminal_of_output();
  return heatmap_text(words_heatmap(translator, source, target), color, width);
}

}  // namespace attend::app
