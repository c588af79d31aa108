#pragma once

// For programs that show attention.

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"
#include "attend/viz/colormap.h"

namespace attend {

struct HeatmapOptions {
  std::string title;              // above the cells; empty = none
  std::string x_label;            // what the columns are, such as "source"; empty = none
  std::string y_label;            // what the rows are, such as "target"; empty = none
  std::string value_label;        // the quantity that colours show; empty = none
  bool show_values = true;        // write the values into the cells if all of them fit
  bool show_color_bar = true;     // on the right
  std::optional<double> minimum;  // value of the darkest colour; default: 0, or the smallest value
                                  // if it is negative. Values outside are clamped
  std::optional<double> maximum;  // value of the lightest colour; default: the largest value
  double cell_size = 0;           // side of a cell, [1, 256] in px; 0 = by the number of cells
};

/// A matrix shown as coloured cells, such as the attention weights of one head.
///
/// Shapes: values [rows, columns], of any real dtype, on any device; at least one cell, at most
///         8192 rows and columns. NaN is drawn as a hatched cell, which a legend explains.
/// Note:   labels are UTF-8, one for each row and column; the default is the index from 0. Labels
///         wider than 240 px end with "…". If cells are too small for every label, only every n-th
///         is shown.
struct Heatmap {
  torch::Tensor values;
  std::vector<std::string> row_labels;     // empty = positions
  std::vector<std::string> column_labels;  // empty = positions
  HeatmapOptions options;
};

/// Heatmaps side by side, such as the heads of a layer, read row by row.
///
/// The panels share one colour scale and one colour bar, so that they can be compared. Its bounds
/// are those of the first panel's options if set, else those of all values together. Labels that
/// the panel on the left or above already shows are not repeated.
struct HeatmapGrid {
  std::vector<Heatmap> panels;
  int64_t columns = 0;  // panels in a row; 0 = about as many as rows
  std::string title;    // above all panels; empty = none
};

/// A PNG picture has this many times as many pixels in each direction as the SVG picture has px,
/// for sharp text on every screen.
inline constexpr int kPngScale = 2;

/// Draws a picture and writes it atomically.
///
/// Throws: c10::ValueError for invalid options and labels, c10::Error for values of the wrong shape
///         or dtype, FileError if the file cannot be written.
/// Note:   text uses DejaVu Sans if it is installed (fonts-dejavu-core), and for characters that it
///         lacks any installed font that has them (fonts-noto-cjk, ...). PNG text is not shaped;
///         for Arabic and Indic scripts use SVG.
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const Heatmap& heatmap);
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const HeatmapGrid& grid);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const Heatmap& heatmap);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const HeatmapGrid& grid);

/// The bytes of the same pictures. The SVG has its text as text, a tooltip on every cell (up to
/// 10,000 cells), no scripts and no external resources, so it can be embedded in a page.
ATTEND_TOOLKIT_API std::string heatmap_png(const Heatmap& heatmap);
ATTEND_TOOLKIT_API std::string heatmap_png(const HeatmapGrid& grid);
ATTEND_TOOLKIT_API std::string heatmap_svg(const Heatmap& heatmap);
ATTEND_TOOLKIT_API std::string heatmap_svg(const HeatmapGrid& grid);

/// The colours that a terminal supports.
enum class TerminalColor {
  kNone,  // only digits or shades
  kTrue,  // 24-bit ANSI colours for backgrounds and blocks
};

/// The heatmap for a terminal, one line per row, every line ended by "\n".
///
/// Columns are aligned, also with wide (East Asian) characters. Labels wider than 12 columns end
/// with "…". If the numbers do not fit into `width` terminal columns (0: unlimited), each value is
/// drawn as a block, in its colour or without colours as one of five shades, with vertical column
/// labels and a legend; columns that still do not fit continue below. Throws as the pictures do.
ATTEND_TOOLKIT_API std::string heatmap_text(const Heatmap& heatmap,
                                            TerminalColor color = TerminalColor::kNone,
                                            int64_t width = 0);

}  // namespace attend
