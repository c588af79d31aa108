// attend-visualize: shows a model's attention on a text as an interactive page, a picture or
// numbers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <optional>

#include "attend/file_error.h"
#include "attend/viz/heatmap.h"
#include "common/choice.h"
#include "common/machine.h"
#include "common/model_attention.h"
#include "common/number_flag.h"
#include "common/program.h"
#include "common/terminal.h"
#include "detail/atomic_file.h"

namespace attend::app {
namespace {

constexpr auto kHeadFlag = "--head", kMean = "mean";
// Of layer and head indices; the model's own range is checked after loading.
constexpr NumberRange<int64_t> kIndices{.least = -1000, .most = 1000};

struct VisualizeOptions {
  AttentionRequest request;
  std::string target;
  std::vector<std::string> text;
  std::filesystem::path output;
  std::string format = "html";
  std::string view;             // default: the last one, which is cross-attention in a translator
  int64_t layer = -1;           // from 0, or from the end if negative
  std::optional<int64_t> head;  // the same; nullopt: all heads, or
  bool mean_of_heads = false;   // their mean
  MachineOptions machine;
};

const AttentionView& chosen_view(const AttentionPage& page, const std::string& name) {
  if (name.empty()) return page.views.back();
  std::string known;
  for (const auto& view : page.views) {
    if (view.name == name) return view;
    known += (known.empty() ? "" : ", ") + view.name;
  }
  TORCH_CHECK_VALUE(false, "--view: expected one of ", known, ", got ", name);
}

int64_t index_of(const char* flag, int64_t value, int64_t count) {
  TORCH_CHECK_VALUE(value >= -count && value < count, flag, ": expected a number in [", -count,
                    ", ", count, "), got ", value);
  return value < 0 ? value + count : value;
}

// All heads of a layer side by side, one head, or the mean over the heads.
HeatmapGrid picture(const AttentionPage& page, const VisualizeOptions& o) {
  const auto& view = chosen_view(page, o.view);
  const auto layer = index_of("--layer", o.layer, view.weights.size(0));
  auto grid = heads_of_layer(page, view, layer);
  if (o.mean_of_heads) {
    grid.panels = {view_heatmap(page, view, view.weights[layer].mean(0), "mean over the heads")};
  } else if (o.head) {
    const auto head = index_of(kHeadFlag, *o.head, view.weights.size(1));
    grid.panels = {grid.panels[static_cast<size_t>(head)]};
  }
  return grid;
}

std::string rendered(const AttentionPage& page, const VisualizeOptions& o,
                     const Terminal& terminal) {
  if (o.format == "html") return attention_html(page);
  if (o.format == "json") return attention_json(page) + "\n";
  const auto grid = picture(page, o);
  if (o.format == "png") return heatmap_png(grid);
  if (o.format == "svg") return heatmap_svg(grid);
  std::string text = grid.title + "\n";
  for (const auto& panel : grid.panels) {
    text += "\n" + heatmap_text(panel, terminal.color, terminal.width);
  }
  return text;
}

std::string read_all(std::istream& stream) {
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

int visualize(VisualizeOptions& o) {
  for (const auto& word : o.text) o.request.text += (o.request.text.empty() ? "" : " ") + word;
  if (o.text.empty()) o.request.text = read_all(std::cin);
  while (o.request.text.ends_with('\n') || o.request.text.ends_with('\r')) {
    o.request.text.pop_back();
  }
  if (!o.target.empty()) o.request.target = o.target;
  o.request.device = prepare_machine(o.machine);
  // Text, and output to "-", goes to standard output; other formats have a default file name.
  if (o.output.empty() && o.format != "text") o.output = "attention." + o.format;
  const bool to_stdout = o.output.empty() || o.output == "-";
  const auto result =
      rendered(model_attention(o.request), o, to_stdout ? terminal_of_output() : Terminal());
  if (!to_stdout) {
    detail::write_file_atomically(o.output, result);
    std::cerr << "wrote " << o.output.string() << '\n';
    return EXIT_SUCCESS;
  }
  std::cout << result << std::flush;
  if (!std::cout) throw FileError("standard output", "cannot write");
  return EXIT_SUCCESS;
}

int run_visualize(int argc, char** argv, MessageStream& messages) {
  CLI::App app("Shows the attention of a model on a text.", "attend-visualize");
  add_version_flag(app);
  VisualizeOptions o;
  app.add_option("text", o.text, "The text; default: all of standard input");
  app.add_option("-m,--model-dir", o.request.model_dir,
                 "Model folder: a translator, attend's own or a MarianMT one, or a causal language "
                 "model")
      ->required();
  app.add_option("-t,--target", o.target,
                 "A translation to show the attention of; default: the model's own");
  app.add_option("-o,--output", o.output,
                 "File to write, - for standard output; default: attention.<format>, text to "
                 "standard output");
  app.add_option("-f,--format", o.format,
                 "html: a page to explore; png, svg: the heads of a layer; "
                 "json: all numbers; text: for a terminal")
      ->check(one_of({"html", "png", "svg", "json", "text"}))
      ->capture_default_str();
  app.add_option(
      "--view", o.view,
      "For pictures: encoder, decoder or cross; for a causal model self; default: the last");
  add_number(app, "--layer", o.layer, kIndices,
             "For pictures: index from 0; negative: from the end");
  app.add_option_function<std::string>(
         kHeadFlag,
         [&o](const std::string& text) {
           o.mean_of_heads = text == kMean;
           if (!o.mean_of_heads) o.head = parse_number(kHeadFlag, text, kIndices, kMean);
         },
         "For pictures: index from 0, or mean; default: all heads side by side")
      ->type_name("INT|mean");
  add_number(app, "-b,--beam-size", o.request.beam_size, kBeamSizes, "Beam size; 1: greedy search");
  add_machine_options(app, o.machine);
  if (const auto status = parse(app, argc, argv, messages)) return *status;
  return visualize(o);
}

}  // namespace
}  // namespace attend::app

int main(int argc, char** argv) {
  attend::app::run_program("attend-visualize", attend::app::run_visualize, argc, argv);
}
