#include "kernels/cpu/instruction_set.h"

#include <cstdint>

#define HWY_WANT_AVX3_DL  // the best set that some kernels are compiled for
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/instruction_set.cpp"
#include "kernels/cpu/targets-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

int64_t own_target() { return HWY_TARGET; }

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(own_target);

}  // namespace

bool has_bfloat16_products() {
#if HWY_ARCH_X86
  const bool has_set = HWY_DYNAMIC_DISPATCH(own_target)() == HWY_AVX3_DL;
  return has_set && __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

bool prefers_bfloat16_products() {
#if HWY_ARCH_X86
  return has_bfloat16_products() && __builtin_cpu_is("intel") == 0;
#else
  return false;
#endif
}

const char* instruction_set() { return hwy::TargetName(HWY_DYNAMIC_DISPATCH(own_target)()); }

}  // namespace attend::kernels
#endif  // HWY_ONCE
