#include "inference/selected_outputs.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "detail/parallel.h"

namespace attend::detail {
namespace {

constexpr int32_t kNoColumn = -1;
// Rows of so many values are worth another thread.
constexpr int64_t kValuesForAThread = 50'000;
// Rows end on a cache line, whatever the instruction set.
constexpr int64_t kWidthStep = 64;

}  // namespace

SelectedOutputs::SelectedOutputs(const PreparedLinear& whole)
    : whole_(&whole),
      layer_(whole.without_outputs()),
      column_of_(static_cast<size_t>(whole.outputs()), kNoColumn) {}

SelectedOutputs::SelectionPointer SelectedOutputs::add(std::vector<int64_t> outputs) {
  std::vector<int64_t> fresh;
  for (const auto output : outputs) {
    if (column_of_[static_cast<size_t>(output)] == kNoColumn) fresh.push_back(output);
  }
  while (free_.size() < fresh.size()) {
    free_.push_back(static_cast<int32_t>(users_.size()));
    users_.push_back(0);
  }
  layer_.grow(static_cast<int64_t>(users_.size()));
  for (const auto output : fresh) {
    const auto column = free_.back();
    free_.pop_back();
    layer_.copy_output(*whole_, output, column);
    column_of_[static_cast<size_t>(output)] = column;
  }
  auto selection = std::make_shared<Selection>();
  selection->outputs = std::move(outputs);
  for (const auto output : selection->outputs) {
    const auto column = column_of_[static_cast<size_t>(output)];
    ++users_[static_cast<size_t>(column)];
    selection->columns.push_back(column);
  }
  return sentences_.emplace_back(std::move(selection));
}

std::vector<SelectedOutputs::SelectionPointer> SelectedOutputs::admit(
    const std::vector<SelectionPointer>& of_row) {
  std::vector<SelectionPointer> admitted;
  for (size_t row = 0; row < of_row.size(); ++row) {
    const bool is_of_last = row > 0 && of_row[row] == of_row[row - 1];
    admitted.push_back(is_of_last ? admitted.back() : add(of_row[row]->outputs));
  }
  return admitted;
}

void SelectedOutputs::remove_unused() {
  std::erase_if(sentences_, [&](const SelectionPointer& sentence) {
    if (sentence.use_count() > 1) return false;
    for (size_t i = 0; i < sentence->outputs.size(); ++i) {
      const auto column = sentence->columns[i];
      if (--users_[static_cast<size_t>(column)] > 0) continue;
      free_.push_back(column);
      column_of_[static_cast<size_t>(sentence->outputs[i])] = kNoColumn;
    }
    return true;
  });
}

int64_t SelectedOutputs::width_of(const std::vector<SelectionPointer>& of_row) {
  size_t widest = 1;
  for (const auto& selection : of_row) widest = std::max(widest, selection->outputs.size());
  return (static_cast<int64_t>(widest) + kWidthStep - 1) / kWidthStep * kWidthStep;
}

void SelectedOutputs::run(const float* input, const std::vector<SelectionPointer>& of_row,
                          float* values, Scratch& scratch) {
  const auto rows = static_cast<int64_t>(of_row.size()), columns = layer_.outputs();
  const auto width = width_of(of_row);
  float* const products = products_.of(rows * columns);
  layer_.run(input, rows, products, scratch);
  parallel_for(
      rows, std::max<int64_t>(kValuesForAThread / width, 1), [&](int64_t first, int64_t last) {
        for (auto row = first; row < last; ++row) {
          const auto& own = of_row[static_cast<size_t>(row)]->columns;
          const float* const from = products + row * columns;
          float* to = values + row * width;
          for (const auto column : own) *to++ = from[column];
          std::fill(to, values + (row + 1) * width, -std::numeric_limits<float>::infinity());
        }
      });
}

}  // namespace attend::detail
