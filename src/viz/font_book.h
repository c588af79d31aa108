#pragma once

#include <cairo.h>

#include <memory>
#include <string>
#include <string_view>

#include "attend/viz/colormap.h"

namespace attend::detail {

struct TextStyle {
  double size = 12;  // px per em
  Rgb color;
  bool bold = false;
};

/// Measures and draws text with the installed fonts; each character uses the first font that has
/// it.
class FontBook {
 public:
  FontBook();
  ~FontBook();
  FontBook(const FontBook&) = delete;
  FontBook& operator=(const FontBook&) = delete;

  /// The width of a line of text in px.
  double width(std::string_view text, const TextStyle& style) const;

  /// Draws a line of text, with its baseline starting at the origin of `cairo`.
  void show(cairo_t* cairo, std::string_view text, const TextStyle& style) const;

  /// `text` if it is at most `limit` px wide, else the longest prefix that fits, and "…".
  std::string fitted(std::string_view text, const TextStyle& style, double limit) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace attend::detail
