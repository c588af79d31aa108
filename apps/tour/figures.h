#pragma once

#include <string_view>

namespace attend::app {

/// Pictures that never change: the files in apps/tour/figures, embedded at build time.
extern const std::string_view kFlowFigure;  // where queries, keys and values come from
extern const std::string_view kStepFigure;  // one step of a decoder with a cache

}  // namespace attend::app
