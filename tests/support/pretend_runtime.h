#pragma once

#include <ATen/core/Generator.h>

#include <optional>

namespace attend::testing_support {

/// The CPU's generator that stands for one of the pretend device: for its default one if there is none.
at::Generator cpu_generator_of(const std::optional<at::Generator>& generator);

}  // namespace attend::testing_support
