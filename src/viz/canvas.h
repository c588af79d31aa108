#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "attend/viz/colormap.h"
#include "viz/font_book.h"

namespace attend::detail {

struct Point {
  double x = 0, y = 0;
};

struct Rect {
  double x = 0, y = 0, width = 0, height = 0;
};

/// How a line is drawn.
struct Stroke {
  Rgb color = {};
  double width = 1;                 // px
  std::vector<double> dashes = {};  // px of line and gap, alternating; empty = solid
};

/// Which part of a text is placed at its point.
enum class Anchor { kStart, kMiddle, kEnd };

/// A white page to draw on; coordinates in px from the top left corner.
class Canvas {
 public:
  virtual ~Canvas() = default;

  /// Fills a rectangle. `tooltip` is shown if the format supports tooltips.
  virtual void fill(const Rect& rect, Rgb color, std::string_view tooltip = {}) = 0;

  /// Fills a rectangle with grey stripes, which mark a missing value.
  virtual void hatch(const Rect& rect, std::string_view tooltip = {}) = 0;

  /// Draws a rectangle of `rows` x `columns` pixels without interpolation.
  virtual void cells(const Rect& rect, int64_t rows, int64_t columns,
                     const std::vector<Rgb>& pixels) = 0;

  /// Draws the colour gradient of a colour bar, lowest value at the bottom.
  virtual void color_scale(const Rect& rect) = 0;

  virtual void line(Point from, Point to, Rgb color) = 0;

  /// Straight lines from point to point, with round joins.
  virtual void polyline(const std::vector<Point>& points, const Stroke& stroke) = 0;

  /// A filled polygon.
  virtual void polygon(const std::vector<Point>& points, Rgb color) = 0;

  /// One line of text. `at` is on its baseline; the text is rotated clockwise around it.
  virtual void text(std::string_view text, Point at, Anchor anchor, const TextStyle& style,
                    double degrees = 0) = 0;

  /// The encoded picture.
  virtual std::string finish() = 0;
};

std::unique_ptr<Canvas> make_png_canvas(double width, double height, double scale,
                                        const FontBook& fonts);
std::unique_ptr<Canvas> make_svg_canvas(double width, double height, std::string_view title);

/// A PNG file with one pixel for each cell.
std::string encode_png(int64_t rows, int64_t columns, const std::vector<Rgb>& pixels);

}  // namespace attend::detail
