#include "kernels/cpu/instruction_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/instruction_sets.h"

namespace attend::instruction_set_test {
namespace {

TEST(InstructionSet, IsTheOneThatKernelsRunFor) {
  // From the best on. Not all sets of a processor are compiled.
  std::vector<std::string> supported, named;
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    supported.emplace_back(hwy::TargetName(left & -left));
  }
  testing_support::for_each_instruction_set(
      [&] { named.emplace_back(kernels::instruction_set()); });
  ASSERT_EQ(named.size(), supported.size());
  std::string best;
  for (size_t i = 0; i < named.size(); ++i) {
    const bool is_compiled = named[i] == supported[i];
    EXPECT_TRUE(is_compiled || std::ranges::find(supported, named[i]) != supported.end());
    if (is_compiled && best.empty()) best = named[i];
  }
  EXPECT_FALSE(best.empty());
  EXPECT_EQ(best, kernels::instruction_set());
}

}  // namespace
}  // namespace attend::instruction_set_test
