#include "kernels/cpu/product.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/instruction_sets.h"
#include "support/tensor_assert.h"

namespace attend::product_test {
namespace {

kernels::Strided strided(const torch::Tensor& x) {
  return {x.const_data_ptr<float>(), x.stride(0), x.stride(1)};
}

// a b + bias, in so many parts. bias may be undefined.
torch::Tensor product(const torch::Tensor& a, const torch::Tensor& b, const torch::Tensor& bias,
                      int64_t parts = 1) {
  auto c = torch::full({a.size(0), b.size(1)}, -1e9F);
  const kernels::Product whole{.rows = a.size(0),
                               .columns = b.size(1),
                               .depth = a.size(1),
                               .a = strided(a),
                               .b = strided(b),
                               .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                               .c = c.mutable_data_ptr<float>()};
  for (int64_t part = 0; part < parts; ++part) kernels::product(whole, part, parts);
  return c;
}

torch::Tensor expected(const torch::Tensor& a, const torch::Tensor& b, const torch::Tensor& bias) {
  const auto c = torch::mm(a.to(torch::kDouble), b.to(torch::kDouble));
  return bias.defined() ? c + bias.to(torch::kDouble) : c;
}

// A matrix with rows or columns that lie together, or neither.
enum class Layout { kRows, kColumns, kScattered };

torch::Tensor matrix(int64_t rows, int64_t columns, Layout layout) {
  if (layout == Layout::kRows) return torch::randn({rows, columns});
  if (layout == Layout::kColumns) return torch::randn({columns, rows}).t();
  return torch::randn({rows, 2 * columns}).slice(1, 0, 2 * columns, 2);
}

TEST(Product, IsASumOfProductsByHand) {
  const auto a = torch::tensor({{1.0F, 2.0F}, {3.0F, 4.0F}, {5.0F, 6.0F}});
  const auto b = torch::tensor({{1.0F, 0.0F}, {10.0F, -1.0F}});
  EXPECT_TENSOR_EQUAL(product(a, b, torch::tensor({100.0F, 0.0F})),
                      torch::tensor({{121.0F, -2.0F}, {143.0F, -4.0F}, {165.0F, -6.0F}}));
}

TEST(Product, SizesAroundThoseOfTilesAndBlocksAgreeWithFloat64) {
  torch::manual_seed(1);
  for (const int64_t rows : {1, 3, 5, 13, 33, 97, 391}) {
    for (const int64_t columns : {1, 16, 33, 530}) {
      for (const int64_t depth : {1, 17, 65, 128, 257, 600}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << columns << " x " << depth);
        const auto bias = torch::randn({columns});
        // Sums of `depth` products of standard normal numbers.
        const double tolerance = 4e-6 * (std::sqrt(static_cast<double>(depth)) + 1);
        for (const auto of_b : {Layout::kRows, Layout::kColumns}) {
          const auto a = matrix(rows, depth, Layout::kRows), b = matrix(depth, columns, of_b);
          EXPECT_TENSOR_NEAR(product(a, b, bias), expected(a, b, bias), tolerance);
          EXPECT_TENSOR_NEAR(product(a, b, {}), expected(a, b, {}), tolerance);
        }
      }
    }
  }
}

TEST(Product, AnyLayoutAgreesOnEveryInstructionSetInAnyNumberOfParts) {
  torch::manual_seed(2);
  const auto bias = torch::randn({145});
  testing_support::for_each_instruction_set([&] {
    for (const int64_t rows : {2, 29, 203}) {
      for (const int64_t depth : {20, 600}) {
        for (const auto of_a : {Layout::kRows, Layout::kColumns, Layout::kScattered}) {
          for (const auto of_b : {Layout::kRows, Layout::kColumns, Layout::kScattered}) {
            const auto a = matrix(rows, depth, of_a), b = matrix(depth, 145, of_b);
            const auto c = product(a, b, bias);
            EXPECT_TENSOR_NEAR(c, expected(a, b, bias), 1e-4);
            for (const int64_t parts : {2, 3, 7}) {
              EXPECT_TENSOR_EQUAL(product(a, b, bias, parts), c);
            }
          }
        }
      }
    }
  });
}

TEST(Product, OneNumberForAllElementsIsReadFromOnePlace) {
  const auto one = torch::full({1, 1}, 0.5F);
  const auto b = torch::randn({70, 90});
  EXPECT_TENSOR_NEAR(product(one.expand({40, 70}), b, {}),
                     (b.to(torch::kDouble).sum(0) * 0.5).expand({40, 90}), 1e-4);
}

TEST(Product, WithoutDepthItIsTheBias) {
  const auto a = torch::empty({7, 0}), b = torch::empty({0, 20}), bias = torch::randn({20});
  EXPECT_TENSOR_EQUAL(product(a, b, bias), bias.expand({7, 20}));
  EXPECT_TENSOR_EQUAL(product(a, b, {}), torch::zeros({7, 20}));
}

TEST(Product, WhatIsNotANumberIsSeen) {
  const auto a = torch::ones({20, 40}), b = torch::ones({40, 20});
  a[3][5] = std::numeric_limits<float>::quiet_NaN();
  const auto c = product(a, b, {});
  EXPECT_TRUE(c[3].isnan().all().item<bool>());
  EXPECT_EQ(c.isnan().sum().item<int64_t>(), 20);
}

}  // namespace
}  // namespace attend::product_test
