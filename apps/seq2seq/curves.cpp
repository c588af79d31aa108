#include "curves.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace attend::app {
namespace {

using nlohmann::ordered_json;

constexpr auto kTrain = "train", kValidation = "validation";

// The values of `key` in all lines of a type, over the updates.
LineSeries series(const std::vector<ordered_json>& lines, const char* type, const std::string& key,
                  const std::string& name) {
  LineSeries result;
  result.name = name;
  for (const auto& line : lines) {
    if (line.value("type", "") != type || line.contains("of_mean") || !line.contains(key) ||
        !line[key].is_number()) {
      continue;
    }
    result.add(line.value("update", 0.0), line[key].get<double>());
  }
  return result;
}

}  // namespace

std::vector<LinePlot> training_curves(const std::filesystem::path& metrics) {
  std::ifstream stream(metrics);
  std::vector<ordered_json> lines;
  for (std::string line; std::getline(stream, line);) {
    auto value = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_object()) lines.push_back(std::move(value));
  }
  std::vector<std::string> names;
  for (const auto& line : lines) {
    if (line.value("type", "") != kValidation) continue;
    for (const auto& [key, value] : line.items()) {
      const bool is_score =
          value.is_number() && key != "epoch" && key != "update" && key != "elapsed";
      if (is_score && std::ranges::find(names, key) == names.end()) names.push_back(key);
    }
  }

  std::vector<LinePlot> plots;
  const auto add = [&](const std::string& title, const std::string& unit,
                       std::vector<LineSeries> all) {
    plots.push_back({.series = std::move(all),
                     .title = title,
                     .x_label = "updates",
                     .y_label = unit,
                     .height = 240});  // NOLINT(*-magic-numbers): px
  };
  auto training = series(lines, kTrain, "cost", "training, smoothed labels");
  auto validation = series(lines, kValidation, "cross-entropy", "validation");
  validation.dashed = true;
  std::vector<LineSeries> losses{std::move(training)};
  if (!validation.x.empty()) losses.push_back(std::move(validation));
  add("Loss", "nats a target token", std::move(losses));
  add("Learning rate", "", {series(lines, kTrain, "learning_rate", "")});
  add("Norm of the gradient, before clipping", "", {series(lines, kTrain, "gradient_norm", "")});
  for (const auto& name : names) {
    if (name != "cross-entropy") add(name, "", {series(lines, kValidation, name, "")});
  }
  return plots;
}

}  // namespace attend::app
