#include "attend/viz/colormap.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace attend {
namespace {

constexpr auto kStops = std::to_array<Rgb>({
    {0x44, 0x01, 0x54},
    {0x48, 0x17, 0x69},
    {0x47, 0x2A, 0x7A},
    {0x43, 0x3D, 0x84},
    {0x3D, 0x4E, 0x8A},
    {0x35, 0x5E, 0x8D},
    {0x2E, 0x6D, 0x8E},
    {0x29, 0x7B, 0x8E},
    {0x23, 0x89, 0x8E},
    {0x1F, 0x97, 0x8B},
    {0x21, 0xA5, 0x85},
    {0x2E, 0xB3, 0x7C},
    {0x46, 0xC0, 0x6F},
    {0x65, 0xCB, 0x5E},
    {0x89, 0xD5, 0x48},
    {0xB0, 0xDD, 0x2F},
    {0xD8, 0xE2, 0x19},
    {0xFD, 0xE7, 0x25},
});

uint8_t mix(uint8_t from, uint8_t to, double share) {
  return static_cast<uint8_t>(std::lround(from + (to - from) * share));
}

double linear(uint8_t channel) {
  const double c = channel / 255.0;
  return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
}

double luminance(Rgb color) {
  return 0.2126 * linear(color.red) + 0.7152 * linear(color.green) + 0.0722 * linear(color.blue);
}

}  // namespace

Rgb viridis(double fraction) {
  const double position = std::clamp(fraction, 0.0, 1.0) * (kStops.size() - 1);
  const auto index = std::min(static_cast<size_t>(position), kStops.size() - 2);
  const double share = position - static_cast<double>(index);
  const Rgb &from = kStops[index], &to = kStops[index + 1];
  return {mix(from.red, to.red, share), mix(from.green, to.green, share),
          mix(from.blue, to.blue, share)};
}

Rgb readable_on(Rgb background) {
  const double light = luminance(background);
  const double on_white = 1.05 / (light + 0.05), on_black = (light + 0.05) / 0.05;
  return on_white > on_black ? Rgb{0xFF, 0xFF, 0xFF} : Rgb{0x00, 0x00, 0x00};
}

}  // namespace attend
