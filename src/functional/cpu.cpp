#include "attend/functional/cpu.h"

#include "kernels/cpu/instruction_set.h"

namespace attend::functional {

std::string cpu_instruction_set() { return kernels::instruction_set(); }

}  // namespace attend::functional
