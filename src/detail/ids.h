#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace attend::detail {

/// The values of an id tensor on any device; none of an undefined one.
std::vector<int64_t> values_of(const torch::Tensor& ids);

}  // namespace attend::detail
