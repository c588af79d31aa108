#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "attend/viz/heatmap.h"
#include "common/line_plot.h"
#include "common/terminal.h"

namespace attend::app {

/// The output of a chapter: text for the terminal, and a page with pictures.
///
/// Pictures are saved in `figures/` as PNG and SVG, embedded ones only as SVG. Each chapter's part
/// of the page is saved in `chapters/`, so that a chapter can be run again without the others; the
/// page is built from all saved parts.
class Notebook {
 public:
  explicit Notebook(std::filesystem::path folder);

  void begin(const std::string& name, const std::string& title);

  /// A paragraph.
  void say(const std::string& text);
  /// Preformatted lines, such as formulas and traces.
  void lines(const std::string& text);
  /// A matrix with its numbers and a caption.
  void show(const std::string& name, const Heatmap& matrix, const std::string& how_to_read);
  void show(const std::string& name, const HeatmapGrid& matrices, const std::string& how_to_read);
  void show(const std::string& name, const LinePlot& plot, const std::string& how_to_read);
  /// A picture that exists only as SVG.
  void show_svg(const std::string& name, std::string_view svg, const std::string& how_to_read);

  /// Writes the chapter's part of the page.
  void end();

  /// Writes `index.html` from the saved parts of `names`, in that order; chapters that were never
  /// run are left out.
  void write_index(const std::vector<std::string>& names) const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  void print(const Heatmap& matrix) const;
  // Writes a figure's files (the PNG unless it is empty), and adds the SVG to the page.
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

/// A heatmap of a matrix with these labels; `label` names the quantity that the colours show.
Heatmap matrix(const torch::Tensor& values, std::vector<std::string> rows,
               std::vector<std::string> columns, const std::string& title,
               const std::string& label = "");

}  // namespace attend::app
