#include "viz/heatmap_plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>
#include <utility>

namespace attend::detail {
namespace {

constexpr double kLineHeight = 1.2;      // relative to the font size
constexpr double kLongestLabel = 240;    // px
constexpr double kPanelGap = 28;         // between the panels of a grid
constexpr double kNarrowestTitle = 320;  // px; a title may be this wide above a narrower picture
constexpr double kTitleGap = 8;          // below the title
constexpr double kColorBarGap = 24;
constexpr double kColorBarWidth = 14;
constexpr double kShortestColorBar = 96;
constexpr double kLongestColorBar = 420;

double line_height(const TextStyle& style) { return kLineHeight * style.size; }

double widest(const FontBook& fonts, const std::vector<std::string>& texts,
              const TextStyle& style) {
  double width = 0;
  for (const auto& text : texts) width = std::max(width, fonts.width(text, style));
  return width;
}

// ---- Cells --------------------------------------------------------------------------------------

// Small matrices get large cells; large matrices get cells small enough for a screen.
double automatic_cell_size(int64_t cells, int64_t panels_in_a_row) {
  const bool is_alone = panels_in_a_row == 1;
  const auto count = static_cast<double>(cells);
  const auto share = static_cast<double>(panels_in_a_row);
  const double largest = is_alone ? 48 : 34;
  const double room = is_alone ? 600 : std::max(200.0, 1000 / share);
  const double wanted = std::floor(room / count);
  if (wanted >= 14) return std::min(wanted, largest);
  // Labels need cells of 14 px. Smaller cells drop labels, so only the total size matters.
  return cells <= 64 && is_alone ? 14 : std::max(1.0, std::floor(1.4 * room / count));
}

void plan_values(PanelPlan& panel, const ColorScale& scale, const FontBook& fonts) {
  constexpr double kSmallest = 8, kPadding = 6;
  panel.value_style.size = std::clamp(panel.cell * 0.26, kSmallest, 12.0);
  const double room = panel.cell - kPadding;
  // Measuring more texts would take long, and they would not fit.
  if (room < kSmallest || panel.data.rows * panel.data.columns > kMostRectangles) return;
  const ValueFormat format(scale);
  double width = 0;
  for (const double value : panel.data.values) {
    if (!std::isnan(value)) width = std::max(width, fonts.width(format(value), panel.value_style));
  }
  if (width > room) {
    panel.value_style.size *= room / width;
    if (panel.value_style.size < kSmallest) return;
  }
  panel.shows_values = true;
}

// ---- Labels -------------------------------------------------------------------------------------

TextStyle label_style(double cell) { return {std::clamp(cell * 0.62, 9.0, 13.0), kInk}; }

std::vector<std::string> fitted_labels(const std::vector<std::string>& labels,
                                       const TextStyle& style, const FontBook& fonts) {
  std::vector<std::string> texts;
  for (const auto& label : labels) texts.push_back(fonts.fitted(label, style, kLongestLabel));
  return texts;
}

// Every how many cells a label is shown, if each label takes `room` px.
int64_t label_step(double room, double cell, bool are_positions) {
  const auto step = std::max<int64_t>(static_cast<int64_t>(std::ceil(room / cell)), 1);
  return are_positions ? round_step(step) : step;
}

LabelPlan plan_row_labels(const PanelPlan& panel, const FontBook& fonts) {
  LabelPlan plan;
  plan.style = label_style(panel.cell);
  plan.texts = fitted_labels(panel.data.row_labels, plan.style, fonts);
  plan.step = label_step(line_height(plan.style), panel.cell, panel.data.row_labels_are_positions);
  plan.depth = widest(fonts, plan.texts, plan.style) + kLabelGap;
  return plan;
}

LabelPlan plan_column_labels(const PanelPlan& panel, const FontBook& fonts) {
  const bool are_positions = panel.data.column_labels_are_positions;
  LabelPlan plan;
  plan.style = label_style(panel.cell);
  plan.texts = fitted_labels(panel.data.column_labels, plan.style, fonts);
  const double width = widest(fonts, plan.texts, plan.style);
  const double line = line_height(plan.style);
  constexpr double kDiagonal = std::numbers::sqrt2 / 2;

  // Horizontal if the labels fit side by side, else diagonal if their lines do, else vertical.
  if (are_positions || width + 6 <= panel.cell) {
    plan.step = label_step(width + 6, panel.cell, are_positions);
    plan.depth = line + kLabelGap - 3;
    plan.overhang = std::max(0.0, (width - panel.cell) / 2);
  } else if (line <= panel.cell * kDiagonal) {
    plan.degrees = -45;
    plan.depth = (width + line) * kDiagonal + kLabelGap;
    for (int64_t i = 0; i < panel.data.columns; ++i) {
      const auto& text = plan.texts[static_cast<size_t>(i)];
      const double end = (static_cast<double>(i) + 0.5) * panel.cell +
                         (fonts.width(text, plan.style) + line / 2) * kDiagonal;
      plan.overhang = std::max(plan.overhang, end - panel.width());
    }
  } else {
    plan.degrees = -90;
    plan.step = label_step(line, panel.cell, are_positions);
    plan.depth = width + kLabelGap;
  }
  return plan;
}

// ---- Panels -------------------------------------------------------------------------------------

// Whether two panels have the same row (or column) labels and sizes, so that one set of labels
// serves both.
bool share_rows(const Heatmap& a, const Heatmap& b) {
  return a.row_labels == b.row_labels && a.options.y_label == b.options.y_label &&
         a.values.size(0) == b.values.size(0) && a.options.cell_size == b.options.cell_size;
}
bool share_columns(const Heatmap& a, const Heatmap& b) {
  return a.column_labels == b.column_labels && a.options.x_label == b.options.x_label &&
         a.values.size(1) == b.values.size(1) && a.options.cell_size == b.options.cell_size;
}

// Computes the margins around the cells.
void measure_margins(PanelPlan& panel, const FontBook& fonts) {
  panel.left = panel.rows.depth;
  panel.top = panel.columns.depth;
  panel.right = panel.columns.overhang;
  panel.bottom = 0;
  // Labels may be taller than their cell.
  if (panel.rows.depth > 0) {
    const double beyond = std::max(0.0, (line_height(panel.rows.style) - panel.cell) / 2);
    panel.top = std::max(panel.top, beyond);
    panel.bottom = beyond;
  }
  if (panel.columns.depth > 0 && panel.columns.degrees == 0) {
    panel.left = std::max(panel.left, panel.columns.overhang);
  }
  if (!panel.x_label.empty()) {
    panel.top += kAxisLine;
    const double beyond = (fonts.width(panel.x_label, kAxisStyle) - panel.width()) / 2;
    panel.left = std::max(panel.left, beyond);
    panel.right = std::max(panel.right, beyond);
  }
  if (!panel.y_label.empty()) {
    panel.left += kAxisLine;
    const double beyond = (fonts.width(panel.y_label, kAxisStyle) - panel.height()) / 2;
    panel.top = std::max(panel.top, beyond);
    panel.bottom = std::max(panel.bottom, beyond);
  }
  if (!panel.title.empty()) {
    panel.top += kPanelTitle;
    const double beyond = fonts.width(panel.title, kPanelTitleStyle) - panel.width();
    panel.right = std::max(panel.right, beyond);
  }
}

struct Track {
  double before = 0, cells = 0, after = 0;  // px
  double size() const { return before + cells + after; }
};

// Places the panels in a grid with their cells aligned. Returns the grid's size.
Point place_panels(std::vector<PanelPlan>& panels, int64_t columns, Point origin) {
  const auto count = static_cast<int64_t>(panels.size());
  std::vector<Track> across(static_cast<size_t>(columns));
  std::vector<Track> down(static_cast<size_t>((count + columns - 1) / columns));
  for (int64_t i = 0; i < count; ++i) {
    const auto& panel = panels[static_cast<size_t>(i)];
    auto& x = across[static_cast<size_t>(i % columns)];
    auto& y = down[static_cast<size_t>(i / columns)];
    x.before = std::max(x.before, std::ceil(panel.left));
    x.cells = std::max(x.cells, panel.width());
    x.after = std::max(x.after, std::ceil(panel.right));
    y.before = std::max(y.before, std::ceil(panel.top));
    y.cells = std::max(y.cells, panel.height());
    y.after = std::max(y.after, std::ceil(panel.bottom));
  }
  Point at = origin;
  for (int64_t i = 0; i < count; ++i) {
    const auto &x = across[static_cast<size_t>(i % columns)],
               &y = down[static_cast<size_t>(i / columns)];
    panels[static_cast<size_t>(i)].origin = {at.x + x.before, at.y + y.before};
    at.x += x.size() + kPanelGap;
    if ((i + 1) % columns == 0 || i + 1 == count) {
      at = {origin.x, at.y + y.size() + kPanelGap};
    }
  }
  Point size{-kPanelGap, -kPanelGap};
  for (const auto& track : across) size.x += track.size() + kPanelGap;
  for (const auto& track : down) size.y += track.size() + kPanelGap;
  return size;
}

// ---- Title --------------------------------------------------------------------------------------

std::vector<std::string> wrapped(std::string_view text, const TextStyle& style, double limit,
                                 const FontBook& fonts) {
  std::vector<std::string> lines;
  std::string line;
  while (!text.empty()) {
    const auto word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (word.empty()) continue;
    auto longer = line.empty() ? std::string(word) : line + " " + std::string(word);
    if (!line.empty() && fonts.width(longer, style) > limit) {
      lines.push_back(std::exchange(line, std::string(word)));
    } else {
      line = std::move(longer);
    }
  }
  if (!line.empty()) lines.push_back(std::move(line));
  for (auto& full : lines) full = fonts.fitted(full, style, limit);
  return lines;
}

// ---- Colour bar ---------------------------------------------------------------------------------

// Places the colour bar and the legend of NaN to the right of the cells, and returns their right
// and bottom ends. Column labels may reach over them, since they are above the cells.
Point place_legend(HeatmapPlan& plan, const FontBook& fonts) {
  double x = 0, top = plan.panels.front().origin.y, bottom = top;
  for (const auto& panel : plan.panels) {
    x = std::max(x, panel.origin.x + panel.width() + kColorBarGap);
    top = std::min(top, panel.origin.y);
    bottom = std::max(bottom, panel.origin.y + panel.height());
  }
  Point end{x, top};
  double y = top;
  if (plan.shows_color_bar) {
    const double legend = plan.shows_no_value ? kNoValueSquare + 18 : 0;
    const double shortest =
        std::clamp(fonts.width(plan.value_label, kAxisStyle), kShortestColorBar, kLongestColorBar);
    const double height = std::clamp(bottom - top - legend, shortest, kLongestColorBar);
    plan.color_bar = {x, top, kColorBarWidth, height};
    plan.ticks = make_ticks(plan.scale.minimum, plan.scale.maximum,
                            std::clamp<int64_t>(static_cast<int64_t>(height / 40), 5, 8));
    for (const auto& tick : plan.ticks) {
      plan.ticks_width = std::max(plan.ticks_width, fonts.width(tick.text, kTickStyle));
    }
    end.x += kColorBarWidth + kTickLength + kTickGap + plan.ticks_width;
    end.y += height + line_height(kTickStyle) / 2;
    if (!plan.value_label.empty()) {
      plan.value_label = fonts.fitted(plan.value_label, kAxisStyle, height);
      end.x += kAxisLine;
    }
    y = top + height + 18;
  }
  if (plan.shows_no_value) {
    plan.no_value = {x, y};
    end.x =
        std::max(end.x, x + kNoValueSquare + kNoValueGap + fonts.width(kNoValueText, kTickStyle));
    end.y = y + kNoValueSquare;
  }
  return end;
}

// Plans the panel at a grid position, except its origin. Labels that the panel on the left or above
// already shows are left out.
PanelPlan plan_panel(const HeatmapGrid& grid, int64_t position, int64_t columns, bool is_single,
                     HeatmapData data, const ColorScale& scale, const FontBook& fonts) {
  const auto panel_at = [&](int64_t i) { return &grid.panels[static_cast<size_t>(i)]; };
  const auto& heatmap = *panel_at(position);
  PanelPlan panel;
  panel.data = std::move(data);
  panel.cell = heatmap.options.cell_size > 0
                   ? std::round(heatmap.options.cell_size * kPngScale) / kPngScale
                   : automatic_cell_size(std::max(panel.data.rows, panel.data.columns), columns);
  if (heatmap.options.show_values) plan_values(panel, scale, fonts);

  const auto* left = position % columns > 0 ? panel_at(position - 1) : nullptr;
  if (left == nullptr || !share_rows(*left, heatmap)) {
    panel.rows = plan_row_labels(panel, fonts);
    panel.y_label = fonts.fitted(heatmap.options.y_label, kAxisStyle, kLongestLabel);
  }
  const auto* above = position >= columns ? panel_at(position - columns) : nullptr;
  if (above == nullptr || !share_columns(*above, heatmap)) {
    panel.columns = plan_column_labels(panel, fonts);
    panel.x_label = fonts.fitted(heatmap.options.x_label, kAxisStyle, kLongestLabel);
  }
  if (!is_single) {
    const double room = std::max(panel.width(), 160.0);
    panel.title = fonts.fitted(heatmap.options.title, kPanelTitleStyle, room);
  }
  measure_margins(panel, fonts);
  return panel;
}

HeatmapPlan plan_grid(const HeatmapGrid& grid, bool is_single, const FontBook& fonts) {
  const auto count = static_cast<int64_t>(grid.panels.size());
  TORCH_CHECK_VALUE(count > 0, "HeatmapGrid: expected at least one panel, got none");
  TORCH_CHECK_VALUE(grid.columns >= 0, "HeatmapGrid: expected columns >= 0, got ", grid.columns);
  const auto square = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const int64_t columns = std::min(grid.columns == 0 ? square : grid.columns, count);

  std::vector<HeatmapData> data;
  for (const auto& panel : grid.panels) data.push_back(read_heatmap(panel));
  const auto& options = grid.panels.front().options;

  HeatmapPlan plan;
  plan.scale = color_scale(data, options);
  plan.value_label = options.value_label;
  plan.shows_color_bar = options.show_color_bar;
  for (int64_t i = 0; i < count; ++i) {
    auto& values = data[static_cast<size_t>(i)];
    plan.shows_no_value |=
        std::ranges::any_of(values.values, [](double v) { return std::isnan(v); });
    plan.panels.push_back(
        plan_panel(grid, i, columns, is_single, std::move(values), plan.scale, fonts));
  }

  // The title wraps to the picture's width, which therefore must not depend on the title.
  const Point panels_size = place_panels(plan.panels, columns, {kMargin, kMargin});
  Point end{kMargin + panels_size.x, kMargin + panels_size.y};
  if (plan.shows_color_bar || plan.shows_no_value) {
    const Point legend_end = place_legend(plan, fonts);
    end = {std::max(end.x, legend_end.x), std::max(end.y, legend_end.y)};
  }
  const double title_room = std::max(end.x - kMargin, kNarrowestTitle);
  plan.title_lines =
      wrapped(is_single ? options.title : grid.title, kTitleStyle, title_room, fonts);

  if (!plan.title_lines.empty()) {
    const double title = static_cast<double>(plan.title_lines.size()) * kTitleLine + kTitleGap;
    for (auto& panel : plan.panels) panel.origin.y += title;
    plan.color_bar.y += title;
    plan.no_value.y += title;
    end.y += title;
    end.x = std::max(end.x, kMargin + widest(fonts, plan.title_lines, kTitleStyle));
  }
  plan.width = std::ceil(end.x + kMargin);
  plan.height = std::ceil(end.y + kMargin);
  return plan;
}

}  // namespace

// A single heatmap is a grid of one panel, with its title above the picture.
HeatmapPlan plan_heatmap(const Heatmap& heatmap, const FontBook& fonts) {
  return plan_grid({.panels = {heatmap}, .columns = 1, .title = {}}, /*is_single=*/true, fonts);
}
HeatmapPlan plan_heatmap(const HeatmapGrid& grid, const FontBook& fonts) {
  return plan_grid(grid, /*is_single=*/false, fonts);
}

}  // namespace attend::detail
