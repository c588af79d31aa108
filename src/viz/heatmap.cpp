#include "attend/viz/heatmap.h"

#include <fmt/format.h>

#include <cmath>

#include "detail/atomic_file.h"
#include "viz/heatmap_plan.h"

namespace attend {
namespace {

using detail::Anchor;
using detail::Canvas;
using detail::FontBook;
using detail::HeatmapPlan;
using detail::LabelPlan;
using detail::PanelPlan;
using detail::Point;
using detail::Rect;
using detail::TextStyle;

constexpr Rgb kNoValueColor{0xD0, 0xD3, 0xD7};  // NaN in cells too small for stripes
constexpr Rgb kTickColor{0x8C, 0x95, 0x9F};
constexpr double kMostPixels = 32'767;  // largest width or height of a PNG picture (Cairo)
constexpr double kMostArea = 1 << 28;   // largest number of pixels of a PNG picture

// The width of the white line between cells; thinner or none between small cells.
double cell_gap(double cell) { return cell >= 20 ? 1 : cell >= 10 ? 0.5 : 0; }

// The baseline for text whose lower-case letters are vertically centred on `y`.
double baseline(double y, const TextStyle& style) { return y + 0.36 * style.size; }

bool is_image(const PanelPlan& panel) {
  return panel.data.rows * panel.data.columns > detail::kMostRectangles;
}

void draw_cells(Canvas& canvas, const PanelPlan& panel, const HeatmapPlan& plan) {
  const auto& data = panel.data;
  if (is_image(panel)) {
    std::vector<Rgb> pixels;
    pixels.reserve(data.values.size());
    for (const double value : data.values) {
      pixels.push_back(std::isnan(value) ? kNoValueColor : plan.scale.color(value));
    }
    canvas.cells(panel.cells(), data.rows, data.columns, pixels);
    return;
  }
  const detail::ValueFormat format(plan.scale);
  const double side = panel.cell - cell_gap(panel.cell);
  for (int64_t row = 0; row < data.rows; ++row) {
    for (int64_t column = 0; column < data.columns; ++column) {
      const double value = data.at(row, column);
      const Rect rect{panel.origin.x + static_cast<double>(column) * panel.cell,
                      panel.origin.y + static_cast<double>(row) * panel.cell, side, side};
      const auto tooltip = fmt::format("{} / {}: {:.4g}", data.row_labels[static_cast<size_t>(row)],
                                       data.column_labels[static_cast<size_t>(column)], value);
      if (std::isnan(value)) {
        canvas.hatch(rect, tooltip);
        continue;
      }
      const Rgb color = plan.scale.color(value);
      canvas.fill(rect, color, tooltip);
      if (panel.shows_values) {
        auto style = panel.value_style;
        style.color = readable_on(color);
        canvas.text(format(value), {rect.x + side / 2, baseline(rect.y + side / 2, style)},
                    Anchor::kMiddle, style);
      }
    }
  }
}

void draw_row_labels(Canvas& canvas, const PanelPlan& panel) {
  const auto& labels = panel.rows;
  for (size_t i = 0; i < labels.texts.size(); i += static_cast<size_t>(labels.step)) {
    const double y = panel.origin.y + (static_cast<double>(i) + 0.5) * panel.cell;
    canvas.text(labels.texts[i], {panel.origin.x - detail::kLabelGap, baseline(y, labels.style)},
                Anchor::kEnd, labels.style);
  }
}

void draw_column_labels(Canvas& canvas, const PanelPlan& panel) {
  const auto& labels = panel.columns;
  const double middle = baseline(0, labels.style);  // offset from a line's middle to its baseline
  for (size_t i = 0; i < labels.texts.size(); i += static_cast<size_t>(labels.step)) {
    const double x = panel.origin.x + (static_cast<double>(i) + 0.5) * panel.cell;
    const double y = panel.origin.y - detail::kLabelGap;
    if (labels.degrees == 0) {
      canvas.text(labels.texts[i], {x, y}, Anchor::kMiddle, labels.style);
    } else {
      // Shifted so that the rotated line starts above the middle of its cell.
      const double turn = -labels.degrees / 45;  // 1 = diagonal, 2 = vertical
      const double shift = turn == 2 ? middle : middle * 0.7071;
      canvas.text(labels.texts[i], {x + shift, turn == 2 ? y : y + shift - 3}, Anchor::kStart,
                  labels.style, labels.degrees);
    }
  }
}

void draw_panel(Canvas& canvas, const PanelPlan& panel, const HeatmapPlan& plan) {
  draw_cells(canvas, panel, plan);
  draw_row_labels(canvas, panel);
  draw_column_labels(canvas, panel);
  const auto cells = panel.cells();
  if (!panel.x_label.empty()) {
    canvas.text(panel.x_label, {cells.x + cells.width / 2, cells.y - panel.columns.depth - 8},
                Anchor::kMiddle, detail::kAxisStyle);
  }
  if (!panel.y_label.empty()) {
    canvas.text(panel.y_label, {cells.x - panel.rows.depth - 8, cells.y + cells.height / 2},
                Anchor::kMiddle, detail::kAxisStyle, -90);
  }
  if (!panel.title.empty()) {
    const double labels = panel.columns.depth + (panel.x_label.empty() ? 0 : detail::kAxisLine);
    canvas.text(panel.title, {cells.x, cells.y - labels - 9}, Anchor::kStart,
                detail::kPanelTitleStyle);
  }
}

void draw_color_bar(Canvas& canvas, const HeatmapPlan& plan) {
  const auto& bar = plan.color_bar;
  canvas.color_scale(bar);
  const double x = bar.x + bar.width;
  for (const auto& tick : plan.ticks) {
    const double share =
        (tick.value - plan.scale.minimum) / (plan.scale.maximum - plan.scale.minimum);
    const double y = bar.y + bar.height * (1 - share);
    canvas.line({x, y}, {x + detail::kTickLength, y}, kTickColor);
    canvas.text(tick.text,
                {x + detail::kTickLength + detail::kTickGap, baseline(y, detail::kTickStyle)},
                Anchor::kStart, detail::kTickStyle);
  }
  if (!plan.value_label.empty()) {
    const double label_x = x + detail::kTickLength + detail::kTickGap + plan.ticks_width + 18;
    canvas.text(plan.value_label, {label_x, bar.y + bar.height / 2}, Anchor::kMiddle,
                detail::kAxisStyle, -90);
  }
}

void draw(Canvas& canvas, const HeatmapPlan& plan) {
  double y = detail::kMargin;
  for (const auto& line : plan.title_lines) {
    canvas.text(line, {detail::kMargin, y + detail::kTitleStyle.size * 0.85}, Anchor::kStart,
                detail::kTitleStyle);
    y += detail::kTitleLine;
  }
  for (const auto& panel : plan.panels) draw_panel(canvas, panel, plan);
  if (plan.shows_color_bar) draw_color_bar(canvas, plan);
  if (plan.shows_no_value) {
    const Rect square{plan.no_value.x, plan.no_value.y, detail::kNoValueSquare,
                      detail::kNoValueSquare};
    if (is_image(plan.panels.front())) {
      canvas.fill(square, kNoValueColor);
    } else {
      canvas.hatch(square);
    }
    canvas.text(detail::kNoValueText,
                {square.x + square.width + detail::kNoValueGap,
                 baseline(square.y + square.height / 2, detail::kTickStyle)},
                Anchor::kStart, detail::kTickStyle);
  }
}

struct Picture {
  explicit Picture(const Heatmap& heatmap)
      : plan(detail::plan_heatmap(heatmap, fonts)), title(heatmap.options.title) {}
  explicit Picture(const HeatmapGrid& grid)
      : plan(detail::plan_heatmap(grid, fonts)), title(grid.title) {}

  std::string png() const {
    const double width = plan.width * kPngScale, height = plan.height * kPngScale;
    TORCH_CHECK_VALUE(width <= kMostPixels && height <= kMostPixels && width * height <= kMostArea,
                      "Heatmap: expected a PNG picture of at most ",
                      static_cast<int64_t>(kMostPixels), " pixels a side and ",
                      static_cast<int64_t>(kMostArea), " in all, got ", static_cast<int64_t>(width),
                      " x ", static_cast<int64_t>(height),
                      " (a smaller cell_size or fewer cells fit)");
    const auto canvas = detail::make_png_canvas(plan.width, plan.height, kPngScale, fonts);
    draw(*canvas, plan);
    return canvas->finish();
  }

  std::string svg() const {
    const auto canvas = detail::make_svg_canvas(plan.width, plan.height, title);
    draw(*canvas, plan);
    return canvas->finish();
  }

  FontBook fonts;
  HeatmapPlan plan;
  std::string title;
};

}  // namespace

std::string heatmap_png(const Heatmap& heatmap) { return Picture(heatmap).png(); }
std::string heatmap_png(const HeatmapGrid& grid) { return Picture(grid).png(); }
std::string heatmap_svg(const Heatmap& heatmap) { return Picture(heatmap).svg(); }
std::string heatmap_svg(const HeatmapGrid& grid) { return Picture(grid).svg(); }

void write_png(const std::filesystem::path& path, const Heatmap& heatmap) {
  detail::write_file_atomically(path, heatmap_png(heatmap));
}
void write_png(const std::filesystem::path& path, const HeatmapGrid& grid) {
  detail::write_file_atomically(path, heatmap_png(grid));
}
void write_svg(const std::filesystem::path& path, const Heatmap& heatmap) {
  detail::write_file_atomically(path, heatmap_svg(heatmap));
}
void write_svg(const std::filesystem::path& path, const HeatmapGrid& grid) {
  detail::write_file_atomically(path, heatmap_svg(grid));
}

}  // namespace attend
