#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "attend/viz/heatmap.h"
#include "detail/utf8.h"
#include "viz/heatmap_data.h"

namespace attend {
namespace {

using detail::display_width;

constexpr int64_t kLongestLabel = 12;  // columns of the terminal
constexpr std::string_view kReset = "\x1B[0m";

// A label that cannot move the cursor or send the terminal commands, and that is not too wide.
std::string label_text(std::string_view label) {
  const auto text = detail::printable_utf8(label);
  if (display_width(text) <= kLongestLabel) return text;
  std::string shortened;
  for (std::string_view rest = text; !rest.empty();) {
    const auto character = detail::utf8_prefix(rest, 1);
    if (display_width(shortened) + display_width(character) > kLongestLabel - 1) break;
    shortened += character;
    rest.remove_prefix(character.size());
  }
  return shortened + "…";
}

std::vector<std::string> label_texts(const std::vector<std::string>& labels) {
  std::vector<std::string> texts;
  for (const auto& label : labels) texts.push_back(label_text(label));
  return texts;
}

int64_t widest(const std::vector<std::string>& texts) {
  int64_t width = 0;
  for (const auto& text : texts) width = std::max(width, display_width(text));
  return width;
}

std::string spaces(int64_t count) {
  return std::string(static_cast<size_t>(std::max<int64_t>(count, 0)), ' ');
}

std::string right_aligned(std::string_view text, int64_t width) {
  return spaces(width - display_width(text)).append(text);
}

std::string colored(std::string_view text, Rgb background) {
  const auto ink = readable_on(background);
  return fmt::format("\x1B[48;2;{};{};{}m\x1B[38;2;{};{};{}m{}{}", background.red, background.green,
                     background.blue, ink.red, ink.green, ink.blue, text, kReset);
}

}  // namespace

std::string heatmap_text(const Heatmap& heatmap, TerminalColor color) {
  const std::vector<detail::HeatmapData> all{detail::read_heatmap(heatmap)};
  const auto& data = all.front();
  const auto& options = heatmap.options;
  const auto scale = detail::color_scale(all, options);
  const detail::ValueFormat format(scale);

  const auto row_labels = label_texts(data.row_labels);
  const auto column_labels = label_texts(data.column_labels);
  std::vector<std::string> values;
  for (const double value : data.values) values.push_back(format(value));
  const int64_t left = widest(row_labels);
  const int64_t cell = std::max(widest(column_labels), widest(values)) + 2;

  std::string out;
  const auto line = [&](std::string_view text) { out.append(text).append("\n"); };
  if (!options.title.empty()) line(detail::printable_utf8(options.title));
  std::string header = spaces(left + 1);
  for (const auto& label : column_labels) header += right_aligned(label, cell - 1) + " ";
  header.erase(header.find_last_not_of(' ') + 1);
  line(header);
  for (int64_t row = 0; row < data.rows; ++row) {
    std::string text = right_aligned(row_labels[static_cast<size_t>(row)], left) + " ";
    for (int64_t column = 0; column < data.columns; ++column) {
      const auto index = static_cast<size_t>(row * data.columns + column);
      const auto padded = right_aligned(values[index], cell - 1) + " ";
      const bool has_color = color == TerminalColor::kTrue && !std::isnan(data.values[index]);
      text += has_color ? colored(padded, scale.color(data.values[index])) : padded;
    }
    if (color == TerminalColor::kNone) text.erase(text.find_last_not_of(' ') + 1);
    line(text);
  }
  return out;
}

}  // namespace attend
