#pragma once

namespace attend::kernels {

/// Highway's name of the instruction set that the kernels are run for on this processor.
const char* instruction_set();

}  // namespace attend::kernels
