#pragma once

#include "attend/viz/colormap.h"
#include "viz/font_book.h"

// Sizes (px), colours and text styles that all pictures share.
namespace attend::detail {

inline constexpr double kMargin = 24;
inline constexpr double kTitleLine = 22;
inline constexpr double kAxisLine = 22;  // an axis label and the space before it
inline constexpr double kTickLength = 4;
inline constexpr double kTickGap = 5;

inline constexpr Rgb kInk{0x1F, 0x23, 0x28};
inline constexpr Rgb kMuted{0x59, 0x63, 0x6E};
inline constexpr TextStyle kTitleStyle{16, kInk, true};
inline constexpr TextStyle kPanelTitleStyle{13, kInk, true};
inline constexpr TextStyle kAxisStyle{12.5, kMuted};
inline constexpr TextStyle kTickStyle{11.5, kInk};
}  // namespace attend::detail
