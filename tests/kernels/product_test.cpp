#include "kernels/cpu/product.h"

#include <limits>
#include <vector>

#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

// A matrix [rows, columns] whose rows or columns lie together, or neither.
enum class Layout { kRows, kColumns, kScattered };

struct Matrix {
  Numbers<float> numbers;
  kernels::Strided view;

  Matrix(int64_t rows, int64_t columns, Layout layout, unsigned seed)
      : numbers(normal<float>(rows * columns * 2, seed)), view{numbers.data(), columns, 1} {
    if (layout == Layout::kColumns) view = {numbers.data(), 1, rows};
    if (layout == Layout::kScattered) view = {numbers.data(), 2 * columns, 2};
  }
  int64_t at(int64_t row, int64_t column) const {
    return row * view.row_stride + column * view.column_stride;
  }
};

void check_product(int64_t rows, int64_t columns, int64_t depth, Layout of_a, Layout of_b,
                   bool with_bias) {
  SCOPED_TRACE(testing::Message() << rows << " x " << columns << " x " << depth << ", layouts "
                                  << static_cast<int>(of_a) << static_cast<int>(of_b));
  Matrix a(rows, depth, of_a, 1), b(depth, columns, of_b, 2);
  auto bias = normal<float>(columns, 3);
  std::vector<double> expected(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      double sum = with_bias ? bias[j] : 0.0;
      for (int64_t k = 0; k < depth; ++k) {
        sum += double{a.numbers[a.at(i, k)]} * b.numbers[b.at(k, j)];
      }
      expected[static_cast<size_t>(i * columns + j)] = sum;
    }
  }
  Numbers<float> whole(rows * columns, -1e9F), divided(rows * columns, -1e9F);
  kernels::Product p{.rows = rows,
                     .columns = columns,
                     .depth = depth,
                     .a = a.view,
                     .b = b.view,
                     .bias = with_bias ? bias.data() : nullptr,
                     .c = whole.data()};
  kernels::product(p, 0, 1);
  // Sums grow like the root of the depth, and so does what so many roundings of 1 come to.
  expect_near(whole, expected, static_cast<double>(4 + depth), "c");
  p.c = divided.data();
  for (int64_t part = 0; part < 3; ++part) kernels::product(p, part, 3);
  for (int64_t i = 0; i < whole.size(); ++i) ASSERT_EQ(whole[i], divided[i]) << i;
}

TEST(KernelProduct, AgreesWithFloat64) {
  testing_support::for_each_instruction_set([] {
    for (const auto of_a : {Layout::kRows, Layout::kColumns, Layout::kScattered}) {
      for (const auto of_b : {Layout::kRows, Layout::kColumns, Layout::kScattered}) {
        for (const int64_t rows : {1, 5, 40}) {
          check_product(rows, 37, 70, of_a, of_b, true);
          check_product(rows, 130, 18, of_a, of_b, false);
        }
        check_product(3, 17, 600, of_a, of_b, true);
        check_product(50, 33, 530, of_a, of_b, false);
      }
    }
    check_product(391, 20, 9, Layout::kRows, Layout::kColumns, true);
  });
}

TEST(KernelProduct, WhatIsNotANumberStaysInItsRowAndColumn) {
  testing_support::for_each_instruction_set([] {
    for (const auto of_b : {Layout::kRows, Layout::kColumns}) {
      for (const int64_t rows : {2, 40}) {
        constexpr int64_t kColumns = 37, kDepth = 70;
        Matrix a(rows, kDepth, Layout::kRows, 1), b(kDepth, kColumns, of_b, 2);
        a.numbers[a.at(1, 69)] = std::numeric_limits<float>::quiet_NaN();
        b.numbers[b.at(3, 35)] = std::numeric_limits<float>::infinity();
        Numbers<float> c(rows * kColumns);
        kernels::product({rows, kColumns, kDepth, a.view, b.view, nullptr, c.data()}, 0, 1);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < kColumns; ++j) {
            const float x = c[i * kColumns + j];
            ASSERT_EQ(std::isnan(x), i == 1) << i << ", " << j;
            ASSERT_EQ(std::isinf(x), i != 1 && j == 35) << i << ", " << j;
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace attend::kernels_test
