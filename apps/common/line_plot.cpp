#include "common/line_plot.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <utility>

#include "attend/viz/heatmap.h"
#include "viz/canvas.h"
#include "viz/style.h"
#include "viz/ticks.h"

namespace attend::app {
namespace {

using detail::Anchor;
using detail::Canvas;
using detail::FontBook;
using detail::Point;
using detail::Rect;
using detail::Stroke;
using detail::TextStyle;
using detail::Tick;

// Source: M. Okabe and K. Ito, 2008, Color Universal Design (jfly.uni-koeln.de/color), without the
//         yellow, which is too light for a line on white.
constexpr auto kLineColors = std::to_array<Rgb>({
    {0x00, 0x72, 0xB2},  // blue
    {0xD5, 0x5E, 0x00},  // vermillion
    {0x00, 0x9E, 0x73},  // bluish green
    {0xCC, 0x79, 0xA7},  // reddish purple
    {0xE6, 0x9F, 0x00},  // orange
    {0x56, 0xB4, 0xE9},  // sky blue
    {0x00, 0x00, 0x00},
});

// A polygon around a point.
struct Marker {
  int corners = 0;
  double radius = 0;   // px
  double degrees = 0;  // where the first corner is, clockwise from the right
};
constexpr auto kMarkers = std::to_array<Marker>({
    {16, 3.5, 0},  // practically a circle
    {4, 4.5, 45},
    {3, 5, -90},
    {4, 5, 0},
    {3, 5, 90},
    {6, 4.5, 0},
});
static_assert(std::gcd(kLineColors.size(), kMarkers.size()) == 1, "42 series look different");

constexpr Rgb kGridColor{0xE4, 0xE7, 0xEB};
constexpr Rgb kAxisColor{0x8C, 0x95, 0x9F};
constexpr double kPlotWidth = 640;  // length of the x axis in px
constexpr double kLineWidth = 2;
constexpr size_t kMostMarkedPoints = 32;  // a series with more points marks only some
constexpr double kMarkerDistance = 28;
constexpr double kTitleSpace = 10;  // below the title
constexpr double kTickSpace = detail::kTickLength + detail::kTickGap;
constexpr double kLegendGap = 20;
constexpr double kLegendLine = 20;
constexpr double kLegendSample = 28;  // length of the line sample beside a name
constexpr double kLegendSampleGap = 8;

void check(const LinePlot& plot) {
  for (const auto& series : plot.series) {
    TORCH_CHECK_VALUE(series.x.size() == series.y.size(), "LinePlot: expected as many x as y in \"",
                      series.name, "\", got ", series.x.size(), " and ", series.y.size());
    for (size_t i = 0; i < series.x.size(); ++i) {
      TORCH_CHECK_VALUE(std::isfinite(series.x[i]) && std::isfinite(series.y[i]),
                        "LinePlot: expected finite numbers in \"", series.name, "\", got (",
                        series.x[i], ", ", series.y[i], ")");
      TORCH_CHECK_VALUE((!plot.log_x || series.x[i] > 0) && (!plot.log_y || series.y[i] > 0),
                        "LinePlot: expected numbers > 0 for a logarithmic axis in \"", series.name,
                        "\", got (", series.x[i], ", ", series.y[i], ")");
    }
  }
}

// ---- Axes ---------------------------------------------------------------------------------------

struct Axis {
  double minimum = 0, maximum = 1;
  bool is_log = false;

  // The position of a value on the axis, from 0 to 1.
  double share(double value) const {
    if (!is_log) return (value - minimum) / (maximum - minimum);
    return std::log(value / minimum) / std::log(maximum / minimum);
  }
};

// An axis from the smallest to the largest number; a single number is placed in the middle.
Axis data_axis(const LinePlot& plot, std::vector<double> LineSeries::*numbers, bool is_log) {
  constexpr double kNarrowest = 1e-12;  // relative range; a smaller one has no ticks
  Axis axis{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
            is_log};
  for (const auto& series : plot.series) {
    for (const double number : series.*numbers) {
      axis.minimum = std::min(axis.minimum, number);
      axis.maximum = std::max(axis.maximum, number);
    }
  }
  if (axis.minimum > axis.maximum) return {is_log ? 1.0 : 0.0, is_log ? 10.0 : 1.0, is_log};
  const double largest = std::max(std::abs(axis.minimum), std::abs(axis.maximum));
  if (axis.maximum - axis.minimum > kNarrowest * largest) return axis;
  if (is_log) return {axis.minimum / 2, axis.maximum * 2, true};
  const double space = largest == 0 ? 0.5 : largest / 2;
  return {axis.minimum - space, axis.maximum + space};
}

// 1, 2 and 5 times the powers of ten from below a logarithmic axis to above it.
std::vector<double> round_numbers(const Axis& axis) {
  std::vector<double> numbers;
  const double last = std::floor(std::log10(axis.maximum)) + 1;
  for (double power = std::floor(std::log10(axis.minimum)); power <= last; ++power) {
    for (const double factor : {1, 2, 5}) numbers.push_back(factor * std::pow(10, power));
  }
  return numbers;
}

std::vector<Tick> ticks_of(const Axis& axis, int64_t most) {
  if (!axis.is_log) return detail::make_ticks(axis.minimum, axis.maximum, most);
  std::vector<Tick> ticks;
  for (const double number : round_numbers(axis)) {
    if (number < axis.minimum || number > axis.maximum) continue;
    ticks.push_back({number, fmt::format("{:.6g}", number)});
  }
  return ticks;
}

// Extends the axis to the next ticks on both sides.
Axis rounded(const Axis& axis, int64_t most_ticks) {
  Axis result = axis;
  if (axis.is_log) {
    for (const double number : round_numbers(axis)) {
      if (number <= axis.minimum) result.minimum = number;
      if (number < axis.maximum) continue;
      result.maximum = number;
      break;
    }
    return result;
  }
  constexpr double kSlack = 1e-6;  // in tick distances
  // A longer axis may need a larger tick distance, so repeat until both agree.
  for (int i = 0; i < 3; ++i) {
    const auto ticks = ticks_of(result, most_ticks);
    const double step = ticks.size() < 2 ? 0 : ticks[1].value - ticks[0].value;
    if (!(step > 0)) return axis;
    // + 0.0: no negative zero.
    result.minimum = std::floor(axis.minimum / step + kSlack) * step + 0.0;
    result.maximum = std::ceil(axis.maximum / step - kSlack) * step + 0.0;
  }
  return result;
}

// ---- Plan ---------------------------------------------------------------------------------------

// The layout of a plot.
struct Plan {
  Point origin;  // the top left corner
  double width = 0, height = 0;
  Rect area;  // between the axes
  Axis x, y;
  std::vector<Tick> x_ticks, y_ticks;
  double y_ticks_width = 0;
  bool has_legend = false;
  Point legend;  // its top left corner

  Point at(double x_value, double y_value) const {
    return {area.x + x.share(x_value) * area.width, area.y + (1 - y.share(y_value)) * area.height};
  }
};

double widest(const std::vector<Tick>& ticks, const FontBook& fonts) {
  double width = 0;
  for (const auto& tick : ticks)
    width = std::max(width, fonts.width(tick.text, detail::kTickStyle));
  return width;
}

Plan plan_at(Point origin, const LinePlot& plot, const FontBook& fonts) {
  check(plot);
  Plan plan;
  plan.origin = origin;
  plan.x = data_axis(plot, &LineSeries::x, plot.log_x);
  plan.x_ticks = ticks_of(plan.x, static_cast<int64_t>(kPlotWidth / 70));
  const auto most_y_ticks = std::max<int64_t>(static_cast<int64_t>(plot.height / 45), 3);
  plan.y = data_axis(plot, &LineSeries::y, plot.log_y);
  if (plot.from_zero) plan.y.minimum = std::min(plan.y.minimum, 0.0);
  plan.y = rounded(plan.y, most_y_ticks);
  plan.y_ticks = ticks_of(plan.y, most_y_ticks);
  plan.y_ticks_width = widest(plan.y_ticks, fonts);

  // Half of a tick's label may extend beyond the end of its axis.
  const double overhang = widest(plan.x_ticks, fonts) / 2;
  const double left =
      plan.y_ticks_width + kTickSpace + (plot.y_label.empty() ? 0 : detail::kAxisLine);
  plan.area = {std::ceil(origin.x + detail::kMargin + std::max(left, overhang)),
               std::ceil(origin.y + detail::kMargin + detail::kTitleLine + kTitleSpace +
                         detail::kTickStyle.size / 2),
               kPlotWidth, plot.height};
  double right = plan.area.x + plan.area.width + overhang;
  double bottom = plan.area.y + plan.area.height + kTickSpace + detail::kTickStyle.size +
                  (plot.x_label.empty() ? 0 : detail::kAxisLine);
  plan.has_legend =
      std::ranges::any_of(plot.series, [](const auto& series) { return !series.name.empty(); });
  if (plan.has_legend) {
    plan.legend = {right + kLegendGap, plan.area.y};
    double longest = 0;
    for (const auto& series : plot.series) {
      longest = std::max(longest, fonts.width(series.name, detail::kTickStyle));
    }
    right = plan.legend.x + kLegendSample + kLegendSampleGap + longest;
    bottom =
        std::max(bottom, plan.legend.y + kLegendLine * static_cast<double>(plot.series.size()));
  }
  right =
      std::max(right, origin.x + detail::kMargin + fonts.width(plot.title, detail::kTitleStyle));
  plan.width = std::ceil(right + detail::kMargin - origin.x);
  plan.height = std::ceil(bottom + detail::kMargin - origin.y);
  return plan;
}

// ---- Drawing ------------------------------------------------------------------------------------

// Lines at whole pixels are sharp in a PNG.
double sharp(double at) { return std::round(at * kPngScale) / kPngScale; }

double text_baseline(double middle, const TextStyle& style) { return middle + 0.36 * style.size; }

void draw_axes(Canvas& canvas, const Plan& plan) {
  const auto& area = plan.area;
  const double right = area.x + area.width, bottom = area.y + area.height;
  const auto& style = detail::kTickStyle;
  for (const auto& tick : plan.x_ticks) {
    const double x = sharp(plan.at(tick.value, plan.y.minimum).x);
    canvas.line({x, area.y}, {x, bottom}, kGridColor);
    canvas.line({x, bottom}, {x, bottom + detail::kTickLength}, kAxisColor);
    canvas.text(tick.text, {x, bottom + kTickSpace + 0.76 * style.size}, Anchor::kMiddle, style);
  }
  for (const auto& tick : plan.y_ticks) {
    const double y = sharp(plan.at(plan.x.minimum, tick.value).y);
    canvas.line({area.x, y}, {right, y}, kGridColor);
    canvas.line({area.x - detail::kTickLength, y}, {area.x, y}, kAxisColor);
    canvas.text(tick.text, {area.x - kTickSpace, text_baseline(y, style)}, Anchor::kEnd, style);
  }
  canvas.line({area.x, area.y}, {area.x, bottom}, kAxisColor);
  canvas.line({area.x, bottom}, {right, bottom}, kAxisColor);
}

void draw_texts(Canvas& canvas, const LinePlot& plot, const Plan& plan) {
  const auto& area = plan.area;
  const auto write = [&](const std::string& text, Point at, Anchor anchor, const TextStyle& style,
                         double degrees = 0) {
    if (!text.empty()) canvas.text(text, at, anchor, style, degrees);
  };
  write(plot.title,
        {plan.origin.x + detail::kMargin,
         plan.origin.y + detail::kMargin + detail::kTitleStyle.size * 0.85},
        Anchor::kStart, detail::kTitleStyle);
  write(plot.x_label,
        {area.x + area.width / 2,
         area.y + area.height + kTickSpace + detail::kTickStyle.size + detail::kAxisLine - 5},
        Anchor::kMiddle, detail::kAxisStyle);
  write(plot.y_label, {area.x - kTickSpace - plan.y_ticks_width - 8, area.y + area.height / 2},
        Anchor::kMiddle, detail::kAxisStyle, -90);
}

void draw_marker(Canvas& canvas, size_t position, Point center) {
  const auto& marker = kMarkers[position % kMarkers.size()];
  std::vector<Point> outline;
  for (int i = 0; i < marker.corners; ++i) {
    const double angle = (marker.degrees + 360.0 * i / marker.corners) * std::numbers::pi / 180;
    outline.push_back(
        {center.x + marker.radius * std::cos(angle), center.y + marker.radius * std::sin(angle)});
  }
  canvas.polygon(outline, kLineColors[position % kLineColors.size()]);
}

Stroke line_stroke(const LinePlot& plot, size_t position) {
  const auto dashes =
      plot.series[position].dashed ? std::vector<double>{7, 4} : std::vector<double>{};
  return {kLineColors[position % kLineColors.size()], kLineWidth, dashes};
}

void draw_lines(Canvas& canvas, const LinePlot& plot, const Plan& plan) {
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const auto& series = plot.series[s];
    std::vector<Point> points;
    for (size_t i = 0; i < series.x.size(); ++i)
      points.push_back(plan.at(series.x[i], series.y[i]));
    if (points.empty()) continue;
    canvas.polyline(points, line_stroke(plot, s));
    const bool marks_all = points.size() <= kMostMarkedPoints;
    std::optional<double> last;
    for (const auto& point : points) {
      if (!marks_all && last && std::abs(point.x - *last) < kMarkerDistance) continue;
      draw_marker(canvas, s, point);
      last = point.x;
    }
  }
}

void draw_legend(Canvas& canvas, const LinePlot& plot, const Plan& plan) {
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const double x = plan.legend.x;
    const double y = plan.legend.y + kLegendLine * (static_cast<double>(s) + 0.5);
    canvas.polyline({{x, y}, {x + kLegendSample, y}}, line_stroke(plot, s));
    draw_marker(canvas, s, {x + kLegendSample / 2, y});
    canvas.text(plot.series[s].name,
                {x + kLegendSample + kLegendSampleGap, text_baseline(y, detail::kTickStyle)},
                Anchor::kStart, detail::kTickStyle);
  }
}

// Lays out plots in rows of two. Both columns have the width of the widest plot.
std::vector<Plan> plan_all(const std::vector<LinePlot>& plots, const FontBook& fonts) {
  TORCH_CHECK_VALUE(!plots.empty(), "LinePlot: expected plots, got none");
  double widest_plot = 0;
  for (const auto& plot : plots) {
    widest_plot = std::max(widest_plot, plan_at({}, plot, fonts).width);
  }
  std::vector<Plan> plans;
  Point origin;
  double bottom = 0;
  for (size_t i = 0; i < plots.size(); ++i) {
    origin = i % 2 == 0 ? Point{0, bottom} : Point{widest_plot, origin.y};
    plans.push_back(plan_at(origin, plots[i], fonts));
    bottom = std::max(bottom, origin.y + plans.back().height);
  }
  return plans;
}

template <typename MakeCanvas>
std::string draw(const std::vector<LinePlot>& plots, const FontBook& fonts,
                 const MakeCanvas& make_canvas) {
  const auto plans = plan_all(plots, fonts);
  double width = 0, height = 0;
  for (const auto& plan : plans) {
    width = std::max(width, plan.origin.x + plan.width);
    height = std::max(height, plan.origin.y + plan.height);
  }
  const auto canvas = make_canvas(width, height);
  for (size_t i = 0; i < plots.size(); ++i) {
    draw_axes(*canvas, plans[i]);
    draw_texts(*canvas, plots[i], plans[i]);
    draw_lines(*canvas, plots[i], plans[i]);
    if (plans[i].has_legend) draw_legend(*canvas, plots[i], plans[i]);
  }
  return canvas->finish();
}

}  // namespace

std::string line_plots_png(const std::vector<LinePlot>& plots) {
  const FontBook fonts;
  return draw(plots, fonts, [&](double width, double height) {
    return detail::make_png_canvas(width, height, kPngScale, fonts);
  });
}

std::string line_plots_svg(const std::vector<LinePlot>& plots) {
  return draw(plots, FontBook(), [&](double width, double height) {
    return detail::make_svg_canvas(width, height, plots.size() == 1 ? plots[0].title : "");
  });
}

}  // namespace attend::app
