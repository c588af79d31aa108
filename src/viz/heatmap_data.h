#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attend/viz/heatmap.h"

namespace attend::detail {

/// A heatmap's values and labels, checked, with default labels filled in.
struct HeatmapData {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;              // [rows * columns]
  std::vector<std::string> row_labels;     // one for each row
  std::vector<std::string> column_labels;  // one for each column
  bool row_labels_are_positions = false;
  bool column_labels_are_positions = false;

  double at(int64_t row, int64_t column) const {
    return values[static_cast<size_t>(row * columns + column)];
  }
};

/// Throws: c10::Error and c10::ValueError as documented in heatmap.h.
HeatmapData read_heatmap(const Heatmap& heatmap);

/// The values of the darkest and the lightest colour, which bound the colour scale.
struct ColorScale {
  double minimum = 0, maximum = 1;

  Rgb color(double value) const { return viridis((value - minimum) / (maximum - minimum)); }
};

/// The common scale of `data`, with the bounds that `options` set.
ColorScale color_scale(const std::vector<HeatmapData>& data, const HeatmapOptions& options);

/// Formats values with enough decimals to show a hundredth of the scale's range.
class ValueFormat {
 public:
  explicit ValueFormat(const ColorScale& scale);

  std::string operator()(double value) const;

 private:
  int decimals_ = 2;
  bool is_general_ = false;  // three significant digits instead
};

/// The smallest of 1, 2, 5, 10, 20, 50, ... that is at least `least`.
int64_t round_step(int64_t least);

}  // namespace attend::detail
