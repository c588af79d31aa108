#include "detail/splitmix64.h"

#include <gtest/gtest.h>

#include <array>

namespace attend::splitmix64_test {
namespace {

TEST(SplitMix64, DrawsTheNumbersOfTheReference) {
  constexpr std::array<uint64_t, 5> kFrom1234567{6457827717110365317U, 3203168211198807973U,
                                                 9817491932198370423U, 4593380528125082431U,
                                                 16408922859458223821U};
  uint64_t state = 1234567;
  for (const auto expected : kFrom1234567) {
    EXPECT_EQ(detail::splitmix64(state), expected);
    state += detail::kSplitMix64Step;
  }
}

}  // namespace
}  // namespace attend::splitmix64_test
