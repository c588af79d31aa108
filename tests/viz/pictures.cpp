#include "viz/pictures.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace attend::testing_support {

Png::Png(const std::string& bytes) {
  struct Source {
    const std::string& bytes;
    size_t at = 0;
  } source{bytes};
  const auto read = [](void* closure, unsigned char* data, unsigned int length) {
    auto& from = *static_cast<Source*>(closure);
    if (from.at + length > from.bytes.size()) return CAIRO_STATUS_READ_ERROR;
    std::memcpy(data, from.bytes.data() + from.at, length);
    from.at += length;
    return CAIRO_STATUS_SUCCESS;
  };
  surface_.reset(cairo_image_surface_create_from_png_stream(read, &source));
  EXPECT_EQ(cairo_surface_status(surface_.get()), CAIRO_STATUS_SUCCESS);
}

Rgb Png::at(int x, int y) const {
  const auto* line =
      cairo_image_surface_get_data(surface_.get()) +
      static_cast<std::ptrdiff_t>(y) * cairo_image_surface_get_stride(surface_.get());
  uint32_t pixel = 0;
  std::memcpy(&pixel, line + static_cast<std::ptrdiff_t>(x) * 4, sizeof(pixel));
  return {static_cast<uint8_t>(pixel >> 16), static_cast<uint8_t>(pixel >> 8),
          static_cast<uint8_t>(pixel)};
}

bool operator==(const Png& a, const Png& b) {
  if (a.width() != b.width() || a.height() != b.height()) return false;
  for (int y = 0; y < a.height(); ++y) {
    for (int x = 0; x < a.width(); ++x) {
      if (a.at(x, y) != b.at(x, y)) return false;
    }
  }
  return true;
}

void expect_white_margin(const std::string& png, const std::string& what) {
  constexpr int kMargin = 16 * kPngScale;
  const Png picture(png);
  int inked = 0;
  for (int y = 0; y < picture.height(); ++y) {
    for (int x = 0; x < picture.width(); ++x) {
      const bool is_inside = x >= kMargin && x < picture.width() - kMargin && y >= kMargin &&
                             y < picture.height() - kMargin;
      if (!is_inside) inked += picture.at(x, y) != kWhite;
    }
  }
  EXPECT_EQ(inked, 0) << what;
}

std::string hex(Rgb color) {
  char text[8];
  std::snprintf(text, sizeof(text), "#%02x%02x%02x", color.red, color.green, color.blue);
  return text;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

std::string SvgElement::attribute(const std::string& name) const {
  const auto key = " " + name + "=\"";
  const auto at = attributes.find(key);
  if (at == std::string::npos) return "";
  const auto begin = at + key.size();
  return attributes.substr(begin, attributes.find('"', begin) - begin);
}

std::vector<SvgElement> elements(const std::string& svg, const std::string& tag) {
  const std::string title = "<title>";
  std::vector<SvgElement> found;
  for (size_t at = 0; (at = svg.find("<" + tag + " ", at)) != std::string::npos;) {
    const auto end = svg.find('>', at);
    SvgElement element{svg.substr(at, end - at), ""};
    if (svg[end - 1] != '/') {
      const auto text =
          end + 1 + (svg.compare(end + 1, title.size(), title) == 0 ? title.size() : 0);
      element.text = svg.substr(text, svg.find('<', text) - text);
    }
    found.push_back(element);
    at = end;
  }
  return found;
}

}  // namespace attend::testing_support
