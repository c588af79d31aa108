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
  std::string value_label;        // what the colours are, beside the colour bar; empty = none
  bool show_values = true;        // write the values into the cells, where all of them fit
  bool show_color_bar = true;     // the scale of the colours, on the right
  std::optional<double> minimum;  // value of the darkest colour; default: 0, or the smallest value
                                  // where one is negative. Values outside are drawn as the ends
  std::optional<double> maximum;  // value of the lightest colour; default: the largest value
  double cell_size = 0;           // side of a cell, [1, 256] in px; 0 = by the number of cells
};

/// A matrix shown as coloured cells, such as the attention weights of one head.
///
/// Shapes: values [rows, columns], of any real dtype, on any device; at least one cell, at most
/// 8192
///         rows and columns. NaN is drawn as a hatched cell, which a legend explains.
/// Note:   labels are UTF-8, one for each row and column; without labels the positions are shown,
///         from 0. Labels wider than 240 px end with "…". Where cells are smaller than the letters,
///         labels are left out at regular distances.
struct Heatmap {
  torch::Tensor values;
  std::vector<std::string> row_labels;     // empty = positions
  std::vector<std::string> column_labels;  // empty = positions
  HeatmapOptions options;
};

/// Heatmaps side by side, such as the heads of a layer, read row by row.
///
/// The panels share one scale of colours and one colour bar, so that they can be compared: the
/// bounds are those of the first panel's options where it has them, else of all values together.
/// Labels that a panel shares with the panel on its left or above it are not repeated.
struct HeatmapGrid {
  std::vector<Heatmap> panels;
  int64_t columns = 0;  // panels in a row; 0 = about as many as rows
  std::string title;    // above all panels; empty = none
};

/// A PNG picture has so many times as many pixels in each direction as the SVG picture has px, for
/// sharp text on every screen.
inline constexpr int kPngScale = 2;

/// Draws a picture and writes it atomically.
///
/// Throws: c10::ValueError for options and labels that do not fit, c10::Error for values of another
///         shape or dtype, FileError where the file cannot be written.
/// Note:   text is drawn with DejaVu Sans where it is installed (fonts-dejavu-core) and, for
///         characters that it lacks, with any installed font that has them (fonts-noto-cjk, ...).
///         PNG text is not shaped: Arabic and Indic scripts are better served by the SVG.
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const Heatmap& heatmap);
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const HeatmapGrid& grid);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const Heatmap& heatmap);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const HeatmapGrid& grid);

/// The bytes of the same pictures. The SVG has its text as text, a tooltip on every cell (up to
/// 10,000 cells) and nothing that runs or is loaded: it may be put into a page as it is.
ATTEND_TOOLKIT_API std::string heatmap_png(const Heatmap& heatmap);
ATTEND_TOOLKIT_API std::string heatmap_png(const HeatmapGrid& grid);
ATTEND_TOOLKIT_API std::string heatmap_svg(const Heatmap& heatmap);
ATTEND_TOOLKIT_API std::string heatmap_svg(const HeatmapGrid& grid);

/// Whether a terminal is sent colours.
enum class TerminalColor {
  kNone,  // digits or shades alone
  kTrue,  // 24-bit ANSI colours, behind the digits or of the blocks
};

/// The heatmap for a terminal, one line for each row, every line ended by "\n".
///
/// Columns are aligned, wide (East Asian) characters too; labels wider than 12 columns end with
/// "…". A heatmap whose numbers are wider than `width`, in columns of the terminal (0: as wide as
/// need be), has a Unicode block for each value instead: of its colour, or one of five shades where
/// there are no colours; its column labels run downwards, a legend follows, and what is too wide even
/// so goes on below. Throws as the pictures do.
ATTEND_TOOLKIT_API std::string heatmap_text(const Heatmap& heatmap,
                                            TerminalColor color = TerminalColor::kNone,
                                            int64_t width = 0);

}  // namespace attend
