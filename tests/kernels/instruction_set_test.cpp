#include "kernels/cpu/instruction_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/instruction_sets.h"

namespace attend::instruction_set_test {
namespace {

TEST(InstructionSet, IsTheOneThatKernelsRunFor) {
  std::vector<std::string> supported, named;
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    supported.emplace_back(hwy::TargetName(left & -left));
  }
  testing_support::for_each_instruction_set(
      [&] { named.emplace_back(kernels::instruction_set()); });
  // Each is a set of the processor, and none comes twice; the best is the one in use otherwise.
  std::ranges::sort(named);
  EXPECT_EQ(std::ranges::adjacent_find(named), named.end());
  for (const auto& name : named) EXPECT_NE(std::ranges::find(supported, name), supported.end());
  const auto best = std::ranges::find_if(
      supported, [&](const auto& name) { return std::ranges::binary_search(named, name); });
  ASSERT_NE(best, supported.end());
  EXPECT_EQ(*best, kernels::instruction_set());
}

}  // namespace
}  // namespace attend::instruction_set_test
