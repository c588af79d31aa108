#pragma once

// For programs that draw numbers.

#include <cstdint>

#include "attend/toolkit_export.h"

namespace attend {

/// A colour of the sRGB space.
struct Rgb {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;

  bool operator==(const Rgb&) const = default;
};

/// The colour of a fraction in [0, 1], from dark violet to yellow; fractions outside are clamped.
///
/// Perceptually uniform, with lightness rising throughout (so it can be printed in grey), and
/// readable for colour-blind readers.
///
/// Source: viridis, by S. van der Walt and N. Smith for matplotlib (bids.github.io/colormap, CC0):
///         every 15th of its 256 colours, linearly interpolated.
ATTEND_TOOLKIT_API Rgb viridis(double fraction);

/// Black or white, whichever is easier to read on `background`.
///
/// Source: WCAG 2.1, contrast ratio and relative luminance.
ATTEND_TOOLKIT_API Rgb readable_on(Rgb background);

}  // namespace attend
