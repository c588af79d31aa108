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
  Numbers<int64_t> tokens;
};

using Ids = std::vector<int64_t>;

// Of rows of logits, of which one list has the parts before `middle`, or if it is swapped with the
// other the rest.
Tops top_of(Numbers<float> logits, int64_t rows, int64_t count, int64_t middle = 1,
            const Ids& excluded = {}, bool sums_excluded = true, bool is_swapped = false,
            bool has_sums = true) {
  const auto size = logits.size() / rows, parts = kernels::top_parts(size);
  Tops found{Numbers<float>(rows), Numbers<float>(rows * count), Numbers<int64_t>(rows * count)};
  Numbers<float> largest(rows * parts), sums(rows * parts), values(rows * count);
  Numbers<int64_t> tokens(rows * count);
  const kernels::TopTokens top{.size = size,
                               .count = count,
                               .excluded = excluded.data(),
                               .excluded_count = static_cast<int64_t>(excluded.size()),
                               .sums_excluded = sums_excluded,
                               .largest = has_sums ? largest.data() : nullptr,
                               .sums = has_sums ? sums.data() : nullptr,
                               .values = found.values.data(),
                               .tokens = found.tokens.data()};
  auto others = top;
  others.values = values.data();
  others.tokens = tokens.data();
  kernels::clear_top_tokens(top, rows);
  kernels::clear_top_tokens(others, rows);
  for (int64_t part = 0; part < parts; ++part) {
    kernels::add_top_part((part < middle) != is_swapped ? top : others, rows, part,
                          logits.data() + part * kernels::kTopPart, size);
  }
  kernels::add_top_tokens(top, rows, others);
  for (int64_t r = 0; r < rows && has_sums; ++r) found.log_sums[r] = kernels::top_log_sum(top, r);
  return found;
}

void check_top(Numbers<float> logits, int64_t rows, int64_t count) {
  const auto size = logits.size() / rows;
  SCOPED_TRACE(testing::Message() << size << " logits, " << count);
  auto found = top_of(logits, rows, count);
  std::vector<double> sums;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = logits.data() + r * size;
    Ids order(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return row[a] > row[b]; });
    for (int64_t c = 0; c < count; ++c) {
      const auto best = order[static_cast<size_t>(c)];
      ASSERT_EQ(found.values[r * count + c], row[best]);
      if (row[best] == kNoLogit) continue;  // any token
      ASSERT_EQ(found.tokens[r * count + c], best) << r << ' ' << c;
    }
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += std::exp(double{row[i]});
    sums.push_back(std::log(sum));
  }
  expect_near(found.log_sums, sums, 16, "log_sums");
}

TEST(TopTokens, OfEqualLogitsTheFirstComesFirstWhicheverListHasIt) {
  const Numbers<float> logits(2 * kernels::kTopPart + 7, 0.5F);
  for (const bool is_swapped : {false, true}) {
    auto found = top_of(logits, 1, 3, 1, {}, true, is_swapped);
    EXPECT_EQ((std::vector<int64_t>{found.tokens[0], found.tokens[1], found.tokens[2]}),
              (std::vector<int64_t>{0, 1, 2}));
  }
}

TEST(TopTokens, AreTheLargestInOrder) {
  testing_support::for_each_instruction_set([] {
    for (const int64_t size : {1, 9, 256, 1000, 5003}) {
      for (const int64_t count : {1, 2, 10, 60}) {
        if (count <= size) check_top(normal<float>(3 * size, 7, 3.0), 3, count);
      }
    }
    check_top(normal<float>(2 * 300, 8), 2, 300);  // all of them
  });
}

TEST(TopTokens, AreTheSameWithoutSums) {
  testing_support::for_each_instruction_set([] {
    const auto logits = normal<float>(3 * 1000, 14, 3.0);
    for (const int64_t count : {1, 5}) {
      auto expected = top_of(logits, 3, count);
      auto found = top_of(logits, 3, count, 1, {}, true, false, /*has_sums=*/false);
      for (int64_t i = 0; i < 3 * count; ++i) {
        ASSERT_EQ(found.tokens[i], expected.tokens[i]) << i;
        ASSERT_EQ(found.values[i], expected.values[i]) << i;
      }
    }
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

TEST(TopTokens, ImpossibleOnesComeLast) {
  testing_support::for_each_instruction_set([] {
    auto logits = normal<float>(400, 9);
    for (int64_t i = 0; i < 400; ++i) logits[i] = i % 7 == 0 ? logits[i] : kNoLogit;
    check_top(logits, 1, 70);
    check_top(Numbers<float>(600, kNoLogit), 1, 2);
    // A part of them, beside one whose numbers are far from 0.
    Numbers<float> far(600, kNoLogit);
    for (int64_t i = 256; i < 600; ++i) far[i] = -100.0F - static_cast<float>(i % 5);
    check_top(far, 1, 3);
  });
}

TEST(TopTokens, ExcludedOnesAreNotAmongThem) {
  testing_support::for_each_instruction_set([] {
    const Ids excluded{0, 255, 256, 700, 701};
    auto logits = normal<float>(2 * 702, 13);
    for (int64_t row = 0; row < 2; ++row) {
      for (const auto id : excluded) logits[row * 702 + id] = 9.0F;
    }
    auto without = logits;
    for (int64_t row = 0; row < 2; ++row) {
      for (const auto id : excluded) without[row * 702 + id] = kNoLogit;
    }
    for (const bool sums_excluded : {false, true}) {
      auto found = top_of(logits, 2, 4, 1, excluded, sums_excluded);
      auto best = top_of(without, 2, 4), sums = top_of(sums_excluded ? logits : without, 2, 4);
      for (int64_t i = 0; i < 8; ++i) {
        ASSERT_EQ(found.tokens[i], best.tokens[i]) << i;
        ASSERT_EQ(found.values[i], best.values[i]) << i;
      }
      for (int64_t row = 0; row < 2; ++row) ASSERT_EQ(found.log_sums[row], sums.log_sums[row]);
    }
    // Ids that no row has are left out.
    auto logit = normal<float>(2, 3);
    EXPECT_EQ(top_of(logit, 1, 1, 1, {1, 2, 300}).tokens[0], 0);
  });
}

TEST(TopTokens, WhichPartsAreReadTogetherChangesNoBit) {
  testing_support::for_each_instruction_set([] {
    const auto logits = normal<float>(2 * 1500, 12, 3.0);
    auto found = top_of(logits, 2, 7, 0);
    for (int64_t middle = 1; middle <= kernels::top_parts(1500); ++middle) {
      auto other = top_of(logits, 2, 7, middle);
      for (int64_t i = 0; i < 14; ++i) ASSERT_EQ(found.tokens[i], other.tokens[i]) << middle;
      for (int64_t r = 0; r < 2; ++r) ASSERT_EQ(found.log_sums[r], other.log_sums[r]) << middle;
    }
  });
}

TEST(TopTokens, ImpossibleOnesAtTheEndChangeNoBit) {
  testing_support::for_each_instruction_set([] {
    for (const int64_t size : {1, 5, 16, 31, 64, 130, 257, 700}) {
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

TEST(TopTokens, NaNShowsInTheSumAndComesFirst) {
  testing_support::for_each_instruction_set([] {
    for (const int64_t at : {0, 130, 255, 256, 299}) {
      auto logits = normal<float>(300, 10);
      logits[at] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_TRUE(std::isnan(top_of(logits, 1, 4).log_sums[0])) << at;
      for (const int64_t count : {1, 4}) {
        for (const bool is_swapped : {false, true}) {
          auto found = top_of(logits, 1, count, 1, {}, true, is_swapped, /*has_sums=*/false);
          EXPECT_TRUE(std::isnan(found.values[0])) << at << ' ' << is_swapped;
        }
      }
    }
    const Numbers<float> nothing(300, std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(std::isnan(top_of(nothing, 1, 4).log_sums[0]));
  });
}

}  // namespace
}  // namespace attend::kernels_test
