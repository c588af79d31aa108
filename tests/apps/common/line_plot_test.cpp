#include "common/line_plot.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "attend/viz/heatmap.h"
#include "support/tensor_assert.h"
#include "viz/pictures.h"

namespace attend::app::line_plot_test {
namespace {

using testing_support::count;
using testing_support::elements;
using testing_support::expect_white_margin;
using testing_support::hex;
using testing_support::Png;
using testing_support::SvgElement;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Pixel {
  double x = 0, y = 0;
};

// ---- Looking at pictures ------------------------------------------------------------------------

std::string svg_of(const LinePlot& plot) { return line_plots_svg({plot}); }
std::string png_of(const LinePlot& plot) { return line_plots_png({plot}); }

// The points of the lines, the legend's samples left out.
std::vector<std::vector<Pixel>> lines_of(const LinePlot& plot) {
  std::vector<std::vector<Pixel>> lines;
  for (const auto& element : elements(svg_of(plot), "polyline")) {
    lines.push_back(element.points<Pixel>());
  }
  lines.resize(std::min(lines.size(), plot.series.size()));
  return lines;
}

// The colours of the lines, as they are written in the SVG.
std::vector<std::string> colors_of(const LinePlot& plot) {
  std::vector<std::string> colors;
  for (const auto& element : elements(svg_of(plot), "polyline")) {
    colors.push_back(element.attribute("stroke"));
  }
  return colors;
}

SvgElement text_element(const std::string& svg, const std::string& text) {
  for (const auto& element : elements(svg, "text")) {
    if (element.text == text) return element;
  }
  ADD_FAILURE() << "no text " << text << " in\n" << svg;
  return {};
}

// The texts of the ticks: those of x are in the middle under them, those of y end beside them.
std::vector<std::string> ticks_of(const LinePlot& plot, const std::string& anchor) {
  std::vector<std::string> ticks;
  for (const auto& element : elements(svg_of(plot), "text")) {
    if (element.attribute("text-anchor") == anchor) ticks.push_back(element.text);
  }
  return ticks;
}

LinePlot losses() {
  return {.series =
              {{.name = "training", .x = {0, 100, 200, 400}, .y = {4.7, 3.1, 2.4, 1.9}},
               {.name = "validation", .x = {100, 200, 400}, .y = {1.0, 1.4, 0.25}, .dashed = true}},
          .title = "Loss",
          .x_label = "updates",
          .y_label = "nats"};
}

LinePlot line_through(std::vector<double> x, std::vector<double> y) {
  return {.series = {{.x = std::move(x), .y = std::move(y)}}};
}

// ---- Lines --------------------------------------------------------------------------------------

TEST(LinePlot, LinesPassThroughThePixelsOfTheirPoints) {
  const auto plot = losses();
  const Png png(png_of(plot));
  const auto lines = lines_of(plot);
  const auto colors = colors_of(plot);
  ASSERT_EQ(lines.size(), 2u);
  for (size_t s = 0; s < lines.size(); ++s) {
    ASSERT_EQ(lines[s].size(), plot.series[s].x.size());
    for (size_t i = 0; i < lines[s].size(); ++i) {
      EXPECT_EQ(hex(png.at(lines[s][i])), colors[s]) << s << ", " << i;
    }
  }
  // Between the points of the line without gaps, and beside it.
  for (size_t i = 1; i < lines[0].size(); ++i) {
    const auto a = lines[0][i - 1], b = lines[0][i];
    for (const double share : {0.25, 0.5, 0.75}) {
      const Pixel on{a.x + share * (b.x - a.x), a.y + share * (b.y - a.y)};
      EXPECT_EQ(hex(png.at(on)), colors[0]) << i << ", " << share;
      EXPECT_NE(hex(png.at(Pixel{on.x, on.y - 6})), colors[0]) << i << ", " << share;
    }
  }
}

TEST(LinePlot, ManyPointsAreOnTheLineToo) {
  LinePlot plot = line_through({}, {});
  for (int i = 0; i < 500; ++i) {
    plot.series[0].x.push_back(i);
    plot.series[0].y.push_back(std::sin(i / 40.0));
  }
  const Png png(png_of(plot));
  const auto line = lines_of(plot).at(0);
  ASSERT_EQ(line.size(), 500u);
  for (size_t i = 0; i < 499; ++i) {  // the line ends in the middle of its last pixel
    EXPECT_EQ(hex(png.at(line[i])), colors_of(plot)[0]) << i;
  }
}

TEST(LinePlot, OnlyDashedLinesHaveDashes) {
  const auto lines = elements(svg_of(losses()), "polyline");
  ASSERT_EQ(lines.size(), 4u);  // and those in the legend
  for (size_t s = 0; s < 2; ++s) {
    EXPECT_EQ(lines[s].attribute("stroke-dasharray").empty(), s == 0);
    EXPECT_EQ(lines[s].attribute("stroke-dasharray"), lines[s + 2].attribute("stroke-dasharray"));
    EXPECT_EQ(lines[s].attribute("stroke"), lines[s + 2].attribute("stroke"));
  }
}

TEST(LinePlot, NoTwoSeriesLookTheSame) {
  LinePlot plot;
  for (int i = 0; i < 42; ++i) {
    plot.series.push_back({.name = std::to_string(i), .x = {0, 1}, .y = {i * 1.0, i * 1.0}});
  }
  const auto marks = elements(svg_of(plot), "polygon");
  ASSERT_EQ(marks.size(), 3u * 42);  // two of each line and one in the legend
  std::set<std::string> looks;
  for (size_t i = 0; i < 42; ++i) {
    std::ostringstream look;  // the colour, and the shape without its place
    look << marks[2 * i].attribute("fill");
    const auto points = marks[2 * i].points<Pixel>();
    for (const auto& point : points) {
      look << " " << std::lround(point.x - points[0].x) << ","
           << std::lround(point.y - points[0].y);
    }
    looks.insert(look.str());
  }
  EXPECT_EQ(looks.size(), 42u);
}

TEST(LinePlot, OnlySomeOfManyPointsAreMarked) {
  const auto marks = [](int points) {
    LinePlot plot = line_through({}, {});
    for (int i = 0; i < points; ++i) {
      plot.series[0].x.push_back(i);
      plot.series[0].y.push_back(i);
    }
    return elements(svg_of(plot), "polygon").size();
  };
  EXPECT_EQ(marks(32), 32u);
  EXPECT_EQ(marks(641), 23u);  // one px apart: 0, 28, 56, ..., 616
}

// ---- Axes ---------------------------------------------------------------------------------------

TEST(LinePlot, PointsStandAtTheTicksOfTheirNumbers) {
  const auto plot = losses();
  const auto svg = svg_of(plot);
  const auto lines = lines_of(plot);
  for (size_t s = 0; s < lines.size(); ++s) {
    for (size_t i = 0; i < lines[s].size(); ++i) {
      const auto tick = text_element(svg, std::to_string(static_cast<int>(plot.series[s].x[i])));
      EXPECT_NEAR(lines[s][i].x, tick.number("x"), 0.3) << s << ", " << i;
    }
  }
  // Between the ticks of y, in proportion.
  const double zero = text_element(svg, "5").number("y"),
               step = text_element(svg, "4").number("y") - zero;
  EXPECT_GT(step, 0);
  for (size_t s = 0; s < lines.size(); ++s) {
    for (size_t i = 1; i < lines[s].size(); ++i) {
      EXPECT_NEAR(lines[s][i].y - lines[s][i - 1].y,
                  step * (plot.series[s].y[i - 1] - plot.series[s].y[i]), 0.6);
    }
  }
  EXPECT_NEAR(lines[1][0].y, text_element(svg, "1").number("y"),
              text_element(svg, "1").number("font-size") / 2);
}

void expect_y_axis(const std::vector<double>& y, bool from_zero, const std::string& first,
                   const std::string& last) {
  LinePlot plot = line_through({}, y);
  for (size_t i = 0; i < y.size(); ++i) plot.series[0].x.push_back(static_cast<double>(i));
  plot.from_zero = from_zero;
  const auto ticks = ticks_of(plot, "end");
  ASSERT_FALSE(ticks.empty());
  EXPECT_EQ(ticks.front(), first) << testing::PrintToString(y);
  EXPECT_EQ(ticks.back(), last) << testing::PrintToString(y);
}

TEST(LinePlot, TheYAxisEndsAtTicks) {
  expect_y_axis({1.5, 6.4}, false, "1", "7");
  expect_y_axis({-30, 70}, false, "-40", "80");
  expect_y_axis({0, 1}, false, "0.0", "1.0");
  expect_y_axis({5, 5}, false, "2", "8");
  expect_y_axis({0}, false, "-0.6", "0.6");
  expect_y_axis({}, false, "0.0", "1.0");
  expect_y_axis({1.5, 6.4}, true, "0", "7");
  expect_y_axis({-30, 70}, true, "-40", "80");
}

TEST(LinePlot, OnALogarithmicAxisEqualFactorsAreEqualDistances) {
  auto plot = line_through({1, 4, 64, 256}, {1, 2, 3, 4});
  plot.log_x = true;
  const auto line = lines_of(plot).at(0);
  const double quarter = line[1].x - line[0].x;
  EXPECT_GT(quarter, 100);
  EXPECT_NEAR(line[2].x - line[1].x, 2 * quarter, 0.03);
  EXPECT_NEAR(line[3].x - line[2].x, quarter, 0.03);
  const auto svg = svg_of(plot);
  const auto place = [&](const std::string& text) { return text_element(svg, text).number("x"); };
  EXPECT_NEAR(place("20") - place("10"), place("100") - place("50"), 0.6);
}

TEST(LinePlot, ALogarithmicYAxisEndsAtRoundNumbers) {
  const auto y_ticks = [](double lowest, double highest) {
    auto plot = line_through({1, 2}, {lowest, highest});
    plot.log_y = true;
    return ticks_of(plot, "end");
  };
  EXPECT_EQ(y_ticks(0.03, 7).front(), "0.02");
  EXPECT_EQ(y_ticks(0.03, 7).back(), "10");
  EXPECT_EQ(y_ticks(100, 1000).front(), "100");
  EXPECT_EQ(y_ticks(100, 1000).back(), "1000");
  EXPECT_EQ(y_ticks(3, 3).front(), "1");
  EXPECT_EQ(y_ticks(3, 3).back(), "10");
}

TEST(LinePlot, TicksAreRoundAndShort) {
  using Texts = std::vector<std::string>;
  const auto x_ticks = [](double first, double last, bool log) {
    auto plot = line_through({first, last}, {0, 1});
    plot.log_x = log;
    return ticks_of(plot, "middle");
  };
  EXPECT_EQ(x_ticks(0, 1, false), (Texts{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(x_ticks(-3, 27, false), (Texts{"0", "5", "10", "15", "20", "25"}));
  EXPECT_EQ(x_ticks(3, 40, true), (Texts{"5", "10", "20"}));
  EXPECT_EQ(x_ticks(1, 512, true), (Texts{"1", "2", "5", "10", "20", "50", "100", "200", "500"}));
}

TEST(LinePlot, AxesHaveTheHeightAskedFor) {
  const auto height = [](double asked) {
    auto plot = line_through({0, 1}, {0, 1});
    plot.height = asked;
    const auto line = lines_of(plot).at(0);
    return line[0].y - line[1].y;
  };
  EXPECT_NEAR(height(240), 240, 0.01);
  EXPECT_NEAR(height(400), 400, 0.01);
}

// ---- Texts --------------------------------------------------------------------------------------

TEST(LinePlot, TheLegendNamesTheLinesBesideTheAxes) {
  const auto plot = losses();
  const auto svg = svg_of(plot);
  const auto all = elements(svg, "polyline");
  ASSERT_EQ(all.size(), 4u);
  double above = 0;
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const auto name = text_element(svg, plot.series[s].name);
    const auto sample = all[s + 2].points<Pixel>();
    EXPECT_GT(sample.at(0).x, lines_of(plot)[s].back().x);
    EXPECT_GT(name.number("x"), sample.at(1).x);
    EXPECT_NEAR(name.number("y"), sample.at(1).y, name.number("font-size") / 2);
    EXPECT_GT(sample.at(0).y, above);  // in the order of the series
    above = sample.at(0).y;
    // The mark of the line is on the sample.
    EXPECT_EQ(hex(Png(png_of(plot)).at(Pixel{(sample[0].x + sample[1].x) / 2, sample[0].y})),
              colors_of(plot)[s]);
  }
  auto without = plot;
  for (auto& series : without.series) series.name.clear();
  EXPECT_LT(Png(png_of(without)).width(), Png(png_of(plot)).width());
  EXPECT_EQ(elements(svg_of(without), "polyline").size(), 2u);
}

TEST(LinePlot, TextIsNeverMarkup) {
  auto plot = losses();
  plot.series[0].name = "<b>bold</b> & \"quoted\"\x01\xFF";
  plot.title = "<i>";
  plot.x_label = "</svg>";
  plot.y_label = "<script>alert(1)</script>";
  const auto svg = svg_of(plot);
  for (const auto* markup : {"<b>", "<i>", "<script", "\x01", "\xFF"}) {
    EXPECT_EQ(count(svg, markup), 0u) << markup;
  }
  EXPECT_EQ(count(svg, "</svg>"), 1u);
  const std::string name = "&lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot;\uFFFD\uFFFD";
  EXPECT_EQ(count(svg, ">" + name + "</text>"), 1u);
  EXPECT_EQ(count(svg, ">&lt;i&gt;</text>"), 1u);
}

TEST(LinePlot, NothingIsCutOff) {
  const std::string sentence = "a text that is longer than many a legend is wide, and than an axis";
  auto plot = losses();
  plot.title = sentence + ", " + sentence;
  expect_white_margin(png_of(plot), "title");
  plot.series[1].name = sentence;
  for (int i = 0; i < 30; ++i) plot.series.push_back({.name = "日本語 " + sentence});
  expect_white_margin(png_of(plot), "legend");
  expect_white_margin(png_of(line_through({0, 4e6}, {-1e-9, 1e-9})), "wide ticks");
  expect_white_margin(png_of(line_through({}, {})), "no points");
}

TEST(LinePlot, ThePictureIsTheSameEveryTime) {
  EXPECT_EQ(png_of(losses()), png_of(losses()));
  EXPECT_EQ(svg_of(losses()), svg_of(losses()));
}

// ---- Errors -------------------------------------------------------------------------------------

void expect_refused(const std::vector<LinePlot>& plots, const std::string& message) {
  EXPECT_THROW_MESSAGE(line_plots_png(plots), c10::ValueError, message);
  EXPECT_THROW_MESSAGE(line_plots_svg(plots), c10::ValueError, message);
}

TEST(LinePlot, SeriesThatCannotBeDrawnAreRefused) {
  expect_refused({}, "LinePlot: expected plots, got none");
  auto plot = losses();
  plot.series[1].y.pop_back();
  expect_refused({plot}, "LinePlot: expected as many x as y in \"validation\", got 3 and 2");
  plot = losses();
  plot.series[0].y[2] = kInfinity;
  expect_refused({plot}, "LinePlot: expected finite numbers in \"training\", got (200, inf)");
  plot.series[0].x[1] = kNan;
  expect_refused({losses(), plot},
                 "LinePlot: expected finite numbers in \"training\", got (nan, 3.1)");
  plot = losses();
  plot.log_x = true;
  expect_refused(
      {plot},
      "LinePlot: expected numbers > 0 for a logarithmic axis in \"training\", got (0, 4.7)");
  plot = line_through({1, 2}, {3, -4});
  plot.log_y = true;
  expect_refused({plot},
                 "LinePlot: expected numbers > 0 for a logarithmic axis in \"\", got (2, -4)");
}

// ---- Several ------------------------------------------------------------------------------------

TEST(LinePlot, SeveralStandInRowsOfTwo) {
  const auto wide = losses();
  auto low = line_through({0, 100, 200}, {1, 3, 2});
  low.height = 150;
  const std::vector<LinePlot> plots{low, wide, low};
  const auto svg = line_plots_svg(plots);
  const Png png(line_plots_png(plots));
  auto lines = elements(svg, "polyline");
  ASSERT_EQ(lines.size(), 6u);  // two in the legend
  const auto first = lines[0].points<Pixel>(), second = lines[1].points<Pixel>(),
             third = lines[5].points<Pixel>();
  EXPECT_GT(second[0].x, first.back().x);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(third[i].x, first[i].x);
    EXPECT_GT(third[i].y, second.back().y);
  }
  for (const size_t i : {0, 1, 2, 5}) {
    EXPECT_EQ(hex(png.at(lines[i].points<Pixel>()[0])), lines[i].attribute("stroke")) << i;
  }
  expect_white_margin(line_plots_png(plots), "rows");
}

}  // namespace
}  // namespace attend::app::line_plot_test
