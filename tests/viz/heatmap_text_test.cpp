#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "attend/viz/heatmap.h"

namespace attend::heatmap_text_test {
namespace {

std::string without_colors(const std::string& text) {
  return std::regex_replace(text, std::regex("\x1B\\[[0-9;]*m"), "");
}

std::string without_trailing_spaces(const std::string& text) {
  return std::regex_replace(text, std::regex(" +\n"), "\n");
}

Heatmap small() {
  return {torch::tensor({{0.9, 0.05, 0.05}, {0.25, 0.75, 0.0}}),
          {"chat", "noir"},
          {"the", "black", "cat"},
          {.title = "Attention"}};
}

TEST(HeatmapText, ShowsOneAlignedLineForEachRow) {
  EXPECT_EQ(heatmap_text(small()),
            "Attention\n"
            "        the  black    cat\n"
            "chat   0.90   0.05   0.05\n"
            "noir   0.25   0.75   0.00\n");
}

TEST(HeatmapText, ColorsStandBehindTheSameText) {
  const auto text = heatmap_text(small(), TerminalColor::kTrue);
  EXPECT_EQ(without_trailing_spaces(without_colors(text)), heatmap_text(small()));
  const auto color = viridis(1);
  std::ostringstream escape;
  escape << "\x1B[48;2;" << int{color.red} << ";" << int{color.green} << ";" << int{color.blue}
         << "m\x1B[38;2;0;0;0m  0.90 \x1B[0m";
  EXPECT_NE(text.find(escape.str()), std::string::npos) << text;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {  // no line leaves the terminal coloured
    if (line.find('\x1B') != std::string::npos) EXPECT_TRUE(line.ends_with("\x1B[0m")) << line;
  }
}

TEST(HeatmapText, DecimalsAreThoseAReaderNeeds) {
  const auto shown = [](double largest, double value) {
    const auto text = heatmap_text({torch::tensor({{largest, value}}), {}, {}, {}});
    return text.substr(text.find_last_of(' ') + 1);
  };
  EXPECT_EQ(shown(1.0, 0.25), "0.25\n");
  EXPECT_EQ(shown(2.0, 1.25), "1.25\n");
  EXPECT_EQ(shown(5.0, 1.25), "1.25\n");
  EXPECT_EQ(shown(20.0, 1.3), "1.3\n");
  EXPECT_EQ(shown(500.0, 3.0), "3\n");
  EXPECT_EQ(shown(0.05, 0.012), "0.012\n");
}

TEST(HeatmapText, WideAndCombiningCharactersStayAligned) {
  EXPECT_EQ(heatmap_text({torch::tensor({{1.0, 0.0}, {0.0, 1.0}, {0.5, 0.5}}),
                          {"日本", "cafe\u0301", "x"},
                          {"語", "e\u0301"},
                          {}}),
            "        語     e\u0301\n"
            "日本  1.00  0.00\n"
            "cafe\u0301  0.00  1.00\n"
            "   x  0.50  0.50\n");
}

TEST(HeatmapText, LongLabelsAreShortenedAndControlCharactersTakenOut) {
  EXPECT_EQ(heatmap_text({torch::tensor({{1.0}, {0.0}}),
                          {"internationalisation", "日本語日本語日本語"},
                          {"\x1B[31m\n"},
                          {}}),
            "              \uFFFD[31m\uFFFD\n"
            "internation…    1.00\n"
            " 日本語日本…    0.00\n");
}

TEST(HeatmapText, ValuesThatAreNoNumbersAreSaid) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Heatmap heatmap{torch::tensor({{kNan, kInfinity, -kInfinity, 0.5}}), {}, {}, {}};
  EXPECT_EQ(heatmap_text(heatmap),
            "      0     1     2     3\n"
            "0   nan     ∞    −∞  0.50\n");
  const auto colored = heatmap_text(heatmap, TerminalColor::kTrue);
  EXPECT_NE(colored.find("0   nan \x1B"), std::string::npos) << colored;  // NaN has no colour
}

// Three columns of seven beside "chat " are 26 wide; of blocks of two 11.
TEST(HeatmapText, WhatIsWiderThanTheTerminalIsDrawnWithBlocks) {
  EXPECT_EQ(heatmap_text(small(), TerminalColor::kNone, 26), heatmap_text(small()));
  EXPECT_EQ(heatmap_text(small(), TerminalColor::kNone, 25),
            "Attention\n"
            "       b\n"
            "       l\n"
            "     t a c\n"
            "     h c a\n"
            "     e k t\n"
            "chat ██\n"
            "noir ░░▓▓\n"
            "        0.00  ░░ 0.22  ▒▒ 0.45  ▓▓ 0.67  ██ 0.90\n");
}

TEST(HeatmapText, ColumnsThatStillDoNotFitGoOnBelow) {
  const Heatmap heatmap{torch::eye(3), {"a", "b", "c"}, {"日", "e\u0301", "f"}, {}};
  EXPECT_EQ(heatmap_text(heatmap, TerminalColor::kNone, 7),  // "a " and two blocks
            "  日e\u0301\n"
            "a ██\n"
            "b   ██\n"
            "c\n"
            "\n"
            "  f\n"
            "a\n"
            "b\n"
            "c ██\n"
            "     0.00  ░░ 0.25  ▒▒ 0.50  ▓▓ 0.75  ██ 1.00\n");
}

TEST(HeatmapText, BlocksHaveTheColorsOfTheirValues) {
  auto heatmap = small();
  heatmap.values = heatmap.values.to(torch::kDouble) / heatmap.values.max();
  const auto text = heatmap_text(heatmap, TerminalColor::kTrue, 25);
  for (int64_t i = 0; i < heatmap.values.numel(); ++i) {
    const auto value = heatmap.values.flatten()[i].item<double>();
    const auto color = viridis(value);
    std::ostringstream block;
    block << "\x1B[38;2;" << int{color.red} << ";" << int{color.green} << ";" << int{color.blue}
          << "m██\x1B[0m";
    EXPECT_NE(text.find(block.str()), std::string::npos) << value << " in " << text;
  }
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(heatmap_text({torch::tensor({{kNan, 1.0}}), {}, {}, {}}, TerminalColor::kTrue, 6)
                  .find("\n0 ? \x1B") != std::string::npos);
}

TEST(HeatmapText, ErrorsAreThoseOfThePictures) {
  EXPECT_THROW(heatmap_text({torch::rand({2, 2}), {"a"}, {}, {}}), c10::ValueError);
  EXPECT_THROW(heatmap_text({torch::rand({2}), {}, {}, {}}), c10::Error);
}

}  // namespace
}  // namespace attend::heatmap_text_test
