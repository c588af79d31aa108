#include "attend/translation/latency_histogram.h"

#include <gtest/gtest.h>

#include <numeric>

#include "support/tensor_assert.h"

namespace attend::latency_histogram_test {
namespace {

TEST(LatencyHistogram, ADurationIsInTheFirstBucketThatIsNotBelowIt) {
  LatencyHistogram histogram;
  for (const double seconds : {0.0, 0.001, 0.0011, 0.07, 1000.0}) histogram.add(seconds);
  const auto& counts = histogram.counts();
  EXPECT_EQ(counts[0], 2U);  // up to 0.001
  EXPECT_EQ(counts[1], 1U);
  EXPECT_EQ(counts[11], 1U);  // 0.05 to 0.07
  EXPECT_EQ(counts.back(), 1U);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), uint64_t{0}), 5U);
  EXPECT_EQ(histogram.count(), 5U);
  EXPECT_NEAR(histogram.sum(), 1000.0721, 1e-9);
}

TEST(LatencyHistogram, PercentilesAreInterpolatedInTheirBucket) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.percentile(0.5), 0);
  for (int i = 0; i < 3; ++i) histogram.add(0.04);  // 0.03 to 0.05
  histogram.add(8.0);                               // 7 to 10
  EXPECT_NEAR(histogram.percentile(0.25), 0.03 + 0.02 / 3, 1e-12);
  EXPECT_NEAR(histogram.percentile(0.75), 0.05, 1e-12);
  EXPECT_NEAR(histogram.percentile(0.8), 7 + 3 * 0.2, 1e-12);
  EXPECT_NEAR(histogram.percentile(1), 8.0, 1e-12);  // not beyond the longest
  histogram.add(500);
  EXPECT_EQ(histogram.percentile(1), 500);
  EXPECT_THROW_MESSAGE(histogram.percentile(1.5), c10::ValueError,
                       "LatencyHistogram: expected a part in [0, 1], got 1.5");
}

}  // namespace
}  // namespace attend::latency_histogram_test
