#pragma once

#include <cstdint>

namespace attend::kernels {

/// A float32 matrix by its strides, in elements.
struct Strided {
  const float* data;
  int64_t row_stride, column_stride;
};

/// c = a b + bias, in float32.
struct Product {
  int64_t rows, columns, depth;  // M, N, K
  Strided a;                     // [M, K]; read fastest where one of its strides is 1
  Strided b;                     // [K, N]; likewise
  const float* bias;             // [N] or null
  float* c;                      // [M, N], contiguous, overwritten
};

/// Rows [row, row_end) and columns [column, column_end) of a matrix.
struct Rectangle {
  int64_t row, row_end, column, column_end;
};

/// One of `parts` rectangles that c is divided into. The result does not depend on how many there
/// are: each element is computed in the order that the whole product's sizes and strides give.
///
/// With many rows, b is copied panel by panel into the order in which a tile of c reads it. With few
/// it is read where it lies: by dot products if its columns are contiguous, as a layer's weights
/// transposed are. Source: Goto and van de Geijn, "Anatomy of high-performance matrix
/// multiplication", ACM TOMS 34(3), 2008, section 4.
void product(const Product& product, int64_t part, int64_t parts);

}  // namespace attend::kernels
