#include "attend/training/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/tensor_assert.h"

namespace attend::schedule_test {
namespace {

TEST(Schedule, RisesLinearlyThenFallsWithTheInverseSquareRoot) {
  const Schedule schedule{.peak = 0.004, .warmup = 100};
  EXPECT_DOUBLE_EQ(schedule.rate(1, 0), 0.00004);
  EXPECT_DOUBLE_EQ(schedule.rate(50, 0), 0.002);
  EXPECT_DOUBLE_EQ(schedule.rate(100, 0), 0.004);
  EXPECT_DOUBLE_EQ(schedule.rate(400, 0), 0.002);
}

TEST(Schedule, LinearDecayEndsAtZero) {
  const Schedule schedule{.peak = 1.0, .warmup = 10, .decay = Decay::kLinear};
  EXPECT_DOUBLE_EQ(schedule.rate(5, 0.01), 0.5);
  EXPECT_DOUBLE_EQ(schedule.rate(50, 0.25), 0.75);
  EXPECT_DOUBLE_EQ(schedule.rate(100, 1.0), 0.0);
}

TEST(Schedule, CooldownFallsToItsFloorOverTheLastPart) {
  const Schedule schedule{
      .peak = 2.0, .warmup = 0, .decay = Decay::kNone, .cooldown = 0.25, .cooldown_floor = 0.1};
  EXPECT_DOUBLE_EQ(schedule.rate(1, 0.0), 2.0);
  EXPECT_DOUBLE_EQ(schedule.rate(75, 0.75), 2.0);
  EXPECT_NEAR(schedule.rate(90, 0.875), 2.0 * 0.55, 1e-12);
  EXPECT_NEAR(schedule.rate(100, 1.0), 0.2, 1e-12);
}

TEST(Schedule, FieldsOutOfRangeAreNamed) {
  EXPECT_THROW_MESSAGE(Schedule{.peak = 0.0}.validate(), c10::ValueError,
                       "Schedule: expected a peak learning rate > 0, got 0");
  EXPECT_THROW_MESSAGE(Schedule{.warmup = -1}.validate(), c10::ValueError,
                       "Schedule: expected warmup >= 0 updates, got -1");
}

}  // namespace
}  // namespace attend::schedule_test
