#include "attend/viz/diagram.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "attend/file_error.h"
#include "attend/viz/heatmap.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"
#include "viz/pictures.h"

namespace attend::diagram_test {
namespace {

using testing_support::count;
using testing_support::elements;
using testing_support::expect_white_margin;
using testing_support::hex;
using testing_support::kWhite;
using testing_support::Png;
using testing_support::TemporaryFolder;
using Area = DiagramLayout::Area;
using Pixel = DiagramLayout::Pixel;

constexpr Rgb kArrowColor{0x59, 0x63, 0x6E};
constexpr auto kRoles = {DiagramRole::kPlain, DiagramRole::kQuery, DiagramRole::kKey,
                         DiagramRole::kValue, DiagramRole::kHighlighted};

// ---- Looking at layouts -------------------------------------------------------------------------

bool overlap(const Area& a, const Area& b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

Area grown(const Area& area, double by) {
  return {area.x - by, area.y - by, area.width + 2 * by, area.height + 2 * by};
}

Area area_of(Pixel a, Pixel b) {
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::abs(a.x - b.x), std::abs(a.y - b.y)};
}

// The areas of an arrow's segments, half a px around them.
std::vector<Area> segments(const DiagramLayout::Arrow& arrow) {
  std::vector<Area> areas;
  for (size_t i = 1; i < arrow.points.size(); ++i) {
    areas.push_back(grown(area_of(arrow.points[i - 1], arrow.points[i]), 0.5));
  }
  return areas;
}

// Whether a point is on one of the sides of a box, but not in its round corners.
bool is_on_border(Pixel at, const Area& box) {
  const bool is_beside = at.x >= box.x + 6 && at.x <= box.x + box.width - 6;
  const bool is_between = at.y >= box.y + 6 && at.y <= box.y + box.height - 6;
  return (is_beside && (at.y == box.y || at.y == box.y + box.height)) ||
         (is_between && (at.x == box.x || at.x == box.x + box.width));
}

// Every arrow goes from the border of its first box to the border of its second one, horizontally
// and vertically, through no box.
void expect_arrows_connect(const Diagram& diagram, const DiagramLayout& layout) {
  std::map<std::string, Area> box_of;
  for (size_t i = 0; i < diagram.boxes.size(); ++i) {
    box_of[diagram.boxes[i].name] = layout.boxes.at(i);
  }
  ASSERT_EQ(layout.arrows.size(), diagram.arrows.size());
  for (size_t i = 0; i < layout.arrows.size(); ++i) {
    const auto& points = layout.arrows[i].points;
    const auto what = diagram.arrows[i].from + " to " + diagram.arrows[i].to;
    ASSERT_GE(points.size(), 2u) << what;
    EXPECT_TRUE(is_on_border(points.front(), box_of[diagram.arrows[i].from])) << what;
    EXPECT_TRUE(is_on_border(points.back(), box_of[diagram.arrows[i].to])) << what;
    for (size_t k = 1; k < points.size(); ++k) {
      EXPECT_NE(points[k - 1].x == points[k].x, points[k - 1].y == points[k].y) << what;
    }
    for (const auto& segment : segments(layout.arrows[i])) {
      for (const auto& box : layout.boxes) {
        EXPECT_FALSE(overlap(segment, grown(box, -1))) << what;
      }
    }
  }
}

// The px over which arrows lie on each other.
double shared_length(const DiagramLayout& layout) {
  double shared = 0;
  for (size_t i = 0; i < layout.arrows.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      for (const auto& a : segments(layout.arrows[i])) {
        for (const auto& b : segments(layout.arrows[j])) {
          if ((a.width > a.height) != (b.width > b.height)) continue;  // they cross
          const double width = std::min(a.x + a.width, b.x + b.width) - std::max(a.x, b.x);
          const double height = std::min(a.y + a.height, b.y + b.height) - std::max(a.y, b.y);
          if (width > 0 && height > 0) shared += std::max(width, height);
        }
      }
    }
  }
  return shared;
}

// How often arrows cross or touch.
int crossings(const DiagramLayout& layout) {
  int found = 0;
  for (size_t i = 0; i < layout.arrows.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      for (const auto& a : segments(layout.arrows[i])) {
        for (const auto& b : segments(layout.arrows[j])) found += overlap(a, b);
      }
    }
  }
  return found;
}

// Labels of arrows are on nothing else, and beside their own arrows.
void expect_labels_are_free(const Diagram& diagram, const DiagramLayout& layout) {
  for (size_t i = 0; i < layout.arrows.size(); ++i) {
    const auto& label = layout.arrows[i].label;
    EXPECT_EQ(label.width > 0, !diagram.arrows[i].label.empty());
    if (label.width == 0) continue;
    for (const auto& box : layout.boxes) EXPECT_FALSE(overlap(label, box)) << i;
    for (size_t j = 0; j < layout.arrows.size(); ++j) {
      for (const auto& segment : segments(layout.arrows[j])) {
        EXPECT_FALSE(overlap(label, segment)) << i << ", " << j;
      }
      if (j != i && layout.arrows[j].label.width > 0) {
        EXPECT_FALSE(overlap(label, layout.arrows[j].label)) << i << ", " << j;
      }
    }
    const auto own = segments(layout.arrows[i]);
    EXPECT_TRUE(std::any_of(own.begin(), own.end(), [&](const Area& segment) {
      return overlap(grown(label, 5), segment);
    })) << i;
  }
}

// Where the queries, keys and values of an encoder-decoder attention come from.
Diagram cross_attention() {
  return {
      .boxes =
          {{.name = "encoder", .label = "Encoder output\n[B, S, E]", .column_span = 2},
           {.name = "decoder", .label = "Decoder state\n[B, T, E]", .column = 2},
           {.name = "v", .label = "Values V", .row = 1, .role = DiagramRole::kValue},
           {.name = "k", .label = "Keys K", .column = 1, .row = 1, .role = DiagramRole::kKey},
           {.name = "q", .label = "Queries Q", .column = 2, .row = 1, .role = DiagramRole::kQuery},
           {.name = "weights",
            .label = "Weights\nsoftmax(QKᵀ / √d)",
            .column = 1,
            .row = 2,
            .column_span = 2,
            .role = DiagramRole::kHighlighted},
           {.name = "output", .label = "Output\nweights · V", .row = 3, .column_span = 3}},
      .arrows = {{.from = "encoder", .to = "v", .label = "W_V"},
                 {.from = "encoder", .to = "k", .label = "W_K"},
                 {.from = "decoder", .to = "q", .label = "W_Q"},
                 {.from = "k", .to = "weights"},
                 {.from = "q", .to = "weights"},
                 {.from = "weights", .to = "output"},
                 {.from = "v", .to = "output"}},
      .title = "Encoder-decoder attention"};
}

// One step of decoding with a cache; its result is the token of the next step.
Diagram cached_step() {
  return {
      .boxes = {{.name = "token", .label = "Token t", .column = 1},
                {.name = "q", .label = "q_t", .row = 1, .role = DiagramRole::kQuery},
                {.name = "k", .label = "k_t", .column = 1, .row = 1, .role = DiagramRole::kKey},
                {.name = "v", .label = "v_t", .column = 2, .row = 1, .role = DiagramRole::kValue},
                {.name = "keys",
                 .label = "Cached keys\nk_1 … k_t",
                 .column = 1,
                 .row = 2,
                 .role = DiagramRole::kKey},
                {.name = "values",
                 .label = "Cached values\nv_1 … v_t",
                 .column = 2,
                 .row = 2,
                 .role = DiagramRole::kValue},
                {.name = "attention",
                 .label = "Attention",
                 .row = 3,
                 .column_span = 3,
                 .role = DiagramRole::kHighlighted},
                {.name = "next", .label = "Token t + 1", .column = 1, .row = 4}},
      .arrows = {{.from = "token", .to = "q"},
                 {.from = "token", .to = "k"},
                 {.from = "token", .to = "v"},
                 {.from = "k", .to = "keys", .label = "append"},
                 {.from = "v", .to = "values", .label = "append"},
                 {.from = "q", .to = "attention"},
                 {.from = "keys", .to = "attention"},
                 {.from = "values", .to = "attention"},
                 {.from = "attention", .to = "next"},
                 {.from = "next", .to = "token", .label = "next step", .dashed = true}},
      .title = "A cached step"};
}

// ---- Boxes --------------------------------------------------------------------------------------

TEST(Diagram, BoxesStandInTheirCells) {
  const auto layout = diagram_layout(cross_attention());
  const auto& b = layout.boxes;
  ASSERT_EQ(b.size(), 7u);
  EXPECT_EQ(b[0].x, b[2].x);  // encoder over v and k
  EXPECT_EQ(b[0].x + b[0].width, b[3].x + b[3].width);
  EXPECT_EQ(b[5].x, b[3].x);  // weights under k and q
  EXPECT_EQ(b[5].x + b[5].width, b[4].x + b[4].width);
  EXPECT_EQ(b[6].x, b[2].x);  // the output under all
  EXPECT_EQ(b[6].x + b[6].width, b[4].x + b[4].width);
  EXPECT_EQ(b[2].y, b[3].y);
  EXPECT_EQ(b[2].y, b[4].y);
  EXPECT_EQ(b[2].height, b[4].height);
  for (size_t i = 0; i < b.size(); ++i) {
    EXPECT_GE(b[i].x, 16);
    EXPECT_GE(b[i].y, 16);
    EXPECT_LE(b[i].x + b[i].width, layout.width - 16);
    EXPECT_LE(b[i].y + b[i].height, layout.height - 16);
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(overlap(grown(b[i], 10), b[j])) << i << ", " << j;
  }
}

TEST(Diagram, BoxesAreAsLargeAsTheirLabels) {
  const std::string wide = "a label that is quite long";
  const auto width = [](const std::string& label, int64_t span) {
    const auto layout =
        diagram_layout({.boxes = {{.name = "a", .label = label, .column_span = span},
                                  {.name = "b", .label = "b", .row = 1},
                                  {.name = "c", .label = "c", .column = 1, .row = 1}}});
    return layout.boxes[0].width;
  };
  EXPECT_GT(width(wide, 1), width("a", 1) + 50);
  EXPECT_GT(width(wide + wide, 2), width("a", 2) + 20);
  const auto height = [](const std::string& label) {
    return diagram_layout({.boxes = {{.name = "a", .label = label}}}).boxes[0].height;
  };
  EXPECT_GE(height("1\n2\n3\n4\n5"), height("1\n2\n3\n4") + 13);
}

TEST(Diagram, BoxesHaveTheColorsOfTheirRolesAndHoldTheirLabels) {
  for (const auto& diagram : {cross_attention(), cached_step()}) {
    const auto layout = diagram_layout(diagram);
    const Png png(diagram_png(diagram));
    ASSERT_EQ(png.width(), layout.width * kPngScale);
    ASSERT_EQ(png.height(), layout.height * kPngScale);
    for (size_t i = 0; i < diagram.boxes.size(); ++i) {
      const auto& box = layout.boxes[i];
      const auto color = diagram_colors(diagram.boxes[i].role).inside;
      // No letter comes near the border.
      for (double x = box.x + 8; x < box.x + box.width - 8; ++x) {
        EXPECT_EQ(png.at(Pixel{x, box.y + 5}), color) << i;
        EXPECT_EQ(png.at(Pixel{x, box.y + box.height - 5}), color) << i;
      }
      for (double y = box.y + 8; y < box.y + box.height - 8; ++y) {
        EXPECT_EQ(png.at(Pixel{box.x + 5, y}), color) << i;
        EXPECT_EQ(png.at(Pixel{box.x + box.width - 5, y}), color) << i;
      }
      int letters = 0;
      for (double y = box.y + 8; y < box.y + box.height - 8; y += 0.5) {
        for (double x = box.x + 8; x < box.x + box.width - 8; x += 0.5) {
          letters += png.at(Pixel{x, y}).green < 0x60;
        }
      }
      EXPECT_GT(letters, 20) << i;
    }
  }
}

TEST(Diagram, TheSvgHasTheBoxesAndEachLineOfTheirLabels) {
  const auto diagram = cross_attention();
  const auto layout = diagram_layout(diagram);
  const auto svg = diagram_svg(diagram);
  auto boxes = elements(svg, "rect");
  std::erase_if(boxes, [](const auto& e) { return e.attribute("rx").empty(); });  // the page
  const auto texts = elements(svg, "text");
  ASSERT_EQ(boxes.size(), diagram.boxes.size());
  for (size_t i = 0; i < boxes.size(); ++i) {
    const auto& area = layout.boxes[i];
    EXPECT_EQ(boxes[i].number("x"), area.x);
    EXPECT_EQ(boxes[i].number("y"), area.y);
    EXPECT_EQ(boxes[i].number("width"), area.width);
    EXPECT_EQ(boxes[i].number("height"), area.height);
    const auto colors = diagram_colors(diagram.boxes[i].role);
    EXPECT_EQ(boxes[i].attribute("fill"), hex(colors.inside));
    EXPECT_EQ(boxes[i].attribute("stroke"), hex(colors.border));
    std::istringstream lines(diagram.boxes[i].label);
    double above = area.y;
    for (std::string line; std::getline(lines, line);) {
      const auto text =
          std::find_if(texts.begin(), texts.end(), [&](const auto& t) { return t.text == line; });
      ASSERT_NE(text, texts.end()) << line;
      EXPECT_EQ(text->attribute("text-anchor"), "middle");
      EXPECT_NEAR(text->number("x"), area.x + area.width / 2, 0.006);
      EXPECT_GE(text->number("y") - text->number("font-size"), above) << line;
      above = text->number("y");
    }
    EXPECT_LT(above, area.y + area.height - 4);
  }
  EXPECT_EQ(count(svg, "stroke-width=\"3\""), 1u);  // the highlighted one
}

double linear(uint8_t channel) {
  const double c = channel / 255.0;
  return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
}

double luminance(Rgb c) {
  return 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
}

TEST(DiagramColors, LettersCanBeReadAndRolesDiffer) {
  std::set<std::string> colors;
  for (const auto role : kRoles) {
    const auto [inside, border] = diagram_colors(role);
    colors.insert(hex(inside));
    colors.insert(hex(border));
    const double ink = luminance({0x1F, 0x23, 0x28});
    EXPECT_GE((luminance(inside) + 0.05) / (ink + 0.05), 7);  // WCAG 2.1, level AAA
  }
  EXPECT_EQ(colors.size(), 2 * kRoles.size());
}

// ---- Arrows -------------------------------------------------------------------------------------

TEST(Diagram, ArrowsConnectTheBordersOfTheirBoxes) {
  for (const auto& diagram : {cross_attention(), cached_step()}) {
    const auto layout = diagram_layout(diagram);
    expect_arrows_connect(diagram, layout);
    expect_labels_are_free(diagram, layout);
    EXPECT_EQ(crossings(layout), 0);
  }
  // What is above each other is connected straight.
  const auto layout = diagram_layout(cross_attention());
  for (const auto& arrow : layout.arrows) EXPECT_EQ(arrow.points.size(), 2u);
  // The way back runs around the boxes.
  EXPECT_GE(diagram_layout(cached_step()).arrows.back().points.size(), 4u);
}

TEST(Diagram, ArrowsAreDrawnWhereTheLayoutSays) {
  for (const auto& diagram : {cross_attention(), cached_step()}) {
    const auto layout = diagram_layout(diagram);
    const auto svg = diagram_svg(diagram);
    const Png png(diagram_png(diagram));
    const auto lines = elements(svg, "polyline"), heads = elements(svg, "polygon");
    ASSERT_EQ(lines.size(), diagram.arrows.size());
    ASSERT_EQ(heads.size(), diagram.arrows.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      const auto &expected = layout.arrows[i].points, drawn = lines[i].points<Pixel>();
      ASSERT_EQ(drawn.size(), expected.size());
      for (size_t k = 0; k + 1 < drawn.size(); ++k) {
        EXPECT_EQ(drawn[k].x, expected[k].x);
        EXPECT_EQ(drawn[k].y, expected[k].y);
      }
      const auto tip = heads[i].points<Pixel>().at(0), end = expected.back();
      EXPECT_EQ(tip.x, end.x);
      EXPECT_EQ(tip.y, end.y);
      // The line ends inside the head, on the last segment.
      const auto before = expected[expected.size() - 2], last = drawn.back();
      EXPECT_TRUE(overlap(grown(area_of(last, last), 0.1), grown(area_of(before, end), 0.1)));
      const double rest = std::abs(last.x - end.x) + std::abs(last.y - end.y);
      EXPECT_GT(rest, 3);
      EXPECT_LT(rest, 9);
      EXPECT_EQ(lines[i].attribute("stroke-dasharray").empty(), !diagram.arrows[i].dashed);

      const double length = std::abs(end.x - before.x) + std::abs(end.y - before.y);
      const double x = (end.x - before.x) / length, y = (end.y - before.y) / length;
      EXPECT_EQ(png.at(Pixel{end.x - 5 * x, end.y - 5 * y}), kArrowColor) << i;
      EXPECT_EQ(png.at(Pixel{end.x - 8 * x + 2 * y, end.y - 8 * y + 2 * x}), kArrowColor) << i;
      if (diagram.arrows[i].dashed) continue;
      for (size_t k = 1; k < expected.size(); ++k) {
        EXPECT_EQ(png.at(Pixel{(expected[k - 1].x + expected[k].x) / 2,
                               (expected[k - 1].y + expected[k].y) / 2}),
                  kArrowColor)
            << i << ", " << k;
      }
    }
  }
}

TEST(Diagram, LabelsOfArrowsStandBesideThem) {
  const auto diagram = cached_step();
  const auto layout = diagram_layout(diagram);
  const auto texts = elements(diagram_svg(diagram), "text");
  for (const size_t i : {3, 4, 9}) {
    const auto& label = layout.arrows[i].label;
    const auto found = std::count_if(texts.begin(), texts.end(), [&](const auto& text) {
      return text.text == diagram.arrows[i].label &&
             std::abs(text.number("x") - label.x - label.width / 2) < 0.01 &&
             text.number("y") > label.y && text.number("y") < label.y + label.height;
    });
    EXPECT_EQ(found, 1) << i;
  }
}

TEST(Diagram, LabelsFitBetweenBoxesSideBySide) {
  const Diagram diagram{
      .boxes = {{.name = "a", .label = "a"}, {.name = "b", .label = "b", .column = 1}},
      .arrows = {{.from = "b", .to = "a", .label = "a label that needs some room"}}};
  const auto layout = diagram_layout(diagram);
  expect_arrows_connect(diagram, layout);
  expect_labels_are_free(diagram, layout);
  EXPECT_EQ(layout.arrows[0].points.size(), 2u);
  EXPECT_GT(layout.boxes[1].x - layout.boxes[0].x - layout.boxes[0].width,
            layout.arrows[0].label.width);
}

TEST(Diagram, ArrowsKeepApartFromEachOther) {
  Diagram diagram{.boxes = {{.name = "hub", .label = "hub", .row = 2}}};
  for (int64_t i = 0; i < 5; ++i) {
    const auto name = std::to_string(i);
    diagram.boxes.push_back({.name = name, .label = name, .column = 1, .row = i});
    diagram.arrows.push_back({.from = "hub", .to = name, .label = "to " + name});
    diagram.arrows.push_back({.from = name, .to = "hub", .label = "back"});
  }
  const auto layout = diagram_layout(diagram);
  expect_arrows_connect(diagram, layout);
  expect_labels_are_free(diagram, layout);
  EXPECT_EQ(crossings(layout), 0);
}

TEST(Diagram, ArrowsFindTheirWayThroughAnyDiagram) {
  std::mt19937 random(7);
  const auto below = [&](int64_t end) { return static_cast<int64_t>(random() % end); };
  for (int round = 0; round < 20; ++round) {
    Diagram diagram;
    std::set<std::pair<int64_t, int64_t>> taken;
    for (int i = 0; i < 12; ++i) {
      DiagramBox box{.name = std::to_string(i),
                     .label = std::string(static_cast<size_t>(below(20)), 'x'),
                     .column = below(5),
                     .row = below(5),
                     .column_span = 1 + below(2),
                     .row_span = 1 + below(2)};
      std::set<std::pair<int64_t, int64_t>> cells;
      for (int64_t x = 0; x < box.column_span; ++x) {
        for (int64_t y = 0; y < box.row_span; ++y) cells.emplace(box.column + x, box.row + y);
      }
      const bool is_free = std::none_of(cells.begin(), cells.end(),
                                        [&](const auto& cell) { return taken.contains(cell); });
      if (!is_free) continue;
      taken.insert(cells.begin(), cells.end());
      diagram.boxes.push_back(box);
    }
    const auto boxes = static_cast<int64_t>(diagram.boxes.size());
    ASSERT_GE(boxes, 2);
    for (int i = 0; i < 10; ++i) {
      const auto from = below(boxes), to = (from + 1 + below(boxes - 1)) % boxes;
      diagram.arrows.push_back({.from = diagram.boxes[static_cast<size_t>(from)].name,
                                .to = diagram.boxes[static_cast<size_t>(to)].name});
    }
    SCOPED_TRACE(round);
    expect_arrows_connect(diagram, diagram_layout(diagram));
    EXPECT_EQ(shared_length(diagram_layout(diagram)), 0);
  }
}

// ---- Pictures -----------------------------------------------------------------------------------

TEST(Diagram, NothingIsCutOff) {
  const std::string sentence =
      "a text that is longer than many a picture is wide, so that something has to be done to it";
  auto diagram = cached_step();
  diagram.title = sentence + ", " + sentence;
  diagram.boxes[2].label = sentence + "\n日本語\n\n" + sentence;
  diagram.arrows[9].label = sentence;
  for (const auto& picture : {diagram, Diagram{.boxes = {{.name = "a"}}},
                              Diagram{.boxes = {{.name = "a"}}, .title = sentence}}) {
    expect_white_margin(diagram_png(picture), std::to_string(picture.boxes.size()));
  }
}

TEST(Diagram, TextIsNeverMarkup) {
  auto diagram = cross_attention();
  diagram.title = "<script>alert(1)</script>";
  diagram.boxes[0].label = "<b>\n\"a\" & 'b'\n\x01\xFF";
  diagram.arrows[0].label = "</svg>";
  const auto svg = diagram_svg(diagram);
  for (const auto* markup : {"<b>", "<script", "\x01", "\xFF"}) {
    EXPECT_EQ(count(svg, markup), 0u) << markup;
  }
  EXPECT_EQ(count(svg, "</svg>"), 1u);
  for (const auto* text : {"&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;b&gt;",
                           "&quot;a&quot; &amp; &#39;b&#39;", "\uFFFD\uFFFD", "&lt;/svg&gt;"}) {
    EXPECT_EQ(count(svg, std::string(">") + text + "</text>"), 1u) << text;
  }
  EXPECT_EQ(count(svg, "<title>&lt;script&gt;"), 1u);
}

TEST(Diagram, ThePictureIsTheSameEveryTime) {
  EXPECT_EQ(diagram_png(cached_step()), diagram_png(cached_step()));
  EXPECT_EQ(diagram_svg(cached_step()), diagram_svg(cached_step()));
}

// ---- Errors and files ---------------------------------------------------------------------------

void expect_refused(const Diagram& diagram, const std::string& message) {
  EXPECT_THROW_MESSAGE(diagram_png(diagram), c10::ValueError, message);
  EXPECT_THROW_MESSAGE(diagram_svg(diagram), c10::ValueError, message);
  EXPECT_THROW_MESSAGE(diagram_layout(diagram), c10::ValueError, message);
}

TEST(Diagram, BoxesThatDoNotFitAreRefused) {
  expect_refused({}, "Diagram: expected at least one box, got none");
  expect_refused({.boxes = {{.name = "a"}, {.column = 1}}},
                 "Diagram: expected a name for every box, got none for box 1");
  expect_refused({.boxes = {{.name = "a"}, {.name = "a", .column = 1}}},
                 "Diagram: expected boxes of different names, got two of the name \"a\"");
  expect_refused({.boxes = {{.name = "a", .column_span = 2}, {.name = "b", .column = 1}}},
                 "Diagram: expected boxes in cells of their own, got \"a\" and \"b\" in column 1, "
                 "row 0");
  expect_refused({.boxes = {{.name = "a", .column = 14, .column_span = 3}}},
                 "Diagram: expected the box \"a\" in columns 0 to 15, got 3 from 14 on");
  expect_refused({.boxes = {{.name = "a", .row = -1}}},
                 "Diagram: expected the box \"a\" in rows 0 to 15, got 1 from -1 on");
  expect_refused({.boxes = {{.name = "a", .row_span = 0}}},
                 "Diagram: expected the box \"a\" in rows 0 to 15, got 0 from 0 on");
  expect_refused({.boxes = {{.name = "a", .label = "1\n2\n3\n4\n5\n6\n7\n8\n9"}}},
                 "Diagram: expected at most 8 lines in the label of the box \"a\", got 9");
}

TEST(Diagram, ArrowsThatConnectNothingAreRefused) {
  const std::vector<DiagramBox> boxes{{.name = "a"}, {.name = "b", .column = 1}};
  expect_refused({.boxes = boxes, .arrows = {{.from = "a", .to = "c"}}},
                 "Diagram: expected arrows between boxes of the diagram, got one from \"a\" to "
                 "\"c\"");
  expect_refused({.boxes = boxes, .arrows = {{.to = "b"}}},
                 "Diagram: expected arrows between boxes of the diagram, got one from \"\" to "
                 "\"b\"");
  expect_refused({.boxes = boxes, .arrows = {{.from = "b", .to = "b"}}},
                 "Diagram: expected arrows between two boxes, got one from \"b\" to itself");
  expect_refused({.boxes = boxes, .arrows = std::vector<DiagramArrow>(129)},
                 "Diagram: expected at most 128 arrows, got 129");
}

TEST(Diagram, FilesHoldThePictures) {
  const TemporaryFolder folder;
  write_png(folder.path() / "a.png", cross_attention());
  write_svg(folder.path() / "a.svg", cross_attention());
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "a.png"), diagram_png(cross_attention()));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "a.svg"), diagram_svg(cross_attention()));
  EXPECT_THROW(write_png(folder.path() / "missing" / "a.png", cross_attention()), FileError);
}

}  // namespace
}  // namespace attend::diagram_test
