#pragma once

#include <string_view>

namespace attend::app {

/// Pictures that are always the same: the files of apps/tour/figures, made a part of the program when
/// it is built.
extern const std::string_view kFlowFigure;  // where queries, keys and values come from
extern const std::string_view kStepFigure;  // one step of a decoder with a cache

}  // namespace attend::app
