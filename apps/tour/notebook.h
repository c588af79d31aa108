#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "attend/viz/heatmap.h"
#include "common/line_plot.h"
#include "common/terminal.h"

namespace attend::app {

/// What a chapter writes to: the terminal, and a page with pictures.
///
/// Pictures lie in `figures/` as PNG and SVG, fixed ones as SVG alone. What a chapter wrote is kept
/// in `chapters/`, so that one of them can be run again without the others; the page is put together
/// from all there are.
class Notebook {
 public:
  explicit Notebook(std::filesystem::path folder);

  void begin(const std::string& name, const std::string& title);

  /// A paragraph.
  void say(const std::string& text);
  /// Lines as they are: formulas, traces.
  void lines(const std::string& text);
  /// A matrix with its numbers, and how to read it.
  void show(const std::string& name, const Heatmap& matrix, const std::string& how_to_read);
  void show(const std::string& name, const HeatmapGrid& matrices, const std::string& how_to_read);
  void show(const std::string& name, const LinePlot& plot, const std::string& how_to_read);
  /// A picture that is there as SVG alone.
  void show_svg(const std::string& name, std::string_view svg, const std::string& how_to_read);

  /// Writes the chapter's part of the page.
  void end();

  /// Writes `index.html` from the parts of `names`, in that order, leaving out what was never run.
  void write_index(const std::vector<std::string>& names) const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  void print(const Heatmap& matrix) const;
  // Writes the figure's files, the PNG unless it is empty, and puts the SVG on the page.
  void draw(const std::string& name, const std::string& png, const std::string& svg,
            const std::string& how_to_read);
  std::filesystem::path figure(const std::string& name, const std::string& suffix) const;
  std::filesystem::path part(const std::string& name) const;

  std::filesystem::path folder_;
  Terminal terminal_ = terminal_of_output();
  std::string name_;
  std::string html_;
};

/// "t0", "t1", ...
std::vector<std::string> numbered(const std::string& letter, int64_t count);

/// A heatmap of a matrix with these labels; `label` says what its colours are.
Heatmap matrix(const torch::Tensor& values, std::vector<std::string> rows,
               std::vector<std::string> columns, const std::string& title,
               const std::string& label = "");

}  // namespace attend::app
