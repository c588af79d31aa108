#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <set>
#include <string>

#include "kernels/cpu/instruction_set.h"

namespace attend::testing_support {

/// Calls f() once for each instruction set of this machine that kernels are compiled for, with that one
/// in use. What they are not compiled for runs the portable code, once.
template <typename F>
void for_each_instruction_set(const F& f) {
  const auto use = [](int64_t sets) {
    hwy::SetSupportedTargetsForTest(sets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  };
  std::set<std::string> done;
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    const auto set = left & -left;
    use(set);
    if (!done.insert(kernels::instruction_set()).second) continue;
    SCOPED_TRACE(kernels::instruction_set());
    f();
  }
  use(0);  // all again
}

/// Whether kernels can multiply pairs of bfloat16 with the set in use: processors with AVX3_DL may lack
/// the instructions, with other sets they are computed by others.
inline bool can_multiply_pairs() {
  return kernels::has_bfloat16_products() || std::string(kernels::instruction_set()) != "AVX3_DL";
}

}  // namespace attend::testing_support
