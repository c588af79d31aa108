#include "inference/prepared_rows.h"

#include <algorithm>

namespace attend::detail {
namespace {

constexpr int64_t kFirstStride = 32;

}  // namespace

TokenTables::TokenTables(const torch::Tensor& table, const PositionalEncodingImpl& positions,
                         double scale)
    : tokens_(table.detach().contiguous()), scale_(static_cast<float>(scale)) {
  if (positions.weight.defined()) {
    positions_ = positions.weight.detach().to(torch::kFloat).contiguous();
  }
}

void TokenTables::embed(int64_t token, int64_t position, float* row) const {
  const auto dim = embed_dim();
  const float* from = tokens_.const_data_ptr<float>() + token * dim;
  if (!positions_.defined()) {
    for (int64_t i = 0; i < dim; ++i) row[i] = from[i] * scale_;
    return;
  }
  const float* offset = positions_.const_data_ptr<float>() + position * dim;
  for (int64_t i = 0; i < dim; ++i) row[i] = from[i] * scale_ + offset[i];
}

SlotTable::SlotTable(int64_t rows)
    : rows_(rows),
      stride_(kFirstStride),
      slots_(static_cast<size_t>(rows * stride_)),
      counts_(static_cast<size_t>(rows)) {}

void SlotTable::make_room() {
  if (!counts_.empty() && *std::ranges::max_element(counts_) == stride_) widen();
}

void SlotTable::widen() {
  std::vector<int32_t> wider(static_cast<size_t>(rows_ * stride_ * 2));
  for (int64_t row = 0; row < rows_; ++row) {
    std::copy_n(slots_.begin() + row * stride_, stride_, wider.begin() + row * stride_ * 2);
  }
  slots_ = std::move(wider);
  stride_ *= 2;
}

void SlotTable::append_to(int64_t row, int64_t slot) {
  make_room();
  auto& count = counts_[static_cast<size_t>(row)];
  slots_[static_cast<size_t>(row * stride_ + count++)] = static_cast<int32_t>(slot);
}

void SlotTable::append(const std::vector<int32_t>& slots) {
  make_room();
  for (int64_t row = 0; row < rows_; ++row) {
    auto& count = counts_[static_cast<size_t>(row)];
    slots_[static_cast<size_t>(row * stride_ + count++)] = slots[static_cast<size_t>(row)];
  }
}

void SlotTable::append_rows(const SlotTable& other, const std::vector<int32_t>& slot_of) {
  while (stride_ < other.stride_) widen();
  slots_.resize(static_cast<size_t>((rows_ + other.rows_) * stride_));
  for (int64_t row = 0; row < other.rows_; ++row) {
    const auto* from = other.slots_.data() + row * other.stride_;
    std::transform(from, from + other.count(row), slots_.begin() + (rows_ + row) * stride_,
                   [&](int32_t slot) { return slot_of[static_cast<size_t>(slot)]; });
  }
  counts_.insert(counts_.end(), other.counts_.begin(), other.counts_.end());
  rows_ += other.rows_;
}

void SlotTable::mark(std::vector<bool>& used) const {
  for (int64_t row = 0; row < rows_; ++row) {
    const auto* slots = slots_.data() + row * stride_;
    for (int32_t i = 0; i < count(row); ++i) used[static_cast<size_t>(slots[i])] = true;
  }
}

void SlotTable::reorder(const std::vector<int64_t>& rows) {
  std::vector<int32_t> slots(rows.size() * static_cast<size_t>(stride_)), counts(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    counts[i] = counts_[static_cast<size_t>(rows[i])];
    std::copy_n(slots_.begin() + rows[i] * stride_, counts[i],
                slots.begin() + static_cast<std::ptrdiff_t>(i) * stride_);
  }
  slots_ = std::move(slots);
  counts_ = std::move(counts);
  rows_ = static_cast<int64_t>(rows.size());
}

}  // namespace attend::detail
