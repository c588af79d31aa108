#include "attend/cpu.h"

#include "kernels/cpu/instruction_set.h"

namespace attend {

std::string cpu_instruction_set() { return kernels::instruction_set(); }

}  // namespace attend
