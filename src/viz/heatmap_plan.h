#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attend/viz/heatmap.h"
#include "viz/canvas.h"
#include "viz/font_book.h"
#include "viz/heatmap_data.h"
#include "viz/style.h"
#include "viz/ticks.h"

namespace attend::detail {

/// The row labels or the column labels of a panel.
struct LabelPlan {
  std::vector<std::string> texts;  // shortened to fit; empty if no labels are shown
  int64_t step = 1;                // every step-th label is shown
  double degrees = 0;              // clockwise rotation of the text
  TextStyle style;
  double depth = 0;     // px away from the cells, gap included; 0 if no labels are shown
  double overhang = 0;  // px beyond the last cell
};

/// One panel of the grid and its margins.
struct PanelPlan {
  HeatmapData data;
  double cell = 0;
  LabelPlan rows, columns;
  std::string x_label, y_label;  // empty if not shown
  std::string title;             // only in a grid, shortened to fit
  TextStyle value_style;
  bool shows_values = false;
  double left = 0, top = 0, right = 0, bottom = 0;  // px around the cells
  Point origin;                                     // of the cells

  double width() const { return cell * static_cast<double>(data.columns); }
  double height() const { return cell * static_cast<double>(data.rows); }
  Rect cells() const { return {origin.x, origin.y, width(), height()}; }
};

/// The layout of a picture.
struct HeatmapPlan {
  std::vector<std::string> title_lines;
  std::vector<PanelPlan> panels;
  ColorScale scale;
  std::string value_label;
  bool shows_color_bar = false;
  bool shows_no_value = false;  // the legend of NaN
  Rect color_bar;
  std::vector<Tick> ticks;
  double ticks_width = 0;
  Point no_value;  // top left corner of the legend's square
  double width = 0, height = 0;
};

// Sizes in px that both planning and drawing use.
inline constexpr double kLabelGap = 8;     // between cells and their labels
inline constexpr double kPanelTitle = 24;  // a panel's title with the space after it
inline constexpr double kNoValueSquare = 12;
inline constexpr double kNoValueGap = 6;
inline constexpr int64_t kMostRectangles = 10'000;  // more cells are drawn as one image

inline constexpr auto kNoValueText = "no value (NaN)";

HeatmapPlan plan_heatmap(const Heatmap& heatmap, const FontBook& fonts);
HeatmapPlan plan_heatmap(const HeatmapGrid& grid, const FontBook& fonts);

}  // namespace attend::detail
