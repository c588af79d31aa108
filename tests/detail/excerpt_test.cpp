#include "detail/excerpt.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace attend::excerpt_test {
namespace {

using detail::brief;
using detail::excerpt;
using detail::in_quotes;
using nlohmann::json;

TEST(Excerpt, IsPrintableAndOfLimitedLength) {
  EXPECT_EQ(excerpt("a\x1b[31m\n"), "a\uFFFD[31m\uFFFD");
  EXPECT_EQ(excerpt(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(excerpt(std::string(201, 'x')), std::string(200, 'x') + "...");
}

TEST(InQuotes, EscapesAndCuts) {
  EXPECT_EQ(in_quotes("model.weight"), R"("model.weight")");
  EXPECT_EQ(in_quotes("a\"\\\n\x1b"), R"("a\"\\\n\u001b")");
  EXPECT_EQ(in_quotes("\u2581Haus \u00E9"), "\"\u2581Haus \u00E9\"");
  EXPECT_EQ(in_quotes("\x7f\xC2\x9B\xFF"), "\"\uFFFD\uFFFD\uFFFD\"");  // DEL, CSI, no UTF-8
  EXPECT_EQ(in_quotes(std::string(199, 'x') + "\u00E9"),
            "\"" + std::string(199, 'x') + "\uFFFD...\"");
}

TEST(Brief, WritesOutWhatIsShort) {
  EXPECT_EQ(brief(json(1.5)), "1.5");
  EXPECT_EQ(brief(json()), "null");
  EXPECT_EQ(brief(json("a\n")), R"("a\n")");
  EXPECT_EQ(brief(json::parse("[1, 2]")), "[1,2]");
  EXPECT_EQ(brief(json::parse(R"({"alpha": 0.1})")), R"({"alpha":0.1})");
  EXPECT_EQ(brief(json::parse(R"({"a": [1]})")), "object");
  EXPECT_EQ(brief(json::parse("[1,2,3,4,5,6,7,8,9]")), "array");
  EXPECT_EQ(brief(json::parse(std::string(1'000'000, '[') + std::string(1'000'000, ']'))), "array");
}

TEST(Problems, TheFirstTenAreNamedAndTheOthersCounted) {
  detail::Problems problems;
  EXPECT_TRUE(problems.empty());
  problems.add("a");
  EXPECT_EQ(problems.text(), "a");
  for (int i = 0; i < 9; ++i) problems.add("b");
  EXPECT_EQ(problems.text(), "a; b; b; b; b; b; b; b; b; b");
  problems.add("c");
  problems.add("d");
  EXPECT_EQ(problems.text(), "a; b; b; b; b; b; b; b; b; b; and 2 more");
  EXPECT_FALSE(problems.empty());
}

}  // namespace
}  // namespace attend::excerpt_test
