#pragma once

#include <cstdint>

#include "attend/viz/heatmap.h"

namespace attend::app {

/// What a heatmap is drawn for.
struct Terminal {
  TerminalColor color = TerminalColor::kNone;
  int64_t width = 0;  // columns; 0 = as wide as need be
};

/// Standard output: colours and its width where it is a terminal, plain text of any width where not.
Terminal terminal_of_output();

}  // namespace attend::app
