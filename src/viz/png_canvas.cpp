#include <cairo.h>
#include <torch/torch.h>

#include <cmath>
#include <numbers>
#include <utility>

#include "viz/canvas.h"

namespace attend::detail {
namespace {

constexpr Rgb kStripe{0xB4, 0xB8, 0xBE};
constexpr Rgb kStripeGround{0xED, 0xEE, 0xF0};

struct SurfaceDeleter {
  void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
};
using Surface = std::unique_ptr<cairo_surface_t, SurfaceDeleter>;

struct ContextDeleter {
  void operator()(cairo_t* context) const { cairo_destroy(context); }
};
using Context = std::unique_ptr<cairo_t, ContextDeleter>;

void check(cairo_status_t status) {
  TORCH_CHECK(status == CAIRO_STATUS_SUCCESS,
              "Canvas: expected a picture from Cairo, got: ", cairo_status_to_string(status));
}

Surface make_surface(int width, int height) {
  Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height));
  check(cairo_surface_status(surface.get()));
  return surface;
}

// noexcept, since an exception must not propagate through Cairo's C code.
cairo_status_t append(void* bytes, const unsigned char* data, unsigned int length) noexcept {
  try {
    static_cast<std::string*>(bytes)->append(reinterpret_cast<const char*>(data), length);
    return CAIRO_STATUS_SUCCESS;
  } catch (...) {
    return CAIRO_STATUS_NO_MEMORY;
  }
}

std::string encode(cairo_surface_t* surface) {
  std::string bytes;
  check(cairo_surface_write_to_png_stream(surface, append, &bytes));
  return bytes;
}

Surface make_pixels(int64_t rows, int64_t columns, const std::vector<Rgb>& pixels) {
  auto surface = make_surface(static_cast<int>(columns), static_cast<int>(rows));
  cairo_surface_flush(surface.get());
  auto* data = cairo_image_surface_get_data(surface.get());
  const auto stride = cairo_image_surface_get_stride(surface.get());
  for (int64_t row = 0; row < rows; ++row) {
    auto* line = reinterpret_cast<uint32_t*>(data + row * stride);
    for (int64_t column = 0; column < columns; ++column) {
      const auto& pixel = pixels[static_cast<size_t>(row * columns + column)];
      line[column] = (uint32_t{pixel.red} << 16) | (uint32_t{pixel.green} << 8) | pixel.blue;
    }
  }
  cairo_surface_mark_dirty(surface.get());
  return surface;
}

class PngCanvas : public Canvas {
 public:
  PngCanvas(double width, double height, double scale, const FontBook& fonts)
      : fonts_(fonts),
        surface_(make_surface(static_cast<int>(std::lround(width * scale)),
                              static_cast<int>(std::lround(height * scale)))),
        context_(cairo_create(surface_.get())) {
    cairo_set_source_rgb(context_.get(), 1, 1, 1);
    cairo_paint(context_.get());
    cairo_scale(context_.get(), scale, scale);
  }

  void fill(const Rect& rect, Rgb color, std::string_view /*tooltip*/) override {
    set_color(color);
    // The edges are on whole pixels, where antialiasing would only blur them.
    cairo_set_antialias(context_.get(), CAIRO_ANTIALIAS_NONE);
    cairo_rectangle(context_.get(), rect.x, rect.y, rect.width, rect.height);
    cairo_fill(context_.get());
    cairo_set_antialias(context_.get(), CAIRO_ANTIALIAS_DEFAULT);
  }

  void hatch(const Rect& rect, std::string_view tooltip) override {
    constexpr double kDistance = 6;
    fill(rect, kStripeGround, tooltip);
    cairo_save(context_.get());
    cairo_rectangle(context_.get(), rect.x, rect.y, rect.width, rect.height);
    cairo_clip(context_.get());
    set_color(kStripe);
    cairo_set_line_width(context_.get(), 1.25);
    // Computed from absolute coordinates, so that stripes continue across cells.
    const double first = std::ceil((rect.x + rect.y) / kDistance) * kDistance;
    for (double sum = first; sum <= rect.x + rect.y + rect.width + rect.height; sum += kDistance) {
      cairo_move_to(context_.get(), sum - rect.y, rect.y);
      cairo_line_to(context_.get(), sum - rect.y - rect.height, rect.y + rect.height);
    }
    cairo_stroke(context_.get());
    cairo_restore(context_.get());
  }

  void cells(const Rect& rect, int64_t rows, int64_t columns,
             const std::vector<Rgb>& pixels) override {
    const auto image = make_pixels(rows, columns, pixels);
    cairo_save(context_.get());
    cairo_translate(context_.get(), rect.x, rect.y);
    cairo_scale(context_.get(), rect.width / static_cast<double>(columns),
                rect.height / static_cast<double>(rows));
    cairo_set_source_surface(context_.get(), image.get(), 0, 0);
    cairo_pattern_set_filter(cairo_get_source(context_.get()), CAIRO_FILTER_NEAREST);
    cairo_paint(context_.get());
    cairo_restore(context_.get());
  }

  void color_scale(const Rect& rect) override {
    constexpr int kSteps = 256;
    std::vector<Rgb> pixels;
    for (int i = 0; i < kSteps; ++i) pixels.push_back(viridis(1.0 - i / (kSteps - 1.0)));
    cells(rect, kSteps, 1, pixels);
  }

  void line(Point from, Point to, Rgb color) override {
    set_color(color);
    cairo_set_line_width(context_.get(), 1);
    cairo_move_to(context_.get(), from.x, from.y);
    cairo_line_to(context_.get(), to.x, to.y);
    cairo_stroke(context_.get());
  }

  void polyline(const std::vector<Point>& points, const Stroke& stroke) override {
    trace(points);
    cairo_save(context_.get());
    set_color(stroke.color);
    cairo_set_line_width(context_.get(), stroke.width);
    cairo_set_line_join(context_.get(), CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(context_.get(), stroke.dashes.data(), static_cast<int>(stroke.dashes.size()), 0);
    cairo_stroke(context_.get());
    cairo_restore(context_.get());
  }

  void polygon(const std::vector<Point>& points, Rgb color) override {
    trace(points);
    set_color(color);
    cairo_fill(context_.get());
  }

  void text(std::string_view text, Point at, Anchor anchor, const TextStyle& style,
            double degrees) override {
    cairo_save(context_.get());
    cairo_translate(context_.get(), at.x, at.y);
    cairo_rotate(context_.get(), degrees * std::numbers::pi / 180);
    if (anchor != Anchor::kStart) {
      const double width = fonts_.width(text, style);
      cairo_translate(context_.get(), anchor == Anchor::kEnd ? -width : -width / 2, 0);
    }
    fonts_.show(context_.get(), text, style);
    cairo_restore(context_.get());
  }

  std::string finish() override {
    check(cairo_status(context_.get()));
    cairo_surface_flush(surface_.get());
    return encode(surface_.get());
  }

 private:
  void trace(const std::vector<Point>& points) {
    cairo_new_path(context_.get());
    for (const auto& point : points) cairo_line_to(context_.get(), point.x, point.y);
  }

  void set_color(Rgb color) {
    cairo_set_source_rgb(context_.get(), color.red / 255.0, color.green / 255.0,
                         color.blue / 255.0);
  }

  const FontBook& fonts_;
  Surface surface_;
  Context context_;
};

}  // namespace

std::unique_ptr<Canvas> make_png_canvas(double width, double height, double scale,
                                        const FontBook& fonts) {
  return std::make_unique<PngCanvas>(width, height, scale, fonts);
}

std::string encode_png(int64_t rows, int64_t columns, const std::vector<Rgb>& pixels) {
  return encode(make_pixels(rows, columns, pixels).get());
}

}  // namespace attend::detail
