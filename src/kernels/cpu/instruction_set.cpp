#include "kernels/cpu/instruction_set.h"

#include <cstdint>

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

const char* instruction_set() { return hwy::TargetName(HWY_DYNAMIC_DISPATCH(own_target)()); }

}  // namespace attend::kernels
#endif  // HWY_ONCE
