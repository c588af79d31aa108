#pragma once

#include <filesystem>
#include <vector>

#include "common/line_plot.h"

namespace attend::app {

/// Plots over the updates of a run, read from its metrics.jsonl: loss, learning rate, gradient norm
/// and each validation metric. Lines that cannot be parsed are skipped.
std::vector<LinePlot> training_curves(const std::filesystem::path& metrics);

}  // namespace attend::app
