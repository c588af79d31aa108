#pragma once

#include <cairo.h>

#include <memory>
#include <string>
#include <string_view>

#include "attend/viz/colormap.h"

namespace attend::detail {

struct TextStyle {
  double size = 12;  // px of an em
  Rgb color;
  bool bold = false;
};

/// The installed fonts: measures and draws text, each character with the first font that has it.
class FontBook {
 public:
  FontBook();
  ~FontBook();
  FontBook(const FontBook&) = delete;
  FontBook& operator=(const FontBook&) = delete;

  /// The px that a line of text takes.
  double width(std::string_view text, const TextStyle& style) const;

  /// Draws a line of text from the origin of `cairo` on, which is on the baseline.
  void show(cairo_t* cairo, std::string_view text, const TextStyle& style) const;

  /// `text` if it is no wider than `limit`, else as much of its start as fits before "…".
  std::string fitted(std::string_view text, const TextStyle& style, double limit) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace attend::detail
