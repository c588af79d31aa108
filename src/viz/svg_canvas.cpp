#include <fmt/format.h>

#include <array>
#include <cmath>
#include <iterator>

#include "detail/markup.h"
#include "viz/canvas.h"

namespace attend::detail {
namespace {

std::string hex(Rgb color) {
  return fmt::format("#{:02x}{:02x}{:02x}", color.red, color.green, color.blue);
}

// Rounded to hundredths of a px. + 0.0 removes a negative zero.
std::string number(double value) { return fmt::format("{}", std::round(value * 100) / 100 + 0.0); }

class SvgCanvas : public Canvas {
 public:
  SvgCanvas(double width, double height, std::string_view title) {
    write(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" )"
          R"(viewBox="0 0 {0} {1}" role="img" )"
          R"(font-family="DejaVu Sans, Verdana, Noto Sans, sans-serif" xml:space="preserve">)"
          "\n",
          number(width), number(height));
    if (!title.empty()) write("<title>{}</title>\n", escape_markup(title));
    fill({0, 0, width, height}, {0xFF, 0xFF, 0xFF}, {});
  }

  void fill(const Rect& rect, Rgb color, std::string_view tooltip) override {
    rectangle(rect, hex(color), tooltip);
  }

  void hatch(const Rect& rect, std::string_view tooltip) override {
    if (!has_hatch_) {
      write(R"(<defs><pattern id="attend-hatch" width="6" height="6" )"
            R"(patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#edeef0"/>)"
            R"(<path d="M-1 1L1 -1M0 6L6 0M5 7L7 5" stroke="#b4b8be" stroke-width="1.25"/>)"
            R"(</pattern></defs>)"
            "\n");
      has_hatch_ = true;
    }
    rectangle(rect, "url(#attend-hatch)", tooltip);
  }

  void cells(const Rect& rect, int64_t rows, int64_t columns,
             const std::vector<Rgb>& pixels) override {
    write(R"(<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" )"
          R"(style="image-rendering:pixelated" href="data:image/png;base64,{}"/>)"
          "\n",
          number(rect.x), number(rect.y), number(rect.width), number(rect.height),
          base64(encode_png(rows, columns, pixels)));
  }

  void color_scale(const Rect& rect) override {
    constexpr int kStops = 17;
    write(R"(<defs><linearGradient id="attend-scale" x1="0" y1="1" x2="0" y2="0">)");
    for (int i = 0; i <= kStops; ++i) {
      const double fraction = static_cast<double>(i) / kStops;
      write(R"(<stop offset="{:.4f}" stop-color="{}"/>)", fraction, hex(viridis(fraction)));
    }
    write("</linearGradient></defs>\n");
    rectangle(rect, "url(#attend-scale)", {});
  }

  void line(Point from, Point to, Rgb color) override {
    write(R"(<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}"/>)"
          "\n",
          number(from.x), number(from.y), number(to.x), number(to.y), hex(color));
  }

  void polyline(const std::vector<Point>& points, const Stroke& stroke) override {
    write(R"(<polyline points="{}" fill="none" stroke-linejoin="round"{}/>)"
          "\n",
          list(points), attributes(stroke));
  }

  void polygon(const std::vector<Point>& points, Rgb color) override {
    write(R"(<polygon points="{}" fill="{}"/>)"
          "\n",
          list(points), hex(color));
  }

  void text(std::string_view text, Point at, Anchor anchor, const TextStyle& style,
            double degrees) override {
    constexpr std::array kAnchors{"start", "middle", "end"};
    write(R"(<text x="{}" y="{}" font-size="{}" fill="{}")", number(at.x), number(at.y),
          number(style.size), hex(style.color));
    if (anchor != Anchor::kStart) {
      write(R"( text-anchor="{}")", kAnchors[static_cast<size_t>(anchor)]);
    }
    if (style.bold) write(R"( font-weight="bold")");
    if (degrees != 0) {
      write(" transform=\"rotate({} {} {})\"", number(degrees), number(at.x), number(at.y));
    }
    write(">{}</text>\n", escape_markup(text));
  }

  std::string finish() override { return svg_ + "</svg>\n"; }

 private:
  template <typename... Args>
  void write(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(svg_), format, std::forward<Args>(args)...);
  }

  static std::string list(const std::vector<Point>& points) {
    std::string out;
    for (const auto& point : points) {
      if (!out.empty()) out += ' ';
      out += number(point.x) + "," + number(point.y);
    }
    return out;
  }

  static std::string attributes(const Stroke& stroke) {
    auto out =
        fmt::format(R"( stroke="{}" stroke-width="{}")", hex(stroke.color), number(stroke.width));
    for (size_t i = 0; i < stroke.dashes.size(); ++i) {
      out += (i == 0 ? " stroke-dasharray=\"" : " ") + number(stroke.dashes[i]);
    }
    return stroke.dashes.empty() ? out : out + '"';
  }

  void rectangle(const Rect& rect, std::string_view paint, std::string_view tooltip) {
    write(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="{}")", number(rect.x), number(rect.y),
          number(rect.width), number(rect.height), paint);
    if (tooltip.empty()) {
      write("/>\n");
    } else {
      write("><title>{}</title></rect>\n", escape_markup(tooltip));
    }
  }

  std::string svg_;
  bool has_hatch_ = false;
};

}  // namespace

std::unique_ptr<Canvas> make_svg_canvas(double width, double height, std::string_view title) {
  return std::make_unique<SvgCanvas>(width, height, title);
}

}  // namespace attend::detail
