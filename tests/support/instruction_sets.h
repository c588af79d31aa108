#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>

namespace attend::testing_support {

/// Calls f() once for each instruction set of this machine, with that one in use, or the portable code
/// where kernels are not compiled for it.
template <typename F>
void for_each_instruction_set(const F& f) {
  const auto use = [](int64_t sets) {
    hwy::SetSupportedTargetsForTest(sets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  };
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    const auto set = left & -left;
    SCOPED_TRACE(hwy::TargetName(set));
    use(set);
    f();
  }
  use(0);  // all again
}

}  // namespace attend::testing_support
