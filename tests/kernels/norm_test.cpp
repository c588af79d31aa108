#include "kernels/cpu/norm.h"

#include <cmath>
#include <vector>

#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

void check_norm(bool subtracts_mean, int64_t size, bool with_bias) {
  constexpr int64_t kRows = 3;
  constexpr float kEps = 0.01F;
  auto x = normal<float>(kRows * size, 1, 2.0), weight = normal<float>(size, 2),
       bias = normal<float>(size, 3);
  std::vector<double> expected;
  for (int64_t r = 0; r < kRows; ++r) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < size; ++i) mean += x[r * size + i] / static_cast<double>(size);
    if (!subtracts_mean) mean = 0;
    for (int64_t i = 0; i < size; ++i) {
      square += std::pow(x[r * size + i] - mean, 2) / static_cast<double>(size);
    }
    for (int64_t i = 0; i < size; ++i) {
      expected.push_back((x[r * size + i] - mean) / std::sqrt(square + kEps) * weight[i] +
                         (with_bias ? bias[i] : 0.0F));
    }
  }
  const kernels::RowNorm norm{.subtracts_mean = subtracts_mean,
                              .size = size,
                              .weight = weight.data(),
                              .bias = with_bias ? bias.data() : nullptr,
                              .eps = kEps};
  kernels::normalize_rows(norm, x.data(), x.data(), 1, kRows);  // in place
  kernels::normalize_rows(norm, x.data(), x.data(), 0, 1);
  expect_near(x, expected, 16, "norm");
}

TEST(Norm, IsItsFormula) {
  testing_support::for_each_instruction_set([] {
    for (const bool subtracts_mean : {true, false}) {
      for (const int64_t size : {1, 6, 16, 37, 128}) {
        SCOPED_TRACE(size);
        check_norm(subtracts_mean, size, true);
        check_norm(subtracts_mean, size, false);
      }
    }
  });
}

}  // namespace
}  // namespace attend::kernels_test
