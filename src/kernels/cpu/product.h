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

/// Rows [first, last) of c. Each element is one sum from the first of K to the last, so that the
/// division among threads changes no bit.
///
/// b is copied, block by block, into the order in which a tile of c reads it; a is read where it
/// is, unless its rows are scattered. Source: Goto and van de Geijn, "Anatomy of high-performance
/// matrix multiplication", ACM TOMS 34(3), 2008, section 4.
void product(const Product& product, int64_t first, int64_t last);

}  // namespace attend::kernels
