#include "attend/viz/line_plot.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <numeric>
#include <string_view>
#include <utility>

#include "attend/viz/heatmap.h"
#include "detail/atomic_file.h"
#include "detail/check.h"
#include "viz/canvas.h"
#include "viz/heatmap_data.h"
#include "viz/heatmap_plan.h"

namespace attend {
namespace {

using detail::Anchor;
using detail::Canvas;
using detail::FontBook;
using detail::Point;
using detail::Rect;
using detail::Stroke;
using detail::TextStyle;
using detail::Tick;
using PlotRange = LinePlotLayout::Range;

constexpr auto kLinePlot = "LinePlot";

constexpr auto kLineColors = std::to_array<Rgb>({
    {0x00, 0x72, 0xB2},  // blue
    {0xD5, 0x5E, 0x00},  // vermillion
    {0x00, 0x9E, 0x73},  // bluish green
    {0xCC, 0x79, 0xA7},  // reddish purple
    {0xE6, 0x9F, 0x00},  // orange
    {0x56, 0xB4, 0xE9},  // sky blue
    {0x00, 0x00, 0x00},
});

// A polygon around a point, or a star where the inner radius is not 0.
struct Marker {
  int corners = 0;
  double radius = 0, inner_radius = 0;  // px
  double degrees = 0;                   // where the first corner is, clockwise from the right
};
constexpr auto kMarkers = std::to_array<Marker>({
    {16, 3.5, 0, 0},  // as good as round
    {4, 4.5, 0, 45},
    {3, 5, 0, -90},
    {4, 5, 0, 0},
    {3, 5, 0, 90},
    {4, 6, 2, 0},
});

constexpr size_t kMostSeries = kLineColors.size() * kMarkers.size();
static_assert(std::gcd(kLineColors.size(), kMarkers.size()) == 1, "no two series look the same");

constexpr Rgb kGridColor{0xE4, 0xE7, 0xEB};
constexpr Rgb kAxisColor{0x8C, 0x95, 0x9F};
constexpr double kLineWidth = 2;
constexpr size_t kMostMarkedPoints = 32;  // of a series, if each is to be marked
constexpr double kMarkerDistance = 28;
constexpr size_t kMostTooltips = 2000;
constexpr double kTooltipRadius = 6;
constexpr double kNarrowestPlotTitle = 480;  // px that a title may take however small the axes are
constexpr double kTitleSpace = 10;           // below the title
constexpr double kLegendGap = 20;
constexpr double kLegendLine = 20;
constexpr double kLegendSample = 28;  // the piece of line beside a name
constexpr double kLegendSampleGap = 8;
constexpr double kLongestName = 200;
constexpr double kTickRoom = 10;  // between the texts of two ticks

// ---- Checks -------------------------------------------------------------------------------------

std::string series_title(const LinePlot& plot, size_t position) {
  return fmt::format("series {} (\"{}\")", position, plot.series[position].name);
}

bool is_drawn(const LineSeries& series, size_t i) {
  return !std::isnan(series.x[i]) && !std::isnan(series.y[i]);
}

void check_line_series(const LinePlot& plot, size_t position) {
  const auto& series = plot.series[position];
  TORCH_CHECK_VALUE(series.x.size() == series.y.size(), kLinePlot, ": expected as many x as y in ",
                    series_title(plot, position), ", got ", series.x.size(), " and ",
                    series.y.size());
  const auto check = [&](const char* axis, const std::vector<double>& values, bool log) {
    for (size_t i = 0; i < values.size(); ++i) {
      TORCH_CHECK_VALUE(!std::isinf(values[i]), kLinePlot, ": expected finite numbers or NaN in ",
                        series_title(plot, position), ", got ", axis, " = ", values[i], " at ", i);
      TORCH_CHECK_VALUE(!log || values[i] > 0 || !is_drawn(series, i), kLinePlot, ": expected ",
                        axis, " > 0 for a logarithmic axis in ", series_title(plot, position),
                        ", got ", values[i], " at ", i);
    }
  };
  check("x", series.x, plot.options.log_x);
  check("y", series.y, plot.options.log_y);
}

void check_line_plot(const LinePlot& plot) {
  const auto& options = plot.options;
  TORCH_CHECK_VALUE(!plot.series.empty(), kLinePlot, ": expected at least one series, got none");
  TORCH_CHECK_VALUE(plot.series.size() <= kMostSeries, kLinePlot, ": expected at most ",
                    kMostSeries, " series, got ", plot.series.size());
  const auto check_side = [](const char* what, double least, double side) {
    TORCH_CHECK_VALUE(side >= least && side <= 4096, kLinePlot, ": expected ", what, " in [", least,
                      ", 4096], got ", side);
  };
  check_side("width", 160, options.width);
  check_side("height", 120, options.height);
  const auto check_end = [&](const char* what, const std::optional<double>& end) {
    TORCH_CHECK_VALUE(!end || std::isfinite(*end), kLinePlot, ": expected a finite ", what,
                      ", got ", *end);
    TORCH_CHECK_VALUE(!end || !options.log_y || *end > 0, kLinePlot, ": expected ", what,
                      " > 0 for a logarithmic axis, got ", *end);
  };
  check_end("y_minimum", options.y_minimum);
  check_end("y_maximum", options.y_maximum);
  TORCH_CHECK_VALUE(
      !options.y_minimum || !options.y_maximum || *options.y_minimum < *options.y_maximum,
      kLinePlot, ": expected y_minimum < y_maximum, got ", *options.y_minimum, " and ",
      *options.y_maximum);
  for (size_t i = 0; i < plot.series.size(); ++i) check_line_series(plot, i);
}

void check_range(const char* axis, const PlotRange& range, bool log) {
  TORCH_CHECK_VALUE(std::isfinite(range.maximum - range.minimum) && (!log || range.minimum > 0),
                    kLinePlot, ": expected ", axis, " with a finite range, got ", range.minimum,
                    " to ", range.maximum);
}

// ---- Ranges -------------------------------------------------------------------------------------

// The range of what is drawn; some range where nothing is. One value alone is in the middle.
PlotRange data_range(const LinePlot& plot, std::vector<double> LineSeries::*values, bool log) {
  constexpr double kNarrowest = 1e-12;  // of the numbers; below that there are no ticks
  PlotRange range{std::numeric_limits<double>::infinity(),
                  -std::numeric_limits<double>::infinity()};
  for (const auto& series : plot.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!is_drawn(series, i)) continue;
      range.minimum = std::min(range.minimum, (series.*values)[i]);
      range.maximum = std::max(range.maximum, (series.*values)[i]);
    }
  }
  if (range.minimum > range.maximum) return log ? PlotRange{1, 10} : PlotRange{0, 1};
  const double largest = std::max(std::abs(range.minimum), std::abs(range.maximum));
  if (range.maximum - range.minimum > kNarrowest * largest) return range;
  if (log) return {range.minimum / 2, range.maximum * 2};
  const double space = largest == 0 ? 0.5 : largest / 2;
  return {range.minimum - space, range.maximum + space};
}

double power_of_ten(double value) { return std::floor(std::log10(value) + 1e-9); }

// Outwards to 1, 2 or 5 times a power of ten.
PlotRange rounded_log_range(const PlotRange& range) {
  constexpr double kSlack = 1e-9;  // numbers are not exactly what they round to
  const double low = std::pow(10, power_of_ten(range.minimum));
  const double high = std::pow(10, power_of_ten(range.maximum));
  PlotRange rounded{low, high * 10};
  for (const double factor : {2.0, 5.0}) {
    if (factor * low <= range.minimum * (1 + kSlack)) rounded.minimum = factor * low;
  }
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * high >= range.maximum * (1 - kSlack)) rounded.maximum = factor * high;
  }
  return rounded;
}

// Outwards to the next ticks.
PlotRange rounded_linear_range(const PlotRange& range, int64_t most_ticks) {
  constexpr double kSlack = 1e-6;  // of the distance of two ticks
  PlotRange rounded = range;
  // The longer the axis, the further apart its ticks: once more, until they agree.
  for (int i = 0; i < 3; ++i) {
    const auto ticks = detail::make_ticks({rounded.minimum, rounded.maximum}, most_ticks);
    const double step = ticks.size() < 2 ? 0 : ticks[1].value - ticks[0].value;
    if (!(step > 0)) return range;
    // + 0.0: no negative zero.
    rounded = {std::floor(range.minimum / step + kSlack) * step + 0.0,
               std::ceil(range.maximum / step - kSlack) * step + 0.0};
    if (!std::isfinite(rounded.maximum - rounded.minimum)) return range;
  }
  return rounded;
}

// The end that is free where the data is all beyond the one that is not.
double free_end(double fixed, bool log, double direction) {
  if (log) return direction > 0 ? fixed * 10 : fixed / 10;
  return fixed + direction * (fixed == 0 ? 1 : std::abs(fixed));
}

PlotRange y_range_of(const LinePlot& plot, int64_t most_ticks) {
  const auto& options = plot.options;
  auto range = data_range(plot, &LineSeries::y, options.log_y);
  range.minimum = options.y_minimum.value_or(range.minimum);
  range.maximum = options.y_maximum.value_or(range.maximum);
  if (range.maximum <= range.minimum) {
    if (options.y_minimum) {
      range.maximum = free_end(range.minimum, options.log_y, 1);
    } else {
      range.minimum = free_end(range.maximum, options.log_y, -1);
    }
  }
  check_range("y", range, options.log_y);
  const auto rounded =
      options.log_y ? rounded_log_range(range) : rounded_linear_range(range, most_ticks);
  if (!options.y_minimum && (!options.log_y || rounded.minimum > 0)) {
    range.minimum = rounded.minimum;
  }
  if (!options.y_maximum && std::isfinite(rounded.maximum)) range.maximum = rounded.maximum;
  check_range("y", range, options.log_y);
  return range;
}

// ---- Ticks --------------------------------------------------------------------------------------

// The texts of make_ticks, but for very large and very small numbers, which share an exponent.
std::vector<Tick> linear_ticks(const PlotRange& range, int64_t most_ticks) {
  auto ticks = detail::make_ticks({range.minimum, range.maximum}, most_ticks);
  const double step = ticks.size() < 2 ? 0 : ticks[1].value - ticks[0].value;
  const double largest = std::max(std::abs(range.minimum), std::abs(range.maximum));
  if (!(step > 0) || (largest < 1e6 && step > 0.99e-5)) return ticks;
  const int exponent = static_cast<int>(power_of_ten(largest));
  const int step_exponent = static_cast<int>(power_of_ten(step));
  const int digits = std::max(exponent - step_exponent, 0);
  for (auto& tick : ticks) {
    if (digits > 3 && exponent > -5 && exponent < 15) {  // neighbours differ in their last digits
      tick.text = fmt::format("{:.{}f}", tick.value, std::max(-step_exponent, 0));
    } else if (digits > 3) {
      tick.text = fmt::format("{:.15g}", tick.value);
    } else {
      tick.text = tick.value == 0 ? "0"
                                  : fmt::format("{:.{}f}e{}", tick.value / std::pow(10, exponent),
                                                digits, exponent);
    }
  }
  return ticks;
}

// 1, 2 and 5 times the powers of ten where they are not too many, else powers of ten alone, else
// only some of these.
std::vector<Tick> log_ticks(const PlotRange& range, int64_t most_ticks) {
  constexpr double kSlack = 1e-9;
  const double first = power_of_ten(range.minimum), last = power_of_ten(range.maximum);
  const auto make = [&](std::initializer_list<double> factors, double step) {
    std::vector<Tick> ticks;
    for (double power = std::ceil(first / step) * step; power <= last; power += step) {
      for (const double factor : factors) {
        const double value = factor * std::pow(10, power);
        if (value < range.minimum * (1 - kSlack) || value > range.maximum * (1 + kSlack)) continue;
        const bool is_short = power >= -4 && power < 6;
        ticks.push_back({value, is_short ? fmt::format("{:.6g}", value)
                                         : fmt::format("{}e{}", factor, power + 0.0)});
      }
    }
    return ticks;
  };
  const auto is_few = [&](const auto& ticks) {
    return static_cast<int64_t>(ticks.size()) <= most_ticks;
  };
  auto ticks = make({1, 2, 5}, 1);
  if (ticks.size() < 2) return linear_ticks(range, most_ticks);  // less than a factor of 2.5
  if (is_few(ticks)) return ticks;
  const auto steps = static_cast<int64_t>(last - first) + 1;
  for (int64_t step = 1; step <= steps; step = detail::round_step(step + 1)) {
    ticks = make({1}, static_cast<double>(step));
    if (is_few(ticks)) break;
  }
  return ticks;
}

std::vector<Tick> plot_ticks(const PlotRange& range, bool log, int64_t most_ticks) {
  return log ? log_ticks(range, most_ticks) : linear_ticks(range, most_ticks);
}

double share_of(double value, const PlotRange& range, bool log) {
  if (!log) return (value - range.minimum) / (range.maximum - range.minimum);
  const double start = std::log10(range.minimum);
  return (std::log10(value) - start) / (std::log10(range.maximum) - start);
}

// As many ticks as have room for their texts beside each other.
std::vector<Tick> x_ticks_of(const LinePlotLayout& layout, const FontBook& fonts) {
  std::vector<Tick> ticks;
  const auto fit = [&] {
    for (size_t i = 1; i < ticks.size(); ++i) {
      const double distance =
          layout.pixel_of(ticks[i].value, 1).x - layout.pixel_of(ticks[i - 1].value, 1).x;
      const double width = (fonts.width(ticks[i].text, detail::kTickStyle) +
                            fonts.width(ticks[i - 1].text, detail::kTickStyle)) /
                           2;
      if (width + kTickRoom > distance) return false;
    }
    return true;
  };
  const auto most = std::clamp<int64_t>(static_cast<int64_t>(layout.plot_width / 70), 2, 12);
  for (int64_t count = most; count >= 2; --count) {
    ticks = plot_ticks(layout.x_range, layout.log_x, count);
    if (fit()) return ticks;
  }
  ticks.resize(std::min<size_t>(ticks.size(), 1));
  return ticks;
}

// ---- Plan ---------------------------------------------------------------------------------------

struct LinePlotPlan {
  LinePlotLayout layout;
  std::string title, x_label, y_label;  // shortened to fit
  std::vector<Tick> x_ticks, y_ticks;
  double y_ticks_width = 0;
  std::vector<std::string> names;  // of the legend; empty = no legend
  Point legend;                    // its top left corner
};

std::vector<std::string> legend_names(const LinePlot& plot, const FontBook& fonts) {
  std::vector<std::string> names;
  bool has_name = false;
  for (const auto& series : plot.series) {
    names.push_back(fonts.fitted(series.name, detail::kTickStyle, kLongestName));
    has_name |= !series.name.empty();
  }
  return has_name ? names : std::vector<std::string>{};
}

LinePlotPlan plan_line_plot(const LinePlot& plot, const FontBook& fonts) {
  check_line_plot(plot);
  const auto& options = plot.options;
  const auto widest_text = [&](const auto& texts, const auto& text_of) {
    double width = 0;
    for (const auto& text : texts) {
      width = std::max(width, fonts.width(text_of(text), detail::kTickStyle));
    }
    return width;
  };

  LinePlotPlan plan;
  auto& layout = plan.layout;
  layout.plot_width = std::round(options.width);
  layout.plot_height = std::round(options.height);
  layout.log_x = options.log_x;
  layout.log_y = options.log_y;
  layout.x_range = data_range(plot, &LineSeries::x, options.log_x);
  check_range("x", layout.x_range, options.log_x);
  const auto most_y_ticks =
      std::clamp<int64_t>(static_cast<int64_t>(layout.plot_height / 45), 3, 12);
  layout.y_range = y_range_of(plot, most_y_ticks);
  plan.y_ticks = plot_ticks(layout.y_range, layout.log_y, most_y_ticks);
  plan.x_ticks = x_ticks_of(layout, fonts);
  plan.x_label = fonts.fitted(options.x_label, detail::kAxisStyle, layout.plot_width);
  plan.y_label = fonts.fitted(options.y_label, detail::kAxisStyle, layout.plot_height);
  plan.names = legend_names(plot, fonts);

  // Half of a tick's text may be beyond the end of its axis.
  constexpr double kTickSpace = detail::kTickLength + detail::kTickGap;
  const double overhang = widest_text(plan.x_ticks, [](const Tick& t) { return t.text; }) / 2;
  plan.y_ticks_width = widest_text(plan.y_ticks, [](const Tick& t) { return t.text; });
  const double left =
      plan.y_ticks_width + kTickSpace + (plan.y_label.empty() ? 0 : detail::kAxisLine);
  const double title_height = options.title.empty() ? 0 : detail::kTitleLine + kTitleSpace;
  layout.plot_x = std::ceil(detail::kMargin + std::max(left, overhang));
  layout.plot_y = std::ceil(detail::kMargin + title_height + detail::kTickStyle.size / 2);

  const double plot_right = layout.plot_x + layout.plot_width;
  double right = plot_right + overhang;
  double bottom = layout.plot_y + layout.plot_height + kTickSpace + detail::kTickStyle.size +
                  (plan.x_label.empty() ? 0 : detail::kAxisLine);
  if (!plan.names.empty()) {
    plan.legend = {plot_right + std::max(kLegendGap, overhang + kTickRoom), layout.plot_y};
    right = plan.legend.x + kLegendSample + kLegendSampleGap +
            widest_text(plan.names, [](const std::string& name) { return name; });
    bottom = std::max(bottom, plan.legend.y + kLegendLine * static_cast<double>(plan.names.size()));
  }
  const double title_room = std::max(right - detail::kMargin, kNarrowestPlotTitle);
  plan.title = fonts.fitted(options.title, detail::kTitleStyle, title_room);
  right = std::max(right, detail::kMargin + fonts.width(plan.title, detail::kTitleStyle));
  layout.width = std::ceil(right + detail::kMargin);
  layout.height = std::ceil(bottom + detail::kMargin);
  return plan;
}

// ---- Lines --------------------------------------------------------------------------------------

Rect plot_area(const LinePlotLayout& layout) {
  return {layout.plot_x, layout.plot_y, layout.plot_width, layout.plot_height};
}

Point point_of(const LineSeries& series, size_t i, const LinePlotLayout& layout) {
  constexpr double kFar = 1e9;  // as good as infinitely far away, and safe to calculate with
  const auto pixel = layout.pixel_of(series.x[i], series.y[i]);
  return {std::clamp(pixel.x, -kFar, kFar), std::clamp(pixel.y, -kFar, kFar)};
}

// The part of a segment that is inside a rectangle.
struct ClippedSegment {
  Point from, to;
  bool has_end = false;  // whether `to` is the end of the whole segment
};

// Source: Y.-D. Liang and B. A. Barsky, 1984, A New Concept and Method for Line Clipping.
std::optional<ClippedSegment> clipped(Point from, Point to, const Rect& area) {
  const double dx = to.x - from.x, dy = to.y - from.y;
  // The point at a share t of the segment is inside an edge where t * step <= room.
  struct Edge {
    double step = 0, room = 0;
  };
  const std::array<Edge, 4> edges{{{-dx, from.x - area.x},
                                   {dx, area.x + area.width - from.x},
                                   {-dy, from.y - area.y},
                                   {dy, area.y + area.height - from.y}}};
  double enter = 0, leave = 1;
  for (const auto& edge : edges) {
    if (edge.step == 0 && edge.room < 0) return std::nullopt;
    if (edge.step < 0) enter = std::max(enter, edge.room / edge.step);
    if (edge.step > 0) leave = std::min(leave, edge.room / edge.step);
  }
  if (enter > leave) return std::nullopt;
  return ClippedSegment{{from.x + enter * dx, from.y + enter * dy},
                        {from.x + leave * dx, from.y + leave * dy},
                        leave == 1};
}

// The lines of a series, broken at NaN and where they leave the area.
std::vector<std::vector<Point>> line_paths(const LineSeries& series, const LinePlotLayout& layout) {
  std::vector<std::vector<Point>> paths;
  bool is_open = false;
  std::optional<Point> last;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!is_drawn(series, i)) {
      is_open = false;
      last.reset();
      continue;
    }
    const auto at = point_of(series, i, layout);
    if (last) {
      const auto part = clipped(*last, at, plot_area(layout));
      if (part && !is_open) paths.push_back({part->from});
      if (part) paths.back().push_back(part->to);
      is_open = part && part->has_end;
    }
    last = at;
  }
  return paths;
}

std::vector<Point> marker_outline(const Marker& marker, Point center) {
  const int steps = marker.inner_radius > 0 ? 2 * marker.corners : marker.corners;
  std::vector<Point> outline;
  for (int i = 0; i < steps; ++i) {
    const double angle = (marker.degrees + 360.0 * i / steps) * std::numbers::pi / 180;
    const double radius =
        marker.inner_radius > 0 && i % 2 == 1 ? marker.inner_radius : marker.radius;
    outline.push_back({center.x + radius * std::cos(angle), center.y + radius * std::sin(angle)});
  }
  return outline;
}

bool is_inside(Point point, const Rect& area) {
  constexpr double kSlack = 0.01;  // px, for ends that were rounded
  return point.x >= area.x - kSlack && point.x <= area.x + area.width + kSlack &&
         point.y >= area.y - kSlack && point.y <= area.y + area.height + kSlack;
}

// The points to mark. One between two NaN has no line and would not be seen without a mark.
std::vector<Point> marked_points(const LineSeries& series, const LinePlotLayout& layout) {
  const bool marks_all = series.x.size() <= kMostMarkedPoints;
  std::vector<Point> points;
  std::optional<Point> last;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!is_drawn(series, i)) {
      last.reset();
      continue;
    }
    const auto at = point_of(series, i, layout);
    if (!is_inside(at, plot_area(layout))) continue;
    if (!marks_all && last && std::abs(at.x - last->x) < kMarkerDistance) continue;
    points.push_back(at);
    last = at;
  }
  return points;
}

Stroke line_stroke(const LinePlot& plot, size_t position) {
  // Dashes of different lengths, so that dashed lines differ without colours as well.
  static const std::array<std::vector<double>, 3> kDashes{{{7, 4}, {2.5, 3}, {10, 3, 2.5, 3}}};
  return {
      line_color(position), kLineWidth,
      plot.series[position].dashed ? kDashes[position % kDashes.size()] : std::vector<double>{}};
}

// ---- Drawing ------------------------------------------------------------------------------------

// Lines on whole pixels of a PNG picture are sharp.
double sharp(double at) { return std::round(at * kPngScale) / kPngScale; }

double text_baseline(double middle, const TextStyle& style) { return middle + 0.36 * style.size; }

void draw_axes(Canvas& canvas, const LinePlotPlan& plan) {
  const auto& layout = plan.layout;
  const auto area = plot_area(layout);
  const double right = area.x + area.width, bottom = area.y + area.height;
  const auto& style = detail::kTickStyle;
  for (const auto& tick : plan.x_ticks) {
    const double x = sharp(layout.pixel_of(tick.value, layout.y_range.minimum).x);
    canvas.line({x, area.y}, {x, bottom}, kGridColor);
    canvas.line({x, bottom}, {x, bottom + detail::kTickLength}, kAxisColor);
    canvas.text(tick.text, {x, bottom + detail::kTickLength + detail::kTickGap + 0.76 * style.size},
                Anchor::kMiddle, style);
  }
  for (const auto& tick : plan.y_ticks) {
    const double y = sharp(layout.pixel_of(layout.x_range.minimum, tick.value).y);
    canvas.line({area.x, y}, {right, y}, kGridColor);
    canvas.line({area.x - detail::kTickLength, y}, {area.x, y}, kAxisColor);
    canvas.text(tick.text,
                {area.x - detail::kTickLength - detail::kTickGap, text_baseline(y, style)},
                Anchor::kEnd, style);
  }
  canvas.line({area.x, area.y}, {area.x, bottom}, kAxisColor);
  canvas.line({area.x, bottom}, {right, bottom}, kAxisColor);
}

void draw_texts(Canvas& canvas, const LinePlotPlan& plan) {
  const auto area = plot_area(plan.layout);
  constexpr double kTickSpace = detail::kTickLength + detail::kTickGap;
  if (!plan.title.empty()) {
    canvas.text(plan.title, {detail::kMargin, detail::kMargin + detail::kTitleStyle.size * 0.85},
                Anchor::kStart, detail::kTitleStyle);
  }
  if (!plan.x_label.empty()) {
    canvas.text(plan.x_label,
                {area.x + area.width / 2, area.y + area.height + kTickSpace +
                                              detail::kTickStyle.size + detail::kAxisLine - 5},
                Anchor::kMiddle, detail::kAxisStyle);
  }
  if (!plan.y_label.empty()) {
    canvas.text(plan.y_label,
                {area.x - kTickSpace - plan.y_ticks_width - 8, area.y + area.height / 2},
                Anchor::kMiddle, detail::kAxisStyle, -90);
  }
}

void draw_lines(Canvas& canvas, const LinePlot& plot, const LinePlotLayout& layout) {
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const auto stroke = line_stroke(plot, i);
    for (const auto& path : line_paths(plot.series[i], layout)) canvas.polyline(path, stroke);
    for (const auto& point : marked_points(plot.series[i], layout)) {
      canvas.polygon(marker_outline(kMarkers[i % kMarkers.size()], point), stroke.color);
    }
  }
}

void draw_legend(Canvas& canvas, const LinePlot& plot, const LinePlotPlan& plan) {
  for (size_t i = 0; i < plan.names.size(); ++i) {
    const double x = plan.legend.x;
    const double y = plan.legend.y + kLegendLine * (static_cast<double>(i) + 0.5);
    canvas.polyline({{x, y}, {x + kLegendSample, y}}, line_stroke(plot, i));
    canvas.polygon(marker_outline(kMarkers[i % kMarkers.size()], {x + kLegendSample / 2, y}),
                   line_color(i));
    canvas.text(plan.names[i],
                {x + kLegendSample + kLegendSampleGap, text_baseline(y, detail::kTickStyle)},
                Anchor::kStart, detail::kTickStyle);
  }
}

// Last, so that nothing is in front of them.
void draw_tooltips(Canvas& canvas, const LinePlot& plot, const LinePlotLayout& layout) {
  size_t count = 0;
  for (const auto& series : plot.series) count += series.x.size();
  if (count > kMostTooltips) return;
  for (const auto& series : plot.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!is_drawn(series, i)) continue;
      const auto at = point_of(series, i, layout);
      if (!is_inside(at, plot_area(layout))) continue;
      const auto numbers = fmt::format("{:.6g}, {:.6g}", series.x[i], series.y[i]);
      canvas.hover(at, kTooltipRadius,
                   series.name.empty() ? numbers : fmt::format("{}: {}", series.name, numbers));
    }
  }
}

void draw_line_plot(Canvas& canvas, const LinePlot& plot, const LinePlotPlan& plan) {
  draw_axes(canvas, plan);
  draw_texts(canvas, plan);
  draw_lines(canvas, plot, plan.layout);
  draw_legend(canvas, plot, plan);
  draw_tooltips(canvas, plot, plan.layout);
}

}  // namespace

Rgb line_color(size_t position) { return kLineColors[position % kLineColors.size()]; }

LinePlotLayout::Pixel LinePlotLayout::pixel_of(double x, double y) const {
  return {plot_x + share_of(x, x_range, log_x) * plot_width,
          plot_y + (1 - share_of(y, y_range, log_y)) * plot_height};
}

std::string line_plot_png(const LinePlot& plot) {
  const FontBook fonts;
  const auto plan = plan_line_plot(plot, fonts);
  const auto canvas =
      detail::make_png_canvas(plan.layout.width, plan.layout.height, kPngScale, fonts);
  draw_line_plot(*canvas, plot, plan);
  return canvas->finish();
}

std::string line_plot_svg(const LinePlot& plot) {
  const FontBook fonts;
  const auto plan = plan_line_plot(plot, fonts);
  const auto canvas =
      detail::make_svg_canvas(plan.layout.width, plan.layout.height, plot.options.title);
  draw_line_plot(*canvas, plot, plan);
  return canvas->finish();
}

namespace {

// Plots side by side in columns as wide, and rows as high, as what is in them.
struct GridPlan {
  std::vector<LinePlotPlan> plots;
  std::vector<Point> origins;
  double width = 0, height = 0;
};

GridPlan plan_grid(const LinePlotGrid& grid, const FontBook& fonts) {
  TORCH_CHECK_VALUE(!grid.plots.empty(), "LinePlotGrid: expected plots, got none");
  detail::check_positive("LinePlotGrid", "columns", grid.columns);
  const auto columns = std::min(static_cast<size_t>(grid.columns), grid.plots.size());
  GridPlan plan;
  std::vector<double> widths(columns, 0.0), heights;
  for (size_t i = 0; i < grid.plots.size(); ++i) {
    const auto& layout = plan.plots.emplace_back(plan_line_plot(grid.plots[i], fonts)).layout;
    widths[i % columns] = std::max(widths[i % columns], layout.width);
    if (i % columns == 0) heights.push_back(0.0);
    heights.back() = std::max(heights.back(), layout.height);
  }
  for (size_t i = 0; i < grid.plots.size(); ++i) {
    const auto sum = [](const std::vector<double>& sizes, size_t count) {
      return std::accumulate(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(count),
                             0.0);
    };
    plan.origins.push_back({sum(widths, i % columns), sum(heights, i / columns)});
  }
  plan.width = std::accumulate(widths.begin(), widths.end(), 0.0);
  plan.height = std::accumulate(heights.begin(), heights.end(), 0.0);
  return plan;
}

std::string draw_grid(Canvas& canvas, const LinePlotGrid& grid, const GridPlan& plan) {
  for (size_t i = 0; i < grid.plots.size(); ++i) {
    canvas.set_origin(plan.origins[i]);
    draw_line_plot(canvas, grid.plots[i], plan.plots[i]);
  }
  return canvas.finish();
}

}  // namespace

std::string line_plot_png(const LinePlotGrid& grid) {
  const FontBook fonts;
  const auto plan = plan_grid(grid, fonts);
  return draw_grid(*detail::make_png_canvas(plan.width, plan.height, kPngScale, fonts), grid, plan);
}

std::string line_plot_svg(const LinePlotGrid& grid) {
  const FontBook fonts;
  const auto plan = plan_grid(grid, fonts);
  return draw_grid(*detail::make_svg_canvas(plan.width, plan.height, {}), grid, plan);
}

void write_png(const std::filesystem::path& path, const LinePlotGrid& grid) {
  detail::write_file_atomically(path, line_plot_png(grid));
}
void write_svg(const std::filesystem::path& path, const LinePlotGrid& grid) {
  detail::write_file_atomically(path, line_plot_svg(grid));
}

void write_png(const std::filesystem::path& path, const LinePlot& plot) {
  detail::write_file_atomically(path, line_plot_png(plot));
}
void write_svg(const std::filesystem::path& path, const LinePlot& plot) {
  detail::write_file_atomically(path, line_plot_svg(plot));
}

LinePlotLayout line_plot_layout(const LinePlot& plot) {
  const FontBook fonts;
  return plan_line_plot(plot, fonts).layout;
}

}  // namespace attend
