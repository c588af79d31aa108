#pragma once

#include <cstdint>

#include "attend/viz/heatmap.h"

namespace attend::app {

/// The colours and the width of the output that a heatmap is printed to.
struct Terminal {
  TerminalColor color = TerminalColor::kNone;
  int64_t width = 0;  // columns; 0 = unlimited
};

/// Those of standard output: no colours and unlimited width unless it is a terminal.
Terminal terminal_of_output();

}  // namespace attend::app
