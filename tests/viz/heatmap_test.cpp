#include "attend/viz/heatmap.h"

#include <fontconfig/fontconfig.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attend/file_error.h"
#include "support/temporary_folder.h"
#include "viz/heatmap_plan.h"
#include "viz/pictures.h"

namespace attend::heatmap_test {
namespace {

using testing_support::count;
using testing_support::expect_white_margin;
using testing_support::Png;
using testing_support::TemporaryFolder;
using Labels = std::vector<std::string>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---- Looking at pictures ------------------------------------------------------------------------

// Where the parts of a picture are, in px of an SVG picture.
struct Layout {
  struct Panel {
    double x = 0, y = 0;        // top left corner of cell (0, 0)
    double cell_size = 0;       // side of a cell
    double minimum = 0;         // value of the darkest colour
    double maximum = 0;         // value of the lightest colour
    bool shows_values = false;  // whether the values are written into the cells
  };

  double width = 0, height = 0;
  std::vector<Panel> panels;
};

Layout layout_of(const detail::HeatmapPlan& plan) {
  Layout layout{plan.width, plan.height, {}};
  for (const auto& panel : plan.panels) {
    layout.panels.push_back({panel.origin.x, panel.origin.y, panel.cell, plan.scale.minimum,
                             plan.scale.maximum, panel.shows_values});
  }
  return layout;
}

Layout heatmap_layout(const Heatmap& heatmap) {
  return layout_of(detail::plan_heatmap(heatmap, detail::FontBook()));
}
Layout heatmap_layout(const HeatmapGrid& grid) {
  return layout_of(detail::plan_heatmap(grid, detail::FontBook()));
}

// The pixel at (across, down) of a cell, both in [0, 1].
Rgb cell_pixel(const Png& png, const Layout::Panel& panel, int64_t row, int64_t column,
               double across = 0.5, double down = 0.5) {
  const double x = panel.x + (static_cast<double>(column) + across) * panel.cell_size;
  const double y = panel.y + (static_cast<double>(row) + down) * panel.cell_size;
  return png.at(static_cast<int>(x * kPngScale), static_cast<int>(y * kPngScale));
}

Rgb expected_color(double value, const Layout::Panel& panel) {
  return viridis((value - panel.minimum) / (panel.maximum - panel.minimum));
}

void expect_cells_show_values(const Heatmap& heatmap) {
  const Png png(heatmap_png(heatmap));
  const auto layout = heatmap_layout(heatmap);
  ASSERT_EQ(png.width(), layout.width * kPngScale);
  ASSERT_EQ(png.height(), layout.height * kPngScale);
  const auto& panel = layout.panels.at(0);
  const auto values = heatmap.values.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto cells = values.accessor<double, 2>();
  // Beside the value, where one is written.
  const double down = panel.shows_values ? 0.1 : 0.5;
  for (int64_t row = 0; row < cells.size(0); ++row) {
    for (int64_t column = 0; column < cells.size(1); ++column) {
      EXPECT_EQ(cell_pixel(png, panel, row, column, 0.5, down),
                expected_color(cells[row][column], panel))
          << row << ", " << column << ": " << cells[row][column];
    }
  }
}

struct SvgText {
  double x = 0, y = 0, size = 0, degrees = 0;
  std::string anchor, text;
};

std::vector<SvgText> svg_texts(const std::string& svg) {
  static const std::regex element("<text ([^>]*)>([^<]*)</text>");
  static const std::regex attribute("([a-z-]+)=\"([^\"]*)\"");
  std::vector<SvgText> texts;
  for (std::sregex_iterator i(svg.begin(), svg.end(), element), end; i != end; ++i) {
    SvgText text;
    text.text = (*i)[2];
    const std::string attributes = (*i)[1];
    for (std::sregex_iterator a(attributes.begin(), attributes.end(), attribute); a != end; ++a) {
      const std::string name = (*a)[1], value = (*a)[2];
      if (name == "x") text.x = std::stod(value);
      if (name == "y") text.y = std::stod(value);
      if (name == "font-size") text.size = std::stod(value);
      if (name == "text-anchor") text.anchor = value;
      if (name == "transform") text.degrees = std::stod(value.substr(std::strlen("rotate(")));
    }
    texts.push_back(text);
  }
  return texts;
}

// What is wrong with `text` between tags or in an attribute; empty where nothing is.
std::string xml_text_problem(std::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    const auto rest = text.substr(at);
    if (static_cast<unsigned char>(text[at]) < 0x20 && text[at] != '\n') return "control character";
    if (rest.starts_with("\xEF\xBF\xBE") || rest.starts_with("\xEF\xBF\xBF")) return "noncharacter";
    if (text[at] == '<' || text[at] == '>') return "bare < or >";
    if (text[at] != '&') continue;
    const auto entities = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    if (std::none_of(entities.begin(), entities.end(),
                     [&](const char* entity) { return rest.starts_with(entity); })) {
      return "bare &";
    }
  }
  return "";
}

// What is wrong with ` name="value"...`, the attributes of a tag; empty where nothing is.
std::string xml_attributes_problem(std::string_view attributes) {
  while (!attributes.empty()) {
    const auto equals = attributes.find("=\"");
    if (attributes[0] != ' ' || equals == std::string_view::npos) return "malformed attribute";
    const auto end = attributes.find('"', equals + 2);
    if (end == std::string_view::npos) return "unclosed attribute";
    const auto problem = xml_text_problem(attributes.substr(equals + 2, end - equals - 2));
    if (!problem.empty()) return problem + " in an attribute";
    attributes.remove_prefix(end + 1);
  }
  return "";
}

// What is wrong with `xml`; empty where it is well-formed (of the parts of XML that SVG needs).
std::string xml_problem(std::string_view xml) {
  std::vector<std::string_view> open;
  while (!xml.empty()) {
    const auto begin = std::min(xml.find('<'), xml.size());
    const auto problem = xml_text_problem(xml.substr(0, begin));
    if (!problem.empty()) return problem;
    xml.remove_prefix(begin);
    if (xml.empty()) break;
    const auto end = xml.find('>');
    if (end == std::string_view::npos) return "unclosed tag";
    auto tag = xml.substr(1, end - 1);
    xml.remove_prefix(end + 1);
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1))
        return "unexpected <" + std::string(tag) + ">";
      open.pop_back();
      continue;
    }
    const bool is_empty = tag.ends_with('/');
    if (is_empty) tag.remove_suffix(1);
    const auto name = tag.substr(0, tag.find(' '));
    if (name.empty() || !std::all_of(name.begin(), name.end(),
                                     [](unsigned char c) { return std::isalpha(c) != 0; })) {
      return "malformed tag <" + std::string(tag) + ">";
    }
    const auto in_attributes = xml_attributes_problem(tag.substr(name.size()));
    if (!in_attributes.empty()) return in_attributes;
    if (!is_empty) open.push_back(name);
  }
  return open.empty() ? "" : "unclosed <" + std::string(open.back()) + ">";
}

std::string error_of(const Heatmap& heatmap) {
  try {
    heatmap_png(heatmap);
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  }
  return {};
}

const Labels kEnglish{"The", "cat", "sits", "on", "the", "mat"};
const Labels kFrench{"Le", "chat", "est", "assis", "sur", "le", "tapis"};

Heatmap alignment() {
  const auto values = torch::softmax(torch::arange(42).reshape({7, 6}).cos() * 3, -1);
  return {values,
          kFrench,
          kEnglish,
          {.title = "Cross-attention",
           .x_label = "source",
           .y_label = "translation",
           .value_label = "attention weight"}};
}

Labels long_labels(int64_t n) {
  const Labels words{"internationalisation", "a", "▁incompréhensibilités", "日本語",
                     "Donaudampfschifffahrtsgesellschaftskapitän-und-so-weiter-und-so-fort"};
  Labels labels;
  for (int64_t i = 0; i < n; ++i) labels.push_back(words[static_cast<size_t>(i) % words.size()]);
  return labels;
}

// ---- Cells --------------------------------------------------------------------------------------

TEST(Heatmap, EveryCellHasTheColorOfItsValue) {
  auto heatmap = alignment();
  expect_cells_show_values(heatmap);
  heatmap.options.show_values = false;
  expect_cells_show_values(heatmap);
}

TEST(Heatmap, ManyCellsHaveTheColorsOfTheirValuesToo) {
  expect_cells_show_values({torch::arange(3 * 60).reshape({3, 60}), {}, {}, {}});
  expect_cells_show_values({torch::arange(101 * 107).reshape({101, 107}).sin(), {}, {}, {}});
}

TEST(Heatmap, TwoThousandTokensAreShown) {
  const auto values = torch::eye(2000);
  const Heatmap heatmap{values, Labels(2000, "x"), Labels(2000, "y"), {}};
  const Png png(heatmap_png(heatmap));
  const auto panel = heatmap_layout(heatmap).panels.at(0);
  for (const int64_t row : {0, 7, 1234, 1999}) {
    EXPECT_EQ(cell_pixel(png, panel, row, row), expected_color(1, panel)) << row;
    EXPECT_EQ(cell_pixel(png, panel, row, (row + 500) % 2000), expected_color(0, panel)) << row;
  }
}

TEST(Heatmap, AnyKindOfTensorIsShown) {
  const auto values = torch::arange(6).reshape({2, 3});
  for (const auto dtype : {at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    expect_cells_show_values({values.to(dtype), {}, {}, {}});
  }
  expect_cells_show_values({values > 2, {}, {}, {}});
  expect_cells_show_values({values.t(), {}, {}, {}});  // not contiguous
  expect_cells_show_values({values.to(at::kFloat).requires_grad_(), {}, {}, {}});
}

TEST(Heatmap, TheScaleBeginsAtZeroUnlessAValueIsNegative) {
  const auto scale = [](const torch::Tensor& values, const HeatmapOptions& options = {}) {
    const auto panel = heatmap_layout({values, {}, {}, options}).panels.at(0);
    return std::pair(panel.minimum, panel.maximum);
  };
  EXPECT_EQ(scale(torch::tensor({{0.25, 0.75}})), std::pair(0.0, 0.75));
  EXPECT_EQ(scale(torch::tensor({{-2.0, 6.0}})), std::pair(-2.0, 6.0));
  EXPECT_EQ(scale(torch::tensor({{-2.0, -1.0}})), std::pair(-2.0, -1.0));
  EXPECT_EQ(scale(torch::tensor({{0.0, 0.0}})), std::pair(0.0, 1.0));
  EXPECT_EQ(scale(torch::tensor({{kNan, kInfinity}})), std::pair(0.0, 1.0));
  EXPECT_EQ(scale(torch::tensor({{0.25, 0.75}}), {.minimum = 0.5}), std::pair(0.5, 0.75));
  EXPECT_EQ(scale(torch::tensor({{0.25, 0.75}}), {.minimum = 2}), std::pair(2.0, 3.0));
  EXPECT_EQ(scale(torch::tensor({{0.25, 0.75}}), {.maximum = -1}), std::pair(-2.0, -1.0));
  EXPECT_EQ(scale(torch::tensor({{0.25, 0.75}}), {.minimum = 0.1, .maximum = 0.2}),
            std::pair(0.1, 0.2));
}

TEST(Heatmap, ValuesBeyondTheScaleAreDrawnAsItsEnds) {
  expect_cells_show_values({torch::tensor({{-5.0, 0.0, 1.0, 9.0}}),
                            {},
                            {},
                            {.show_values = false, .minimum = 0, .maximum = 1}});
  const Heatmap heatmap{
      torch::tensor({{-kInfinity, 0.5, kInfinity}}), {}, {}, {.show_values = false}};
  const Png png(heatmap_png(heatmap));
  const auto panel = heatmap_layout(heatmap).panels.at(0);
  EXPECT_EQ(cell_pixel(png, panel, 0, 0), viridis(0));
  EXPECT_EQ(cell_pixel(png, panel, 0, 2), viridis(1));
}

TEST(Heatmap, MissingValuesAreHatchedGreyAndExplained) {
  const Heatmap heatmap{torch::tensor({{0.5, kNan}, {1.0, 0.0}}), {}, {}, {.show_values = false}};
  const Png png(heatmap_png(heatmap));
  const auto panel = heatmap_layout(heatmap).panels.at(0);
  int ground = 0, stripes = 0;
  for (double down = 0.1; down < 0.9; down += 0.02) {
    const auto pixel = cell_pixel(png, panel, 0, 1, 0.5, down);
    EXPECT_LT(std::abs(pixel.red - pixel.blue), 12);
    (pixel.red > 220 ? ground : stripes) += 1;
  }
  EXPECT_GT(ground, 0);
  EXPECT_GT(stripes, 0);
  EXPECT_EQ(count(heatmap_svg(heatmap), "no value (NaN)"), 1u);
  EXPECT_EQ(count(heatmap_svg(alignment()), "no value (NaN)"), 0u);
}

TEST(Heatmap, ValuesAreWrittenWhereTheyFit) {
  const auto svg = heatmap_svg({torch::tensor({{0.123, 1.0}}), {}, {}, {}});
  EXPECT_EQ(count(svg, ">0.12</text>"), 1u);
  EXPECT_EQ(count(svg, ">1.00</text>"), 1u);
  EXPECT_TRUE(heatmap_layout(alignment()).panels.at(0).shows_values);
  EXPECT_FALSE(heatmap_layout({torch::rand({40, 40}), {}, {}, {}}).panels.at(0).shows_values);
  EXPECT_FALSE(heatmap_layout({torch::rand({2, 2}), {}, {}, {.show_values = false}})
                   .panels.at(0)
                   .shows_values);
}

TEST(Heatmap, CellsHaveTheSizeAskedFor) {
  EXPECT_EQ(
      heatmap_layout({torch::rand({2, 3}), {}, {}, {.cell_size = 100}}).panels.at(0).cell_size,
      100);
  expect_cells_show_values({torch::arange(6).reshape({2, 3}), {}, {}, {.cell_size = 7.3}});
}

// ---- Labels -------------------------------------------------------------------------------------

class HeatmapSizeTest : public testing::TestWithParam<int64_t> {};

TEST_P(HeatmapSizeTest, NothingIsCutOff) {
  const auto n = GetParam();
  const auto values = torch::rand({n, n});
  const HeatmapOptions options{.title =
                                   "A title that is longer than a small picture is wide, so "
                                   "that it is broken into lines",
                               .x_label = "what the columns are, at some length",
                               .y_label = "what the rows are, at some length",
                               .value_label = "what the colours are, at some length"};
  expect_white_margin(heatmap_png({values, long_labels(n), long_labels(n), options}), "labels");
  expect_white_margin(heatmap_png({values, {}, {}, {}}), "positions");
}

INSTANTIATE_TEST_SUITE_P(Cells, HeatmapSizeTest, testing::Values(1, 2, 5, 11, 23, 40, 70, 150),
                         testing::PrintToStringParamName());

TEST(Heatmap, NothingOfARowOrAColumnIsCutOff) {
  const auto wide = torch::full({1, 30}, kNan);
  expect_white_margin(heatmap_png({wide, {"row"}, long_labels(30), {}}), "one row");
  expect_white_margin(heatmap_png({wide.t(), long_labels(30), {"column"}, {}}), "one column");
}

// The distance of two parallel lines of text, at right angles to them.
double line_distance(const SvgText& a, const SvgText& b) {
  const double angle = a.degrees * std::acos(-1.0) / 180;
  return std::abs(-std::sin(angle) * (b.x - a.x) + std::cos(angle) * (b.y - a.y));
}

TEST(Heatmap, LabelsDoNotOverlap) {
  for (const int64_t n : {2, 7, 15, 20, 40, 64, 100, 300}) {
    for (const bool named : {true, false}) {
      const auto labels = named ? long_labels(n) : Labels{};
      const auto svg = heatmap_svg(
          {torch::rand({n, n}), labels, labels, {.show_values = false, .show_color_bar = false}});
      const auto texts = svg_texts(svg);
      ASSERT_GE(texts.size(), 2u);
      for (size_t i = 1; i < texts.size(); ++i) {
        const auto &a = texts[i - 1], &b = texts[i];
        if (a.anchor != b.anchor || a.degrees != b.degrees) continue;
        const bool side_by_side = a.y == b.y && a.degrees == 0;
        // Digits are 0.64 of their size wide; words are never put side by side beyond their cell.
        const double room = side_by_side && !named
                                ? 0.64 * a.size * static_cast<double>(b.text.size())
                                : (side_by_side ? 0 : a.size);
        EXPECT_GE(side_by_side ? b.x - a.x : line_distance(a, b), room)
            << n << ": " << a.text << ", " << b.text;
      }
    }
  }
}

TEST(Heatmap, LabelsStandBesideTheirCells) {
  const auto heatmap = alignment();
  const auto panel = heatmap_layout(heatmap).panels.at(0);
  const auto texts = svg_texts(heatmap_svg(heatmap));
  const auto find = [&](const std::string& label) {
    return *std::find_if(texts.begin(), texts.end(),
                         [&](const auto& t) { return t.text == label; });
  };
  for (size_t row = 0; row < kFrench.size(); ++row) {
    const auto text = find(kFrench[row]);
    const double middle = panel.y + (static_cast<double>(row) + 0.5) * panel.cell_size;
    EXPECT_EQ(text.anchor, "end");
    EXPECT_LT(text.x, panel.x);
    EXPECT_NEAR(text.y, middle, text.size / 2);
  }
  for (size_t column = 0; column < kEnglish.size(); ++column) {
    const auto text = find(kEnglish[column]);
    EXPECT_NEAR(text.x, panel.x + (static_cast<double>(column) + 0.5) * panel.cell_size, 0.1);
    EXPECT_LT(text.y, panel.y);
  }
}

// Two characters that DejaVu has not are drawn as two, not as the same empty box.
TEST(Heatmap, LettersOfEveryScriptHaveTheirShapes) {
  const std::unique_ptr<FcPattern, void (*)(FcPattern*)> pattern(
      FcNameParse(reinterpret_cast<const FcChar8*>(":lang=ja")), FcPatternDestroy);
  const std::unique_ptr<FcFontSet, void (*)(FcFontSet*)> fonts(
      FcFontList(nullptr, pattern.get(), nullptr), FcFontSetDestroy);
  if (fonts == nullptr || fonts->nfont == 0) {
    GTEST_SKIP() << "no font with Japanese letters: scripts/setup installs fonts-droid-fallback";
  }
  const auto drawn = [](const std::string& label) {
    return Png(heatmap_png({torch::ones({1, 1}), {label}, {"x"}, {}}));
  };
  EXPECT_FALSE(drawn("日") == drawn("本"));
  EXPECT_FALSE(drawn("é") == drawn("è"));
  EXPECT_TRUE(drawn("日") == drawn("日"));
}

TEST(Heatmap, WithoutLabelsThePositionsAreShown) {
  const auto texts = svg_texts(
      heatmap_svg({torch::rand({2, 3}), {}, {}, {.show_values = false, .show_color_bar = false}}));
  Labels labels;
  for (const auto& text : texts) labels.push_back(text.text);
  EXPECT_EQ(labels, (Labels{"0", "1", "0", "1", "2"}));
}

TEST(Heatmap, TheColorBarSpansTheScale) {
  const Heatmap heatmap{torch::tensor({{0.0, 0.5}, {0.75, 1.0}}), {}, {}, {.show_values = false}};
  const auto svg = heatmap_svg(heatmap);
  for (const auto* tick : {">0.0</text>", ">0.2</text>", ">0.8</text>", ">1.0</text>"}) {
    EXPECT_EQ(count(svg, tick), 1u) << tick;
  }
  EXPECT_EQ(count(svg, "linearGradient id="), 1u);
  auto without = heatmap;
  without.options.show_color_bar = false;
  EXPECT_EQ(count(heatmap_svg(without), "linearGradient"), 0u);
  EXPECT_LT(heatmap_layout(without).width, heatmap_layout(heatmap).width);
}

// ---- Text that cannot be drawn ------------------------------------------------------------------

// Every noncharacter of Unicode, control characters, surrogates and other bytes that are not UTF-8.
Labels undrawable() {
  Labels all{"\x01",         "\x1B",         "\x7F", "\xC2\x85",
             "\xED\xA0\x80", "\xED\xBF\xBF", "\xFF", "\xC0\x80"};
  const auto add = [&](uint32_t c) {
    std::string bytes;
    const auto tail = [&](unsigned shift) {
      bytes += static_cast<char>(0x80U | ((c >> shift) & 0x3FU));
    };
    if (c < 0x10000) {
      bytes += static_cast<char>(0xE0U | (c >> 12U));
    } else {
      bytes += static_cast<char>(0xF0U | (c >> 18U));
      tail(12);
    }
    tail(6);
    tail(0);
    all.push_back(bytes);
  };
  for (uint32_t c = 0xFDD0; c <= 0xFDEF; ++c) add(c);
  for (uint32_t plane = 0; plane <= 16; ++plane) {
    add(plane << 16U | 0xFFFEU);
    add(plane << 16U | 0xFFFFU);
  }
  return all;
}

TEST(Heatmap, WhatCannotBeDrawnIsDrawnAsTheReplacementCharacter) {
  const auto picture = [](const std::string& text) {
    return Heatmap{torch::zeros({1, 1}), {text}, {"x" + text}, {.title = text}};
  };
  constexpr size_t kAtATime = 10;
  const auto all = undrawable();
  for (size_t from = 0; from < all.size(); from += kAtATime) {
    std::string text, replacement;
    for (size_t i = from; i < std::min(all.size(), from + kAtATime); ++i) {
      text += all[i] + " ";
      // Of what is no UTF-8, each byte is replaced: those of surrogates and of an overlong NUL.
      const bool by_bytes = all[i][0] == '\xED' || all[i][0] == '\xC0';
      for (size_t b = 0; b < (by_bytes ? all[i].size() : 1); ++b) replacement += "\uFFFD";
      replacement += " ";
    }
    SCOPED_TRACE(testing::PrintToString(text));
    EXPECT_EQ(heatmap_png(picture(text)), heatmap_png(picture(replacement)));
    EXPECT_EQ(heatmap_svg(picture(text)), heatmap_svg(picture(replacement)));
    EXPECT_EQ(heatmap_text(picture(text)), heatmap_text(picture(replacement)));
  }
  EXPECT_NO_THROW(heatmap_png(picture("\uFEFFmark")));  // a byte order mark has no width
}

// ---- SVG ----------------------------------------------------------------------------------------

TEST(Heatmap, TheSvgIsWellFormedWhateverTheLabelsHold) {
  const Labels nasty{"<script>alert(1)</script>",
                     "a & b",
                     "\"quoted\" 'text'",
                     "]]>",
                     "control\x01\n\t\x1B[31m",
                     "\xFF\xC3 broken",
                     "\xEF\xBF\xBF",
                     "\xEF\xB7\x90 \xF0\x9F\xBF\xBE",
                     "",
                     "&amp;",
                     "--><!--"};
  const auto n = static_cast<int64_t>(nasty.size());
  const auto svg = heatmap_svg(
      {torch::rand({n, n}),
       nasty,
       nasty,
       {.title = nasty[0], .x_label = nasty[1], .y_label = nasty[2], .value_label = nasty[4]}});
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_EQ(count(svg, "<script"), 0u);
  EXPECT_GE(count(svg, "&lt;script&gt;alert(1)&lt;/script&gt;"), 3u);
  EXPECT_EQ(xml_problem(heatmap_svg({torch::full({3, 3}, kNan), {}, {}, {}})), "");
  // The check can fail.
  EXPECT_EQ(xml_problem("<a><b></a>"), "unexpected </a>");
  EXPECT_EQ(xml_problem("<a x=\"<\"/>"), "bare < or > in an attribute");
  EXPECT_EQ(xml_problem("<a>R&D</a>"), "bare &");
}

TEST(Heatmap, TheSvgHasTheCellsTheirColorsAndTooltips) {
  const auto svg = heatmap_svg({torch::tensor({{0.25, 1.0}}), {"chat"}, {"the", "cat"}, {}});
  const auto color = viridis(0.25);
  char hex[8];
  std::snprintf(hex, sizeof(hex), "#%02x%02x%02x", color.red, color.green, color.blue);
  EXPECT_EQ(count(svg, std::string("fill=\"") + hex + "\"><title>chat / the: 0.25</title>"), 1u)
      << svg;
  EXPECT_EQ(count(svg, "<title>chat / cat: 1</title>"), 1u);
}

TEST(Heatmap, AnSvgOfManyCellsHoldsThemAsOneImage) {
  const auto svg = heatmap_svg({torch::rand({101, 100}), {}, {}, {}});
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_EQ(count(svg, "<image "), 1u);
  EXPECT_LT(count(svg, "<rect "), 10u);
}

TEST(Heatmap, ThePictureIsTheSameEveryTime) {
  EXPECT_EQ(heatmap_png(alignment()), heatmap_png(alignment()));
  EXPECT_EQ(heatmap_svg(alignment()), heatmap_svg(alignment()));
}

// ---- Grids --------------------------------------------------------------------------------------

HeatmapGrid heads(int64_t n) {
  HeatmapGrid grid;
  grid.title = "Layer 2";
  for (int64_t head = 0; head < n; ++head) {
    grid.panels.push_back(alignment());
    grid.panels.back().options.title = "Head " + std::to_string(head + 1);
    grid.panels.back().values = grid.panels.back().values / static_cast<double>(head + 1);
  }
  return grid;
}

TEST(HeatmapGrid, ThePanelsShareOneScale) {
  const auto grid = heads(4);
  const auto layout = heatmap_layout(grid);
  const Png png(heatmap_png(grid));
  ASSERT_EQ(layout.panels.size(), 4u);
  for (size_t i = 0; i < grid.panels.size(); ++i) {
    const auto& panel = layout.panels[i];
    EXPECT_EQ(panel.maximum, layout.panels[0].maximum);
    const auto cells = grid.panels[i].values.to(at::kDouble);
    EXPECT_EQ(cell_pixel(png, panel, 6, 5, 0.5, 0.1),
              expected_color(cells[6][5].item<double>(), panel));
  }
}

TEST(HeatmapGrid, PanelsStandInRowsAndColumnsWithoutOverlap) {
  auto grid = heads(5);
  grid.columns = 3;
  const auto layout = heatmap_layout(grid);
  const auto& p = layout.panels;
  const double width = 6 * p[0].cell_size, height = 7 * p[0].cell_size;
  EXPECT_EQ(p[0].y, p[1].y);
  EXPECT_EQ(p[0].x, p[3].x);
  EXPECT_EQ(p[1].x, p[4].x);
  EXPECT_GT(p[1].x, p[0].x + width);
  EXPECT_GT(p[2].x, p[1].x + width);
  EXPECT_GT(p[3].y, p[0].y + height);
  EXPECT_LT(p[4].y + height, layout.height);
  expect_white_margin(heatmap_png(grid), "grid");
}

TEST(HeatmapGrid, SharedLabelsAreShownOnceInARowAndAColumn) {
  auto grid = heads(4);
  grid.columns = 2;
  const auto labels = [](const HeatmapGrid& g, const std::string& label) {
    return count(heatmap_svg(g), ">" + label + "</text>");
  };
  EXPECT_EQ(labels(grid, "tapis"), 2u);
  EXPECT_EQ(labels(grid, "mat"), 2u);
  EXPECT_EQ(labels(grid, "Head 3"), 1u);
  EXPECT_EQ(labels(grid, "Layer 2"), 1u);
  grid.panels[1].row_labels[0] = "Un";  // another sentence
  EXPECT_EQ(labels(grid, "tapis"), 3u);
}

TEST(HeatmapGrid, PanelsOfDifferentSizesFit) {
  HeatmapGrid grid;
  for (const int64_t n : {1, 12, 3, 16, 2}) {
    grid.panels.push_back({torch::rand({n, n + 1}),
                           long_labels(n),
                           long_labels(n + 1),
                           {.title = "A panel's own title, of some length"}});
  }
  expect_white_margin(heatmap_png(grid), "different sizes");
  EXPECT_EQ(xml_problem(heatmap_svg(grid)), "");
}

TEST(HeatmapGrid, WithoutPanelsItIsRefused) {
  EXPECT_THROW(heatmap_png(HeatmapGrid{}), c10::ValueError);
  auto grid = heads(2);
  grid.columns = -1;
  EXPECT_THROW(heatmap_png(grid), c10::ValueError);
}

// ---- Errors -------------------------------------------------------------------------------------

TEST(Heatmap, WhatDoesNotFitIsRefusedWithBothSizes) {
  const auto values = torch::rand({2, 3});
  EXPECT_EQ(error_of({values, {"a"}, {}, {}}), "Heatmap: expected 2 row labels or none, got 1");
  EXPECT_EQ(error_of({values, {}, {"a", "b"}, {}}),
            "Heatmap: expected 3 column labels or none, got 2");
  EXPECT_EQ(error_of({torch::Tensor(), {}, {}, {}}),
            "Heatmap: expected values of shape [rows, columns], got none");
  EXPECT_EQ(error_of({torch::rand({0, 3}), {}, {}, {}}),
            "Heatmap: expected values of shape [rows, columns] with at least one cell, got [0, 3]");
  EXPECT_EQ(error_of({torch::rand({2, 3, 4}), {}, {}, {}}),
            "Heatmap: expected values of shape [rows, columns] with at least one cell, got "
            "[2, 3, 4]");
  EXPECT_EQ(error_of({torch::rand({1, 8193}), {}, {}, {}}),
            "Heatmap: expected at most 8192 rows and columns, got [1, 8193]");
  EXPECT_EQ(error_of({torch::zeros({1, 1}, at::kComplexFloat), {}, {}, {}}),
            "Heatmap: expected values of a real dtype, got c10::complex<float>");
}

TEST(Heatmap, OptionsOutOfRangeAreRefused) {
  const auto values = torch::rand({2, 3});
  EXPECT_EQ(error_of({values, {}, {}, {.minimum = 1, .maximum = 1}}),
            "Heatmap: expected minimum < maximum, got 1 and 1");
  EXPECT_EQ(error_of({values, {}, {}, {.minimum = kNan}}),
            "Heatmap: expected a finite minimum, got nan");
  EXPECT_EQ(error_of({values, {}, {}, {.cell_size = 0.5}}),
            "Heatmap: expected cell_size in [1, 256] or 0, got 0.5");
  EXPECT_TRUE(error_of({torch::rand({200, 200}), {}, {}, {.cell_size = 256}})
                  .starts_with("Heatmap: expected a PNG picture of at most 32767 pixels a side"));
  EXPECT_TRUE(error_of({torch::tensor({{-1.7e308, 1.7e308}}, at::kDouble), {}, {}, {}})
                  .starts_with("Heatmap: expected values with a finite range"));
}

// ---- Files --------------------------------------------------------------------------------------

TEST(Heatmap, FilesHoldThePictures) {
  const TemporaryFolder folder;
  write_png(folder.path() / "a.png", alignment());
  write_svg(folder.path() / "a.svg", alignment());
  write_png(folder.path() / "g.png", heads(2));
  write_svg(folder.path() / "g.svg", heads(2));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "a.png"), heatmap_png(alignment()));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "a.svg"), heatmap_svg(alignment()));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "g.png"), heatmap_png(heads(2)));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "g.svg"), heatmap_svg(heads(2)));
}

TEST(Heatmap, AFileThatCannotBeWrittenIsNamed) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "missing" / "a.png";
  try {
    write_png(path, alignment());
    FAIL() << "expected a FileError";
  } catch (const FileError& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with(path.string() + ": ")) << e.what();
  }
}

TEST(Heatmap, AFailedPictureLeavesTheOldFileWhole) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.png", "old");
  EXPECT_THROW(write_png(path, Heatmap{torch::rand({2}), {}, {}, {}}), c10::Error);
  EXPECT_EQ(TemporaryFolder::read(path), "old");
}

}  // namespace
}  // namespace attend::heatmap_test
