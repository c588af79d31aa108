#pragma once

#include <filesystem>
#include <vector>

#include "common/line_plot.h"

namespace attend::app {

/// The curves of a run over its updates, from the lines of its metrics.jsonl: loss, learning rate,
/// norm of the gradient, and each validation metric. Lines that cannot be read are left out.
std::vector<LinePlot> training_curves(const std::filesystem::path& metrics);

}  // namespace attend::app
