#include "attend/viz/colormap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace attend::colormap_test {
namespace {

double linear(uint8_t channel) {
  const double c = channel / 255.0;
  return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
}

double luminance(Rgb c) {
  return 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
}

double contrast(Rgb a, Rgb b) {
  const auto [dark, light] = std::minmax({luminance(a), luminance(b)});
  return (light + 0.05) / (dark + 0.05);
}

// Values of matplotlib.colormaps["viridis"], which has 256 entries.
TEST(Viridis, HasTheColorsOfMatplotlibWithinFiveOf255) {
  const auto expect_near = [](double fraction, Rgb expected) {
    const auto color = viridis(fraction);
    EXPECT_NEAR(color.red, expected.red, 5) << fraction;
    EXPECT_NEAR(color.green, expected.green, 5) << fraction;
    EXPECT_NEAR(color.blue, expected.blue, 5) << fraction;
  };
  EXPECT_EQ(viridis(0), (Rgb{0x44, 0x01, 0x54}));
  EXPECT_EQ(viridis(1), (Rgb{0xFD, 0xE7, 0x25}));
  expect_near(64 / 255.0, {59, 82, 139});
  expect_near(128 / 255.0, {33, 145, 140});
  expect_near(192 / 255.0, {94, 201, 98});
}

TEST(Viridis, GetsLighterAllTheWayInSmallSteps) {
  for (int i = 1; i <= 100; ++i) {
    const auto before = viridis((i - 1) / 100.0), color = viridis(i / 100.0);
    EXPECT_GT(luminance(color), luminance(before)) << i;
    EXPECT_LE(std::abs(color.red - before.red), 8) << i;
    EXPECT_LE(std::abs(color.green - before.green), 8) << i;
    EXPECT_LE(std::abs(color.blue - before.blue), 8) << i;
  }
  EXPECT_GT(luminance(viridis(1)), 10 * luminance(viridis(0)));
}

TEST(Viridis, FractionsOutsideAreClamped) {
  EXPECT_EQ(viridis(-3), viridis(0));
  EXPECT_EQ(viridis(7), viridis(1));
  EXPECT_EQ(viridis(std::numeric_limits<double>::infinity()), viridis(1));
}

TEST(ReadableOn, TextCanBeReadOnEveryColor) {
  for (int i = 0; i <= 100; ++i) {
    const auto background = viridis(i / 100.0);
    EXPECT_GE(contrast(readable_on(background), background), 4.5) << i;  // WCAG 2.1, level AA
  }
  EXPECT_EQ(readable_on({0, 0, 0}), (Rgb{255, 255, 255}));
  EXPECT_EQ(readable_on({255, 255, 255}), (Rgb{0, 0, 0}));
}

}  // namespace
}  // namespace attend::colormap_test
