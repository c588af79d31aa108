#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/bfloat16.h"

namespace attend::kernels {

/// How packed weights are stored. Sums are float32, or exact integers for kInt8.
enum class WeightStorage { kFloat32, kBFloat16, kInt8 };

/// Columns of a panel of packed weights, the same for every instruction set.
constexpr int64_t kPackedColumns = 64;

/// Input values that weights lie together by, so that their products are one instruction.
constexpr int64_t packed_group(WeightStorage storage) {
  return storage == WeightStorage::kInt8 ? 4 : storage == WeightStorage::kBFloat16 ? 2 : 1;
}

constexpr int64_t packed_panels(int64_t columns) {
  return (columns + kPackedColumns - 1) / kPackedColumns;
}
constexpr int64_t packed_depth(WeightStorage storage, int64_t depth) {
  const auto group = packed_group(storage);
  return (depth + group - 1) / group * group;
}

/// The bytes that weights [columns, depth] take.
constexpr size_t packed_bytes(WeightStorage storage, int64_t columns, int64_t depth) {
  const auto bytes = storage == WeightStorage::kFloat32    ? 4
                     : storage == WeightStorage::kBFloat16 ? 2
                                                           : 1;
  return static_cast<size_t>(packed_panels(columns) * kPackedColumns *
                             packed_depth(storage, depth) * bytes);
}

/// A linear layer's weights, packed: by panels of kPackedColumns columns, in each its columns' weights
/// of one input value, or of packed_group, next to each other. Columns beyond the last are zeros.
struct PackedWeights {
  WeightStorage storage;
  int64_t columns, depth;  // N, K
  const std::byte* data;   // packed_bytes, aligned to 64 bytes
  const float* bias;       // [panels * kPackedColumns] or null
  const float* scales;     // kInt8: [panels * kPackedColumns]: weight = scale * integer
  const int32_t* sums;     // kInt8: the same shape: the sum of a column's integers
};

/// Packs weights [columns, depth], contiguous, into `data`, `scales` and `sums`.
void pack_weights(WeightStorage storage, const float* weights, int64_t columns, int64_t depth,
                  std::byte* data, float* scales, int32_t* sums);

/// Copies the weights of column `from` of packed weights to column `to` of others of the same storage
/// and depth.
void copy_packed_column(WeightStorage storage, int64_t depth, const std::byte* source, int64_t from,
                        std::byte* target, int64_t to);

/// Applied to a sum in the order of its members.
struct Ending {
  enum class Activation { kNone, kRelu, kGelu, kGeluTanh, kSwish };
  Activation activation = Activation::kNone;
  const float* factor = nullptr;  // [M, N] or null: what the result is multiplied by
  const float* addend = nullptr;  // [M, N] or null: what is added to it; may be the output itself
};

/// output = ending(input weights^T + bias). Each element is one sum over K in the order of the input,
/// whatever M is, so a row's bits do not depend on the rows beside it.
struct PackedProduct {
  int64_t rows;        // M
  const float* input;  // [M, K]; not read for kInt8, nor where there are halves
  int64_t input_stride;
  // kBFloat16: [M, packed_depth] from round_rows, to multiply pairs by instructions of processors that
  // prefers_bfloat16_products() (instruction_set.h), or null.
  const BFloat16* halves;
  const int8_t* integers;     // kInt8: [M, packed_depth] from quantize_rows
  const float* input_scales;  // kInt8: [M]
  PackedWeights weights;
  Ending ending;
  float* output;  // [M, N], contiguous
  // From the last panel that is asked for to the one that this thread computes next, as a rule: it is
  // fetched meanwhile. Beyond the last of all lie the weights of the next layer, as a rule.
  int64_t panels_ahead = 1;
};

/// Computes the panels [first, last) of the output.
void packed_product(const PackedProduct& product, int64_t first, int64_t last);

/// Rounds rows to bfloat16, where the product may have halves. Zeros fill packed_depth. input: [rows, depth], rows input_stride apart.
void round_rows(const float* input, int64_t input_stride, int64_t rows, int64_t depth,
                BFloat16* halves);

/// Rounds each row to integers of [-127, 127] times a scale: row = scale * integers, in the form that
/// packed_product reads on this processor. Zeros fill packed_depth. input: [rows, depth], rows input_stride apart.
void quantize_rows(const float* input, int64_t input_stride, int64_t rows, int64_t depth,
                   int8_t* integers, float* scales);

}  // namespace attend::kernels
