#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"
#include "attend/viz/colormap.h"

namespace attend {

/// A line through points, in their order. NaN, in x or in y, breaks it.
struct LineSeries {
  std::string name = {};       // in the legend
  std::vector<double> x = {};  // as many as y
  std::vector<double> y = {};
  bool dashed = false;
};

struct LinePlotOptions {
  std::string title = {};                // above the axes, on one line; empty = none
  std::string x_label = {};              // below the axes; empty = none
  std::string y_label = {};              // left of the axes; empty = none
  bool log_x = false;                    // equal distances are equal factors
  bool log_y = false;                    // the same, upwards
  std::optional<double> y_minimum = {};  // default: the tick at or below the smallest y
  std::optional<double> y_maximum = {};  // default: the tick at or above the largest y
  double width = 640;                    // between the axes' ends, [160, 4096] in px
  double height = 400;                   // between the axes' ends, [120, 4096] in px
};

/// Lines between two axes, such as losses over the updates of a training run.
///
/// The lines differ in colour and in the marks on their points, so that they can be told apart in a
/// grey print and by colour-blind readers; at most 42 lines, beyond which they would look the same.
/// Up to 32 points of a line are all marked, of more points one about every 28 px. What is beyond
/// `y_minimum` and `y_maximum` is cut off. The x axis is as long as the data.
///
/// Note: the legend stands on the right of the axes, in the order of the series; it is left out
///       where no series has a name. Names wider than 200 px end with "…".
struct LinePlot {
  std::vector<LineSeries> series = {};
  LinePlotOptions options = {};
};

/// Plots in rows of `columns`, from left to right: one picture.
struct LinePlotGrid {
  std::vector<LinePlot> plots = {};
  int64_t columns = 2;
};

/// The colour of the lines of the series at a position, from 0; the seven repeat.
///
/// Source: M. Okabe and K. Ito, 2008, Color Universal Design (jfly.uni-koeln.de/color), without the
///         yellow, which is too light for a line on white.
ATTEND_TOOLKIT_API Rgb line_color(size_t position);

/// Where the parts of a picture are, in px of an SVG picture. A PNG picture has kPngScale (heatmap.h)
/// times as many pixels in each direction.
struct LinePlotLayout {
  struct Pixel {
    double x = 0, y = 0;
  };
  struct Range {
    double minimum = 0, maximum = 1;
  };

  double width = 0, height = 0;            // of the picture, whole pixels
  double plot_x = 0, plot_y = 0;           // top left corner of the area between the axes
  double plot_width = 0, plot_height = 0;  // its size
  Range x_range = {}, y_range = {};        // numbers at its left and right, bottom and top
  bool log_x = false, log_y = false;

  /// Where a point is drawn; beyond the axes for numbers beyond the ranges. A logarithmic axis has
  /// no place for numbers <= 0.
  ATTEND_TOOLKIT_API Pixel pixel_of(double x, double y) const;
};

/// Draws a picture and writes it atomically.
///
/// Throws: c10::ValueError without series, for series that are not as long in x as in y, for
///         infinite numbers, for numbers <= 0 on a logarithmic axis and for options out of their
///         ranges; FileError where the file cannot be written.
/// Note:   fonts are those of the heatmaps, see heatmap.h.
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const LinePlot& plot);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const LinePlot& plot);

/// The bytes of the same pictures. The SVG has its text as text, a tooltip on every point (up to
/// 2,000 points in all) and nothing that runs or is loaded: it may be put into a page as it is.
ATTEND_TOOLKIT_API std::string line_plot_png(const LinePlot& plot);
ATTEND_TOOLKIT_API std::string line_plot_svg(const LinePlot& plot);

/// The same for several plots; throws c10::ValueError without any, too, and unless columns > 0.
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const LinePlotGrid& grid);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const LinePlotGrid& grid);
ATTEND_TOOLKIT_API std::string line_plot_png(const LinePlotGrid& grid);
ATTEND_TOOLKIT_API std::string line_plot_svg(const LinePlotGrid& grid);

/// The layout that these pictures have.
ATTEND_TOOLKIT_API LinePlotLayout line_plot_layout(const LinePlot& plot);

}  // namespace attend
