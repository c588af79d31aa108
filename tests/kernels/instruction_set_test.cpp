#include "kernels/cpu/instruction_set.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "support/instruction_sets.h"

namespace attend::instruction_set_test {
namespace {

TEST(InstructionSet, IsTheOneThatKernelsRunFor) {
  std::set<std::string> wanted, named;
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    wanted.insert(hwy::TargetName(left & -left));
  }
  testing_support::for_each_instruction_set([&] { named.insert(kernels::instruction_set()); });
  // Not all sets of a processor are compiled under the sanitizers.
  EXPECT_GE(named.size(), wanted.size() > 1 ? 2 : 1);
  for (const auto& name : named) EXPECT_TRUE(wanted.contains(name)) << name;
  // The best one is taken unless something else is asked for.
  EXPECT_EQ(hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets()),
            std::string(kernels::instruction_set()));
}

}  // namespace
}  // namespace attend::instruction_set_test
