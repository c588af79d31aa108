#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>

#include "kernels/cpu/instruction_set.h"

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

/// Whether kernels can multiply pairs of bfloat16 with the set in use: processors with AVX3_DL may lack
/// the instructions, with other sets they are computed by others.
inline bool can_multiply_pairs() {
  return kernels::has_bfloat16_products() || std::string(kernels::instruction_set()) != "AVX3_DL";
}

}  // namespace attend::testing_support
