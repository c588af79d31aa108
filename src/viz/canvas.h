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
  std::vector<double> dashes = {};  // px of line and of gap in turn; empty = without gaps
};

/// Where a text lies from its point on.
enum class Anchor { kStart, kMiddle, kEnd };

/// What pictures are drawn on: a white page, coordinates in px from the top left corner.
class Canvas {
 public:
  virtual ~Canvas() = default;

  /// A rectangle; `tooltip` is shown where the format can.
  virtual void fill(const Rect& rect, Rgb color, std::string_view tooltip = {}) = 0;

  /// A rectangle of grey stripes, for what has no value.
  virtual void hatch(const Rect& rect, std::string_view tooltip = {}) = 0;

  /// A rectangle of `rows` times `columns` pixels, drawn as sharp cells.
  virtual void cells(const Rect& rect, int64_t rows, int64_t columns,
                     const std::vector<Rgb>& pixels) = 0;

  /// The colours of a scale, the lowest at the bottom.
  virtual void color_scale(const Rect& rect) = 0;

  virtual void line(Point from, Point to, Rgb color) = 0;

  /// Straight lines from point to point, with round corners.
  virtual void polyline(const std::vector<Point>& points, const Stroke& stroke) = 0;

  /// The area inside straight lines from point to point and back to the first.
  virtual void polygon(const std::vector<Point>& points, Rgb color) = 0;

  /// One line of text; `at` is on its baseline, around which it is turned clockwise.
  virtual void text(std::string_view text, Point at, Anchor anchor, const TextStyle& style,
                    double degrees = 0) = 0;

  /// The bytes of the picture's file.
  virtual std::string finish() = 0;
};

std::unique_ptr<Canvas> make_png_canvas(double width, double height, double scale,
                                        const FontBook& fonts);
std::unique_ptr<Canvas> make_svg_canvas(double width, double height, std::string_view title);

/// The bytes of a PNG file with one pixel for each cell.
std::string encode_png(int64_t rows, int64_t columns, const std::vector<Rgb>& pixels);

}  // namespace attend::detail
