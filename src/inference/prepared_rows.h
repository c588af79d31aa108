#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "attend/modules/positional_encoding.h"

namespace attend::detail {

/// A model's tables of tokens and positions, shared with it: rows of x are made from them.
class TokenTables {
 public:
  TokenTables() = default;
  /// table: [V, E]; positions: the module, of kind kNone or with a table.
  TokenTables(const torch::Tensor& table, const PositionalEncodingImpl& positions, double scale);

  int64_t size() const { return tokens_.size(0); }
  int64_t embed_dim() const { return tokens_.size(1); }

  /// Writes the row of a token at a position.
  void embed(int64_t token, int64_t position, float* row) const;

 private:
  torch::Tensor tokens_, positions_;  // [V, E]; [max_length, E] or undefined
  float scale_ = 1;
};

/// For each row of a batch of hypotheses the slots of its tokens in a cache.
class SlotTable {
 public:
  explicit SlotTable(int64_t rows);

  int64_t rows() const { return rows_; }
  int64_t stride() const { return stride_; }
  const int32_t* data() const { return slots_.data(); }
  const int32_t* counts() const { return counts_.data(); }  // [rows], tokens of each
  int32_t count(int64_t row) const { return counts_[static_cast<size_t>(row)]; }

  /// Appends a slot to each row. slots: [rows].
  void append(const std::vector<int32_t>& slots);
  /// Appends one slot to a row.
  void append_to(int64_t row, int64_t slot);
  /// Makes row i the old row rows[i].
  void reorder(const std::vector<int64_t>& rows);
  /// Appends the rows of another table, whose slot s is called slot_of[s] here.
  void append_rows(const SlotTable& other, const std::vector<int32_t>& slot_of);
  /// Sets `used` of all slots that rows have.
  void mark(std::vector<bool>& used) const;

 private:
  void make_room();
  void widen();

  int64_t rows_, stride_;
  std::vector<int32_t> slots_, counts_;
};

/// The values at `indices`.
template <typename T>
std::vector<T> selected(const std::vector<T>& values, const std::vector<int64_t>& indices) {
  std::vector<T> result;
  result.reserve(indices.size());
  for (const auto index : indices) result.push_back(values[static_cast<size_t>(index)]);
  return result;
}

}  // namespace attend::detail
