#include "kernels/cpu/top_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

struct Tops {
  Numbers<float> log_sums, values;
  Numbers<int32_t> tokens;
};

Tops top_of(Numbers<float>& logits, int64_t rows, int64_t count) {
  const auto size = logits.size() / rows;
  Tops found{Numbers<float>(rows), Numbers<float>(rows * count), Numbers<int32_t>(rows * count)};
  Numbers<float> workspace(kernels::top_tokens_workspace(size));
  kernels::top_tokens({.size = size,
                       .count = count,
                       .logits = logits.data(),
                       .log_sums = found.log_sums.data(),
                       .values = found.values.data(),
                       .tokens = found.tokens.data()},
                      0, rows, workspace.data());
  return found;
}

void check_top(Numbers<float> logits, int64_t rows, int64_t count) {
  const auto size = logits.size() / rows;
  SCOPED_TRACE(testing::Message() << size << " logits, " << count);
  auto found = top_of(logits, rows, count);
  std::vector<double> sums;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = logits.data() + r * size;
    std::vector<int32_t> order(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (int64_t c = 0; c < count; ++c) {
      ASSERT_EQ(found.tokens[r * count + c], order[static_cast<size_t>(c)]) << r << ' ' << c;
      ASSERT_EQ(found.values[r * count + c], row[order[static_cast<size_t>(c)]]);
    }
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += std::exp(double{row[i]});
    sums.push_back(std::log(sum));
  }
  expect_near(found.log_sums, sums, 16, "log_sums");
}

TEST(TopTokens, AreTheLargestInOrder) {
  testing_support::for_each_instruction_set([] {
    for (const int64_t size : {1, 9, 128, 1000, 5003}) {
      for (const int64_t count : {1, 2, 10, 60}) {
        if (count <= size) check_top(normal<float>(3 * size, 7, 3.0), 3, count);
      }
    }
    check_top(normal<float>(2 * 300, 8), 2, 300);  // all of them
  });
}

TEST(TopTokens, OfEqualOnesTheFirstComesFirst) {
  testing_support::for_each_instruction_set([] {
    Numbers<float> logits(2000);
    for (int64_t i = 0; i < 2000; ++i) logits[i] = static_cast<float>(i % 3);
    check_top(logits, 1, 20);
    check_top(Numbers<float>(700, 1.5F), 1, 9);
  });
}

TEST(TopTokens, ForbiddenOnesComeLast) {
  testing_support::for_each_instruction_set([] {
    auto logits = normal<float>(400, 9);
    for (int64_t i = 0; i < 400; ++i) logits[i] = i % 7 == 0 ? logits[i] : kNoLogit;
    check_top(logits, 1, 70);
  });
}

TEST(TopTokens, ImpossibleOnesAtTheEndChangeNoBit) {
  testing_support::for_each_instruction_set([] {
    for (const int64_t size : {1, 5, 16, 31, 64, 130, 257}) {
      auto logits = normal<float>(size, 11, 3.0);
      const auto sum = top_of(logits, 1, 1).log_sums[0];
      for (const int64_t more : {1, 8, 40, 64, 300}) {
        Numbers<float> longer(size + more, kNoLogit);
        std::copy_n(logits.data(), size, longer.data());
        ASSERT_EQ(top_of(longer, 1, 1).log_sums[0], sum) << size << " and " << more;
      }
    }
  });
}

TEST(TopTokens, NaNShowsInTheSum) {
  testing_support::for_each_instruction_set([] {
    for (const int64_t at : {0, 130, 299}) {
      auto logits = normal<float>(300, 10);
      logits[at] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_TRUE(std::isnan(top_of(logits, 1, 4).log_sums[0])) << at;
    }
    Numbers<float> nothing(300, std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(std::isnan(top_of(nothing, 1, 4).log_sums[0]));
  });
}

}  // namespace
}  // namespace attend::kernels_test
