#include "viz/heatmap_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

namespace attend::detail {
namespace {

constexpr int64_t kMaxSide = 8192;

std::vector<std::string> complete_labels(std::string_view what,
                                         const std::vector<std::string>& labels, int64_t count) {
  TORCH_CHECK_VALUE(labels.empty() || static_cast<int64_t>(labels.size()) == count,
                    "Heatmap: expected ", count, " ", what, " labels or none, got ", labels.size());
  if (!labels.empty()) return labels;
  std::vector<std::string> positions;
  for (int64_t i = 0; i < count; ++i) positions.push_back(std::to_string(i));
  return positions;
}

void check_bound(std::string_view what, const std::optional<double>& bound) {
  TORCH_CHECK_VALUE(!bound || std::isfinite(*bound), "Heatmap: expected a finite ", what, ", got ",
                    *bound);
}

void check_options(const HeatmapOptions& options) {
  check_bound("minimum", options.minimum);
  check_bound("maximum", options.maximum);
  TORCH_CHECK_VALUE(!options.minimum || !options.maximum || *options.minimum < *options.maximum,
                    "Heatmap: expected minimum < maximum, got ", *options.minimum, " and ",
                    *options.maximum);
  TORCH_CHECK_VALUE(options.cell_size == 0 || (options.cell_size >= 1 && options.cell_size <= 256),
                    "Heatmap: expected cell_size in [1, 256] or 0, got ", options.cell_size);
}

}  // namespace

HeatmapData read_heatmap(const Heatmap& heatmap) {
  check_options(heatmap.options);
  const auto& values = heatmap.values;
  TORCH_CHECK(values.defined(), "Heatmap: expected values of shape [rows, columns], got none");
  TORCH_CHECK(values.dim() == 2 && values.numel() > 0,
              "Heatmap: expected values of shape [rows, columns] with at least one cell, got ",
              values.sizes());
  TORCH_CHECK(!values.is_complex(), "Heatmap: expected values of a real dtype, got ",
              values.dtype());
  TORCH_CHECK_VALUE(values.size(0) <= kMaxSide && values.size(1) <= kMaxSide,
                    "Heatmap: expected at most ", kMaxSide, " rows and columns, got ",
                    values.sizes());
  HeatmapData data;
  data.rows = values.size(0);
  data.columns = values.size(1);
  data.row_labels = complete_labels("row", heatmap.row_labels, data.rows);
  data.column_labels = complete_labels("column", heatmap.column_labels, data.columns);
  data.row_labels_are_positions = heatmap.row_labels.empty();
  data.column_labels_are_positions = heatmap.column_labels.empty();
  const auto doubles = values.detach().to(at::kCPU, at::kDouble).contiguous();
  data.values.assign(doubles.const_data_ptr<double>(),
                     doubles.const_data_ptr<double>() + doubles.numel());
  return data;
}

ColorScale color_scale(const std::vector<HeatmapData>& data, const HeatmapOptions& options) {
  double smallest = std::numeric_limits<double>::infinity(), largest = -smallest;
  for (const auto& heatmap : data) {
    for (const double value : heatmap.values) {
      if (!std::isfinite(value)) continue;
      smallest = std::min(smallest, value);
      largest = std::max(largest, value);
    }
  }
  if (smallest > largest) smallest = largest = 0;  // no finite value at all

  ColorScale scale;
  scale.minimum = options.minimum.value_or(std::min(smallest, 0.0));
  if (!options.minimum && options.maximum && *options.maximum <= scale.minimum) {
    scale.minimum = *options.maximum - 1;
  }
  scale.maximum = options.maximum.value_or(largest);
  if (scale.maximum <= scale.minimum) scale.maximum = scale.minimum + 1;
  // Adding 1 has no effect on numbers above 2^53.
  if (scale.maximum <= scale.minimum) {
    scale.maximum = std::nextafter(scale.minimum, std::numeric_limits<double>::infinity());
  }
  TORCH_CHECK_VALUE(std::isfinite(scale.maximum - scale.minimum),
                    "Heatmap: expected values with a finite range, got ", scale.minimum, " to ",
                    scale.maximum);
  return scale;
}

ValueFormat::ValueFormat(const ColorScale& scale) {
  const double range = scale.maximum - scale.minimum;
  const double largest = std::max(std::abs(scale.minimum), std::abs(scale.maximum));
  // 0.999, so that the range 1 gets two decimals. Ranges up to 5 get two as well, for scores such
  // as 1.25 in worked examples.
  constexpr double kTwoDecimals = 5.0;
  const double digits =
      1 - std::floor(std::log10((range > 1 ? range / kTwoDecimals : range) * 0.999));
  is_general_ = largest >= 1e6 || digits > 5;
  decimals_ = static_cast<int>(std::clamp(digits, 0.0, 5.0));
}

std::string ValueFormat::operator()(double value) const {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  auto text = is_general_ ? fmt::format("{:.3g}", value) : fmt::format("{:.{}f}", value, decimals_);
  // Avoid "-0" for negative values that round to zero.
  if (text.starts_with('-') && text.find_first_of("123456789") == std::string::npos)
    text.erase(0, 1);
  return text;
}

int64_t round_step(int64_t least) {
  for (int64_t power = 1;; power *= 10) {
    for (const int64_t factor : {1, 2, 5}) {
      if (factor * power >= least) return factor * power;
    }
  }
}

}  // namespace attend::detail
