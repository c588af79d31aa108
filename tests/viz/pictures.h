#pragma once

#include <cairo.h>

#include <cstddef>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "attend/viz/colormap.h"
#include "attend/viz/heatmap.h"

namespace attend::testing_support {

constexpr Rgb kWhite{255, 255, 255};

/// A PNG picture, decoded by Cairo.
class Png {
 public:
  explicit Png(const std::string& bytes);

  int width() const { return cairo_image_surface_get_width(surface_.get()); }
  int height() const { return cairo_image_surface_get_height(surface_.get()); }

  Rgb at(int x, int y) const;
  /// At a place of the layout, or of the SVG picture: its x and y.
  template <typename Place>
  Rgb at(const Place& place) const {
    return at(static_cast<int>(place.x * kPngScale), static_cast<int>(place.y * kPngScale));
  }

  friend bool operator==(const Png& a, const Png& b);

 private:
  struct Deleter {
    void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
  };
  std::unique_ptr<cairo_surface_t, Deleter> surface_;
};

/// Fails where anything but white is near the edge: where nothing comes near it, nothing is cut off.
void expect_white_margin(const std::string& png, const std::string& what);

/// "#rrggbb".
std::string hex(Rgb color);

/// How often `part` is in `text`.
size_t count(const std::string& text, const std::string& part);

/// An element of an SVG picture: its attributes, and its text or that of its tooltip.
struct SvgElement {
  std::string attributes, text;

  std::string attribute(const std::string& name) const;
  double number(const std::string& name) const { return std::stod(attribute(name)); }

  /// Of a polyline.
  template <typename Place>
  std::vector<Place> points() const {
    auto list = attribute("points");
    for (char& c : list) c = c == ',' ? ' ' : c;
    std::istringstream numbers(list);
    std::vector<Place> points;
    for (Place point; numbers >> point.x >> point.y;) points.push_back(point);
    return points;
  }
};

/// The elements of a kind, in their order.
std::vector<SvgElement> elements(const std::string& svg, const std::string& tag);

}  // namespace attend::testing_support
