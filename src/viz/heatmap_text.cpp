#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <span>
#include <string_view>

#include "attend/viz/heatmap.h"
#include "detail/utf8.h"
#include "viz/heatmap_data.h"

namespace attend {
namespace {

using detail::display_width;

constexpr int64_t kLongestLabel = 12;  // columns of the terminal
constexpr std::string_view kReset = "\x1B[0m";

// A label without control characters, which could send commands to the terminal, shortened to
// kLongestLabel.
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

// Text with a background colour.
std::string colored(std::string_view text, Rgb background) {
  const auto ink = readable_on(background);
  return fmt::format("\x1B[48;2;{};{};{}m\x1B[38;2;{};{};{}m{}{}", background.red, background.green,
                     background.blue, ink.red, ink.green, ink.blue, text, kReset);
}

// What both the numbers and the blocks are drawn from.
struct TextParts {
  const detail::HeatmapData& data;
  const detail::ColorScale& scale;
  TerminalColor color;
  std::vector<std::string> row_labels, column_labels;
  int64_t left = widest(row_labels);  // width of the row labels, in terminal columns
};

// Appends every value as a number.
void append_numbers(std::string& out, const TextParts& parts,
                    const std::vector<std::string>& values, int64_t cell) {
  std::string header = spaces(parts.left + 1);
  for (const auto& label : parts.column_labels) header += right_aligned(label, cell - 1) + " ";
  header.erase(header.find_last_not_of(' ') + 1);
  out += header + "\n";
  const auto& data = parts.data;
  for (int64_t row = 0; row < data.rows; ++row) {
    std::string text = right_aligned(parts.row_labels[static_cast<size_t>(row)], parts.left) + " ";
    for (int64_t column = 0; column < data.columns; ++column) {
      const auto index = static_cast<size_t>(row * data.columns + column);
      const auto padded = right_aligned(values[index], cell - 1) + " ";
      const bool has_color = parts.color == TerminalColor::kTrue && !std::isnan(data.values[index]);
      text += has_color ? colored(padded, parts.scale.color(data.values[index])) : padded;
    }
    if (parts.color == TerminalColor::kNone) text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
}

constexpr int64_t kBlock =
    2;  // columns of the terminal: nearly a square, and room for a wide letter

// A value as a block of its colour, or without colours as one of five shades.
std::string block(double value, const TextParts& parts) {
  constexpr std::array<std::string_view, 5> kShades{"  ", "░░", "▒▒", "▓▓", "██"};
  if (std::isnan(value)) return "? ";
  if (parts.color == TerminalColor::kTrue) {
    const auto color = parts.scale.color(value);
    return fmt::format("\x1B[38;2;{};{};{}m██{}", color.red, color.green, color.blue, kReset);
  }
  const auto [minimum, maximum] = parts.scale;
  const double share = std::clamp((value - minimum) / (maximum - minimum), 0.0, 1.0);
  return std::string(kShades.at(
      static_cast<size_t>(std::lround(share * static_cast<double>(kShades.size() - 1)))));
}

// The characters of a label, each with its combining marks.
std::vector<std::string> letters(std::string_view label) {
  std::vector<std::string> result;
  while (!label.empty()) {
    const auto character = detail::utf8_prefix(label, 1);
    if (display_width(character) == 0 && !result.empty()) {
      result.back() += character;
    } else {
      result.emplace_back(character);
    }
    label.remove_prefix(character.size());
  }
  return result;
}

// Appends column labels vertically, aligned at the bottom.
void append_downwards(std::string& out, std::span<const std::string> labels, int64_t left) {
  std::vector<std::vector<std::string>> all;
  size_t height = 0;
  for (const auto& label : labels) {
    all.push_back(letters(label));
    height = std::max(height, all.back().size());
  }
  for (size_t line = 0; line < height; ++line) {
    std::string text = spaces(left + 1);
    for (const auto& label : all) {
      const size_t above = height - label.size();
      const auto letter = line < above ? std::string() : label[line - above];
      text += letter + spaces(kBlock - display_width(letter));
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
}

// Appends every value as a block. If the columns exceed the terminal's width, they continue below.
void append_blocks(std::string& out, const TextParts& parts, int64_t width) {
  const auto& data = parts.data;
  const int64_t in_band = std::max<int64_t>(1, (width - parts.left - 1) / kBlock);
  for (int64_t first = 0; first < data.columns; first += in_band) {
    const auto last = std::min(data.columns, first + in_band);
    if (first > 0) out += "\n";
    append_downwards(out,
                     std::span(parts.column_labels)
                         .subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)),
                     parts.left);
    for (int64_t row = 0; row < data.rows; ++row) {
      out += right_aligned(parts.row_labels[static_cast<size_t>(row)], parts.left) + " ";
      for (int64_t column = first; column < last; ++column)
        out += block(data.at(row, column), parts);
      if (parts.color == TerminalColor::kNone) out.erase(out.find_last_not_of(' ') + 1);
      out += "\n";
    }
  }
}

// The legend of the blocks, from the minimum to the maximum.
std::string legend(const TextParts& parts, const detail::ValueFormat& format) {
  constexpr int kSteps = 4;
  const auto [minimum, maximum] = parts.scale;
  std::string text = spaces(parts.left + 1);
  for (int step = 0; step <= kSteps; ++step) {
    const double value = minimum + (maximum - minimum) * step / kSteps;
    text += fmt::format("{}{} {}", step == 0 ? "" : "  ", block(value, parts), format(value));
  }
  return text + "\n";
}

}  // namespace

std::string heatmap_text(const Heatmap& heatmap, TerminalColor color, int64_t width) {
  const std::vector<detail::HeatmapData> all{detail::read_heatmap(heatmap)};
  const auto& data = all.front();
  const auto scale = detail::color_scale(all, heatmap.options);
  const detail::ValueFormat format(scale);
  const TextParts parts{data, scale, color, label_texts(data.row_labels),
                        label_texts(data.column_labels)};
  std::vector<std::string> values;
  for (const double value : data.values) values.push_back(format(value));
  const int64_t cell = std::max(widest(parts.column_labels), widest(values)) + 2;

  std::string out;
  const auto& title = heatmap.options.title;
  if (!title.empty()) out += detail::printable_utf8(title) + "\n";
  if (width <= 0 || parts.left + 1 + cell * data.columns <= width) {
    append_numbers(out, parts, values, cell);
  } else {
    append_blocks(out, parts, width);
    out += legend(parts, format);
  }
  return out;
}

}  // namespace attend
