#include "attend/viz/line_plot.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "attend/file_error.h"
#include "attend/viz/heatmap.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"
#include "viz/pictures.h"

namespace attend::line_plot_test {
namespace {

using testing_support::count;
using testing_support::elements;
using testing_support::expect_white_margin;
using testing_support::hex;
using testing_support::kWhite;
using testing_support::Png;
using testing_support::SvgElement;
using testing_support::TemporaryFolder;
using Pixel = LinePlotLayout::Pixel;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---- Looking at pictures ------------------------------------------------------------------------

// A line's element is before the legend's of its colour.
std::vector<SvgElement> elements_of_color(const std::string& svg, const std::string& tag,
                                          const std::string& attribute, Rgb color) {
  auto found = elements(svg, tag);
  std::erase_if(found, [&](const auto& e) { return e.attribute(attribute) != hex(color); });
  return found;
}

SvgElement text_element(const std::string& svg, const std::string& text) {
  for (const auto& element : elements(svg, "text")) {
    if (element.text == text) return element;
  }
  ADD_FAILURE() << "no text " << text << " in\n" << svg;
  return {};
}

LinePlot losses() {
  return {{{.name = "training", .x = {0, 100, 200, 400}, .y = {4.7, 3.1, 2.4, 1.9}},
           {.name = "validation", .x = {100, 200, 400}, .y = {1.0, 1.4, 0.25}, .dashed = true}},
          {.title = "Loss", .x_label = "updates", .y_label = "nats"}};
}

// ---- Lines --------------------------------------------------------------------------------------

TEST(LinePlot, LinesPassThroughThePixelsOfTheirPoints) {
  const auto plot = losses();
  const Png png(line_plot_png(plot));
  const auto layout = line_plot_layout(plot);
  ASSERT_EQ(png.width(), layout.width * kPngScale);
  ASSERT_EQ(png.height(), layout.height * kPngScale);
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const auto& series = plot.series[s];
    for (size_t i = 0; i < series.x.size(); ++i) {
      EXPECT_EQ(png.at(layout.pixel_of(series.x[i], series.y[i])), line_color(s)) << s << ", " << i;
    }
  }
  // Between the points of the line without gaps, and beside it.
  const auto& line = plot.series[0];
  for (size_t i = 1; i < line.x.size(); ++i) {
    const auto a = layout.pixel_of(line.x[i - 1], line.y[i - 1]);
    const auto b = layout.pixel_of(line.x[i], line.y[i]);
    for (const double share : {0.25, 0.5, 0.75}) {
      const Pixel on{a.x + share * (b.x - a.x), a.y + share * (b.y - a.y)};
      EXPECT_EQ(png.at(on), line_color(0)) << i << ", " << share;
      EXPECT_NE(png.at(Pixel{on.x, on.y - 6}), line_color(0)) << i << ", " << share;
    }
  }
}

TEST(LinePlot, ManyPointsAreOnTheLineToo) {
  LinePlot plot{{{.name = "wave"}}, {}};
  for (int i = 0; i < 500; ++i) {
    plot.series[0].x.push_back(i);
    plot.series[0].y.push_back(std::sin(i / 40.0));
  }
  const Png png(line_plot_png(plot));
  const auto layout = line_plot_layout(plot);
  for (int i = 0; i < 499; ++i) {  // the line ends in the middle of its last pixel
    EXPECT_EQ(png.at(layout.pixel_of(i, std::sin(i / 40.0))), line_color(0)) << i;
  }
}

TEST(LinePlot, TheSvgHasTheLinesInTheirColors) {
  const auto plot = losses();
  const auto svg = line_plot_svg(plot);
  const auto layout = line_plot_layout(plot);
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const auto lines = elements_of_color(svg, "polyline", "stroke", line_color(s));
    ASSERT_EQ(lines.size(), 2u);  // and the one in the legend
    const auto points = lines[0].points<Pixel>();
    ASSERT_EQ(points.size(), plot.series[s].x.size());
    for (size_t i = 0; i < points.size(); ++i) {
      const auto expected = layout.pixel_of(plot.series[s].x[i], plot.series[s].y[i]);
      EXPECT_NEAR(points[i].x, expected.x, 0.006);
      EXPECT_NEAR(points[i].y, expected.y, 0.006);
    }
    EXPECT_EQ(lines[0].attribute("stroke-dasharray").empty(), !plot.series[s].dashed);
    EXPECT_EQ(lines[0].attribute("stroke-dasharray"), lines[1].attribute("stroke-dasharray"));
  }
}

TEST(LinePlot, NanBreaksALine) {
  const LinePlot plot{
      {{.name = "", .x = {0, 1, 2, 3, 4, 5, kNan, 7}, .y = {1, 2, kNan, 2, 1, 3, 1, 2}}}, {}};
  const auto layout = line_plot_layout(plot);
  const auto lines = elements(line_plot_svg(plot), "polyline");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].points<Pixel>().size(), 2u);
  EXPECT_EQ(lines[1].points<Pixel>().size(), 3u);
  const Png png(line_plot_png(plot));
  EXPECT_EQ(png.at(layout.pixel_of(0.5, 1.5)), line_color(0));
  EXPECT_NE(png.at(layout.pixel_of(1.5, 2)), line_color(0));
  EXPECT_NE(png.at(layout.pixel_of(2.5, 2)), line_color(0));
  EXPECT_EQ(png.at(layout.pixel_of(4.5, 2)), line_color(0));
  EXPECT_EQ(png.at(layout.pixel_of(7, 2)), line_color(0));  // a point of its own has a mark
}

TEST(LinePlot, ALineIsCutOffAtTheLimits) {
  const LinePlot plot{{{.name = "", .x = {0, 1, 2, 3}, .y = {0, 4, 4, -400}}},
                      {.y_minimum = 0, .y_maximum = 2}};
  const auto svg = line_plot_svg(plot);
  const auto layout = line_plot_layout(plot);
  const auto lines = elements(svg, "polyline");
  ASSERT_EQ(lines.size(), 2u);
  const auto expect_line = [&](const SvgElement& line, Pixel from, Pixel to) {
    const auto points = line.points<Pixel>();
    ASSERT_EQ(points.size(), 2u);
    for (const auto& [point, expected] : {std::pair(points[0], from), std::pair(points[1], to)}) {
      EXPECT_NEAR(point.x, expected.x, 0.006);
      EXPECT_NEAR(point.y, expected.y, 0.006);
    }
  };
  expect_line(lines[0], layout.pixel_of(0, 0), layout.pixel_of(0.5, 2));
  expect_line(lines[1], layout.pixel_of(2 + 2 / 404.0, 2), layout.pixel_of(2 + 4 / 404.0, 0));
  EXPECT_EQ(elements(svg, "polygon").size(), 1u);  // one mark, of the one point inside
  EXPECT_EQ(elements(svg, "circle").size(), 1u);
  expect_white_margin(line_plot_png(plot), "cut off");
  // Out and back in: nothing is drawn between the two places.
  EXPECT_EQ(elements(line_plot_svg(LinePlot{{{.name = "", .x = {0, 1, 2}, .y = {1, 4, 1}}},
                                            {.y_minimum = 0, .y_maximum = 2}}),
                     "polyline")
                .size(),
            2u);
}

TEST(LinePlot, NumbersFarBeyondTheLimitsAreCutOffToo) {
  const LinePlot plot{{{.name = "", .x = {0, 1, 2}, .y = {0.5, 1.7e308, -1.7e308}}},
                      {.y_minimum = 0, .y_maximum = 1e-9}};
  EXPECT_EQ(elements(line_plot_svg(plot), "polyline").size(), 1u);
  expect_white_margin(line_plot_png(plot), "far away");
}

TEST(LinePlot, NoTwoSeriesLookTheSame) {
  LinePlot plot;
  for (int i = 0; i < 42; ++i) {
    plot.series.push_back({.name = std::to_string(i), .x = {0, 1}, .y = {i * 1.0, i * 1.0}});
  }
  const auto marks = elements(line_plot_svg(plot), "polygon");
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
    LinePlot plot{{{}}, {}};
    for (int i = 0; i < points; ++i) {
      plot.series[0].x.push_back(i);
      plot.series[0].y.push_back(i);
    }
    return elements(line_plot_svg(plot), "polygon").size();
  };
  EXPECT_EQ(marks(32), 32u);
  EXPECT_EQ(marks(641), 23u);  // one px apart: 0, 28, 56, ..., 616
}

TEST(LineColor, TheColorsDiffer) {
  std::set<std::string> colors;
  for (size_t i = 0; i < 7; ++i) colors.insert(hex(line_color(i)));
  EXPECT_EQ(colors.size(), 7u);
  EXPECT_EQ(line_color(7), line_color(0));
}

// ---- Axes ---------------------------------------------------------------------------------------

TEST(LinePlot, TheAxesSpanTheData) {
  const auto layout = line_plot_layout(losses());
  EXPECT_EQ(layout.x_range.minimum, 0);
  EXPECT_EQ(layout.x_range.maximum, 400);
  EXPECT_EQ(layout.y_range.minimum, 0);  // outwards to the next ticks
  EXPECT_EQ(layout.y_range.maximum, 5);
  EXPECT_EQ(layout.plot_width, 640);
  EXPECT_EQ(layout.plot_height, 400);
  const auto low = layout.pixel_of(0, 0), high = layout.pixel_of(400, 5);
  EXPECT_EQ(low.x, layout.plot_x);
  EXPECT_EQ(low.y, layout.plot_y + layout.plot_height);
  EXPECT_EQ(high.x, layout.plot_x + layout.plot_width);
  EXPECT_EQ(high.y, layout.plot_y);
}

void expect_y_range(const std::vector<double>& y, const LinePlotOptions& options, double minimum,
                    double maximum) {
  LinePlot plot{{{.name = "", .x = {}, .y = y}}, options};
  for (size_t i = 0; i < y.size(); ++i) plot.series[0].x.push_back(static_cast<double>(i));
  const auto range = line_plot_layout(plot).y_range;
  EXPECT_NEAR(range.minimum, minimum, 1e-12) << testing::PrintToString(y);
  EXPECT_NEAR(range.maximum, maximum, 1e-12) << testing::PrintToString(y);
}

TEST(LinePlot, TheYAxisEndsAtTicksUnlessItsEndsAreSet) {
  expect_y_range({1.5, 6.4}, {}, 1, 7);
  expect_y_range({-30, 70}, {}, -40, 80);
  expect_y_range({0, 1}, {}, 0, 1);
  expect_y_range({5, 5}, {}, 2, 8);
  expect_y_range({0}, {}, -0.6, 0.6);
  expect_y_range({kNan}, {}, 0, 1);
  expect_y_range({}, {}, 0, 1);
  expect_y_range({1.5, 6.4}, {.y_minimum = 0.3}, 0.3, 7);
  expect_y_range({1.5, 6.4}, {.y_maximum = 6}, 1, 6);
  expect_y_range({1.5, 6.4}, {.y_minimum = 2.5, .y_maximum = 2.75}, 2.5, 2.75);
  expect_y_range({1, 2}, {.y_minimum = 8}, 8, 16);
  expect_y_range({1, 2}, {.y_maximum = -8}, -16, -8);
  expect_y_range({0.03, 7}, {.log_y = true}, 0.02, 10);
  expect_y_range({3, 3}, {.log_y = true}, 1, 10);
  expect_y_range({100, 1000}, {.log_y = true}, 100, 1000);
  expect_y_range({kNan}, {.log_y = true}, 1, 10);
  expect_y_range({1, 2}, {.log_y = true, .y_minimum = 8}, 8, 100);
}

TEST(LinePlot, TicksStandAtTheirNumbers) {
  const auto plot = losses();
  const auto svg = line_plot_svg(plot);
  const auto layout = line_plot_layout(plot);
  for (const int x : {0, 50, 100, 150, 200, 250, 300, 350, 400}) {
    const auto text = text_element(svg, std::to_string(x));
    EXPECT_NEAR(text.number("x"), layout.pixel_of(x, 0).x, 0.3);
    EXPECT_GT(text.number("y"), layout.plot_y + layout.plot_height);
    EXPECT_EQ(text.attribute("text-anchor"), "middle");
  }
  for (int y = 1; y <= 5; ++y) {
    const auto text = text_element(svg, std::to_string(y));
    EXPECT_NEAR(text.number("y"), layout.pixel_of(0, y).y, text.number("font-size") / 2);
    EXPECT_LT(text.number("x"), layout.plot_x);
    EXPECT_EQ(text.attribute("text-anchor"), "end");
  }
}

TEST(LinePlot, OnALogarithmicAxisEqualFactorsAreEqualDistances) {
  const LinePlot plot{{{.name = "", .x = {16, 64, 4096}, .y = {0.001, 0.1, 1000}}},
                      {.log_x = true, .log_y = true}};
  const auto layout = line_plot_layout(plot);
  EXPECT_TRUE(layout.log_x);
  EXPECT_TRUE(layout.log_y);
  EXPECT_EQ(layout.x_range.minimum, 16);
  EXPECT_EQ(layout.x_range.maximum, 4096);
  for (const double factor : {1.0, 4.0, 64.0}) {
    const auto a = layout.pixel_of(16 * factor, 0.001 * factor);
    const auto b = layout.pixel_of(64 * factor, 0.01 * factor);
    EXPECT_NEAR(b.x - a.x, layout.plot_width / 4, 1e-9);   // log 4 of log 256
    EXPECT_NEAR(a.y - b.y, layout.plot_height / 6, 1e-9);  // of six powers of ten
  }
  const Png png(line_plot_png(plot));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(png.at(layout.pixel_of(plot.series[0].x[i], plot.series[0].y[i])), line_color(0));
  }
  const auto svg = line_plot_svg(plot);
  for (const double x : {20, 50, 100, 200, 500, 1000, 2000}) {
    EXPECT_NEAR(text_element(svg, std::to_string(static_cast<int>(x))).number("x"),
                layout.pixel_of(x, 1).x, 0.3);
  }
  EXPECT_EQ(text_element(svg, "0.001").attribute("text-anchor"), "end");
}

std::vector<std::string> x_ticks(double first, double last, bool log) {
  const auto svg =
      line_plot_svg(LinePlot{{{.name = "", .x = {first, last}, .y = {0, 1}}}, {.log_x = log}});
  std::vector<std::string> ticks;
  for (const auto& element : elements(svg, "text")) {
    if (element.attribute("text-anchor") == "middle") ticks.push_back(element.text);
  }
  return ticks;
}

TEST(LinePlot, TicksAreRoundAndShort) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(x_ticks(0, 1, false), (Texts{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(x_ticks(-3, 27, false), (Texts{"0", "5", "10", "15", "20", "25"}));
  EXPECT_EQ(x_ticks(0, 4e6, false),
            (Texts{"0", "0.5e6", "1.0e6", "1.5e6", "2.0e6", "2.5e6", "3.0e6", "3.5e6", "4.0e6"}));
  EXPECT_EQ(x_ticks(-2e-9, 2e-9, false), (Texts{"-2.0e-9", "-1.5e-9", "-1.0e-9", "-0.5e-9", "0",
                                                "0.5e-9", "1.0e-9", "1.5e-9", "2.0e-9"}));
  EXPECT_EQ(x_ticks(1e7, 1e7 + 8, false),
            (Texts{"10000000", "10000001", "10000002", "10000003", "10000004", "10000005",
                   "10000006", "10000007", "10000008"}));
  EXPECT_EQ(x_ticks(1e-6, 1, true), (Texts{"1e-6", "1e-5", "0.0001", "0.001", "0.01", "0.1", "1"}));
  EXPECT_EQ(x_ticks(3, 40, true), (Texts{"5", "10", "20"}));
  EXPECT_EQ(x_ticks(1e-300, 1e300, true),
            (Texts{"1e-300", "1e-200", "1e-100", "1", "1e100", "1e200", "1e300"}));
  EXPECT_EQ(x_ticks(3.1, 3.5, true),
            (Texts{"3.10", "3.15", "3.20", "3.25", "3.30", "3.35", "3.40", "3.45", "3.50"}));
}

TEST(LinePlot, TextsOfTicksDoNotOverlap) {
  const std::vector<std::pair<double, double>> ranges{
      {0, 1}, {1e9, 1e9 + 7}, {1e9, 1e9 + 0.007}, {-0.00012, 0.00031}, {1.5, 1.6}, {2, 3e8}};
  for (const double width : {160.0, 240.0, 640.0, 1500.0}) {
    for (const auto& [first, last] : ranges) {
      for (const bool log : {false, true}) {
        if (log && first <= 0) continue;
        const auto svg = line_plot_svg(
            {{{.name = "", .x = {first, last}, .y = {0, 1}}}, {.log_x = log, .width = width}});
        double end = -kInfinity;
        size_t ticks = 0;
        for (const auto& text : elements(svg, "text")) {
          if (text.attribute("text-anchor") != "middle") continue;
          // Digits of DejaVu Sans are 0.64 of their size wide, other characters here no wider.
          const double half =
              0.64 * text.number("font-size") * static_cast<double>(text.text.size()) / 2;
          EXPECT_GT(text.number("x") - half, end) << width << ": " << first << " to " << last;
          end = text.number("x") + half;
          ++ticks;
        }
        EXPECT_GE(ticks, 1u) << width << ": " << first << " to " << last;
      }
    }
  }
}

TEST(LinePlot, AxesHaveTheSizeAskedFor) {
  auto plot = losses();
  plot.options.width = 300;
  plot.options.height = 200;
  const auto layout = line_plot_layout(plot);
  EXPECT_EQ(layout.plot_width, 300);
  EXPECT_EQ(layout.plot_height, 200);
  EXPECT_EQ(Png(line_plot_png(plot)).at(layout.pixel_of(100, 3.1)), line_color(0));
}

// ---- Texts --------------------------------------------------------------------------------------

TEST(LinePlot, TheLegendNamesTheLinesBesideTheAxes) {
  const auto plot = losses();
  const auto svg = line_plot_svg(plot);
  const auto layout = line_plot_layout(plot);
  double above = layout.plot_y;
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const auto name = text_element(svg, plot.series[s].name);
    const auto sample =
        elements_of_color(svg, "polyline", "stroke", line_color(s)).at(1).points<Pixel>();
    EXPECT_GT(sample.at(0).x, layout.plot_x + layout.plot_width);
    EXPECT_GT(name.number("x"), sample.at(1).x);
    EXPECT_NEAR(name.number("y"), sample.at(1).y, name.number("font-size") / 2);
    EXPECT_GT(sample.at(0).y, above);  // in the order of the series
    above = sample.at(0).y;
    // The mark of the line is on the sample.
    EXPECT_EQ(Png(line_plot_png(plot)).at(Pixel{(sample[0].x + sample[1].x) / 2, sample[0].y}),
              line_color(s));
  }
  auto without = plot;
  for (auto& series : without.series) series.name.clear();
  EXPECT_LT(line_plot_layout(without).width, layout.width);
  EXPECT_EQ(elements(line_plot_svg(without), "polyline").size(), 2u);
}

TEST(LinePlot, LongNamesAreShortened) {
  auto plot = losses();
  const double width = line_plot_layout(plot).width;
  plot.series[0].name = "a name that is longer than what there is room for in the legend";
  EXPECT_LT(line_plot_layout(plot).width, width + 200);
  const auto svg = line_plot_svg(plot);
  EXPECT_EQ(count(svg, "…</text>"), 1u);
  EXPECT_EQ(count(svg, plot.series[0].name), 4u);  // whole in the tooltips
}

TEST(LinePlot, TextIsNeverMarkup) {
  auto plot = losses();
  plot.series[0].name = "<b>bold</b> & \"quoted\"\x01\xFF";
  plot.options = {.title = "<i>", .x_label = "</svg>", .y_label = "<script>alert(1)</script>"};
  const auto svg = line_plot_svg(plot);
  for (const auto* markup : {"<b>", "<i>", "<script", "\x01", "\xFF"}) {
    EXPECT_EQ(count(svg, markup), 0u) << markup;
  }
  EXPECT_EQ(count(svg, "</svg>"), 1u);
  const std::string name = "&lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot;\uFFFD\uFFFD";
  EXPECT_EQ(count(svg, ">" + name + "</text>"), 1u);
  EXPECT_EQ(count(svg, "<title>" + name + ": 100, 3.1</title>"), 1u);
  EXPECT_EQ(count(svg, ">&lt;i&gt;</text>"), 1u);
}

TEST(LinePlot, PointsHaveTooltipsUpToTwoThousand) {
  const auto plot = losses();
  const auto svg = line_plot_svg(plot);
  const auto layout = line_plot_layout(plot);
  const auto discs = elements(svg, "circle");
  ASSERT_EQ(discs.size(), 7u);
  EXPECT_EQ(discs[3].text, "training: 400, 1.9");
  EXPECT_EQ(discs[4].text, "validation: 100, 1");
  EXPECT_NEAR(discs[3].number("cx"), layout.pixel_of(400, 1.9).x, 0.006);
  EXPECT_NEAR(discs[3].number("cy"), layout.pixel_of(400, 1.9).y, 0.006);
  LinePlot many{
      {{.name = "", .x = std::vector<double>(1000, 1), .y = std::vector<double>(1000, 2)}}, {}};
  many.series.push_back(many.series[0]);
  EXPECT_EQ(elements(line_plot_svg(many), "circle").size(), 2000u);
  EXPECT_EQ(elements(line_plot_svg(many), "circle")[0].text, "1, 2");
  many.series.push_back({.name = "", .x = {1}, .y = {2}});
  EXPECT_EQ(elements(line_plot_svg(many), "circle").size(), 0u);
}

TEST(LinePlot, NothingIsCutOff) {
  const std::string sentence =
      "a text that is longer than many a picture is wide, so that something has to be done to it "
      "before it can be shown";
  auto plot = losses();
  plot.options = {.title = sentence, .x_label = sentence, .y_label = sentence};
  expect_white_margin(line_plot_png(plot), "axes");
  plot.series[1].name = sentence;
  for (int i = 0; i < 30; ++i) plot.series.push_back({.name = "日本語 " + sentence});
  for (const double side : {160.0, 900.0}) {
    plot.options.width = plot.options.height = side;
    expect_white_margin(line_plot_png(plot), std::to_string(side));
  }
  expect_white_margin(
      line_plot_png(LinePlot{{{.name = "", .x = {1e9, 1e9 + 7}, .y = {-1e-9, 1e-9}}}, {}}),
      "wide ticks");
  expect_white_margin(
      line_plot_png(LinePlot{{{.name = "", .x = {1e9, 1e9 + 0.004}, .y = {0, 1}}}, {}}),
      "wide x ticks");
  expect_white_margin(line_plot_png(LinePlot{{{}}, {}}), "no points");
}

TEST(LinePlot, ThePictureIsTheSameEveryTime) {
  EXPECT_EQ(line_plot_png(losses()), line_plot_png(losses()));
  EXPECT_EQ(line_plot_svg(losses()), line_plot_svg(losses()));
}

// ---- Errors and files ---------------------------------------------------------------------------

void expect_refused(const LinePlot& plot, const std::string& message) {
  EXPECT_THROW_MESSAGE(line_plot_png(plot), c10::ValueError, message);
  EXPECT_THROW_MESSAGE(line_plot_svg(plot), c10::ValueError, message);
  EXPECT_THROW_MESSAGE(line_plot_layout(plot), c10::ValueError, message);
}

TEST(LinePlot, SeriesThatCannotBeDrawnAreRefused) {
  expect_refused({}, "LinePlot: expected at least one series, got none");
  expect_refused({std::vector<LineSeries>(43), {}}, "LinePlot: expected at most 42 series, got 43");
  auto plot = losses();
  plot.series[1].y.pop_back();
  expect_refused(plot,
                 "LinePlot: expected as many x as y in series 1 (\"validation\"), got 3 and 2");
  plot = losses();
  plot.series[0].y[2] = kInfinity;
  expect_refused(plot,
                 "LinePlot: expected finite numbers or NaN in series 0 (\"training\"), got y = inf "
                 "at 2");
  plot.series[0].x[1] = -kInfinity;
  expect_refused(
      plot,
      "LinePlot: expected finite numbers or NaN in series 0 (\"training\"), got x = -inf "
      "at 1");
  plot = losses();
  plot.options.log_x = true;
  expect_refused(
      plot,
      "LinePlot: expected x > 0 for a logarithmic axis in series 0 (\"training\"), got 0 "
      "at 0");
  plot.series[0].y[0] = kNan;  // what is not drawn needs no place
  EXPECT_NO_THROW(line_plot_layout(plot));
  plot.options.log_y = true;
  plot.series[1].y[1] = -1.5;
  expect_refused(
      plot,
      "LinePlot: expected y > 0 for a logarithmic axis in series 1 (\"validation\"), got "
      "-1.5 at 1");
  expect_refused({{{.name = "", .x = {-1.7e308, 1.7e308}, .y = {0, 0}}}, {}},
                 "LinePlot: expected x with a finite range, got -1.7e+308 to 1.7e+308");
}

TEST(LinePlot, OptionsOutOfRangeAreRefused) {
  const auto refused = [](const LinePlotOptions& options, const std::string& message) {
    expect_refused({{{.name = "", .x = {1}, .y = {1}}}, options}, message);
  };
  refused({.width = 100}, "LinePlot: expected width in [160, 4096], got 100");
  refused({.height = kNan}, "LinePlot: expected height in [120, 4096], got nan");
  refused({.y_minimum = kNan}, "LinePlot: expected a finite y_minimum, got nan");
  refused({.y_maximum = kInfinity}, "LinePlot: expected a finite y_maximum, got inf");
  refused({.log_y = true, .y_minimum = 0},
          "LinePlot: expected y_minimum > 0 for a logarithmic axis, got 0");
  refused({.y_minimum = 1, .y_maximum = 1},
          "LinePlot: expected y_minimum < y_maximum, got 1 and 1");
}

TEST(LinePlot, FilesHoldThePictures) {
  const TemporaryFolder folder;
  write_png(folder.path() / "a.png", losses());
  write_svg(folder.path() / "a.svg", losses());
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "a.png"), line_plot_png(losses()));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "a.svg"), line_plot_svg(losses()));
  EXPECT_THROW(write_svg(folder.path() / "missing" / "a.svg", losses()), FileError);
}

// ---- Grids --------------------------------------------------------------------------------------

TEST(LinePlotGrid, EachPlotStandsInItsCell) {
  LinePlot small = losses();
  small.options.width = 200;
  small.options.height = 150;
  const LinePlotGrid grid{{losses(), small, small}, 2};
  const Png png(line_plot_png(grid));
  const auto large = line_plot_layout(losses()), little = line_plot_layout(small);
  ASSERT_EQ(png.width(), (large.width + little.width) * kPngScale);
  ASSERT_EQ(png.height(), (large.height + little.height) * kPngScale);
  const std::vector<Pixel> origins{{0, 0}, {large.width, 0}, {0, large.height}};
  for (size_t i = 0; i < origins.size(); ++i) {
    const auto& layout = i == 0 ? large : little;
    for (size_t s = 0; s < 2; ++s) {
      const auto& series = small.series[s];
      const auto at = layout.pixel_of(series.x[1], series.y[1]);
      EXPECT_EQ(png.at(Pixel{origins[i].x + at.x, origins[i].y + at.y}), line_color(s)) << i;
    }
  }
  EXPECT_EQ(count(line_plot_svg(grid), "<g transform"), 3U);
  EXPECT_EQ(count(line_plot_svg(grid), "</g>"), 3U);
  expect_white_margin(line_plot_png(grid), "grid");
}

TEST(LinePlotGrid, WithoutPlotsOrColumnsItIsRefused) {
  EXPECT_THROW_MESSAGE(line_plot_png(LinePlotGrid{}), c10::ValueError,
                       "LinePlotGrid: expected plots, got none");
  EXPECT_THROW_MESSAGE(line_plot_svg(LinePlotGrid{{losses()}, 0}), c10::ValueError,
                       "LinePlotGrid: expected columns > 0, got 0");
}

}  // namespace
}  // namespace attend::line_plot_test
