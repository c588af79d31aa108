// Compiles the file that includes this once for each instruction set that Highway knows; the best
// one is taken at run time. Defined before it: HWY_TARGET_INCLUDE, that file. Without a guard: each
// time it declares what the set in question has.

// The sets without a fixed vector size cannot keep vectors in arrays. SSSE3 without SSE4 is of processors
// of 2006.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
