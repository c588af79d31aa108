#pragma once

#include <torch/torch.h>

#include <map>
#include <string>

namespace attend::testing_support {

/// The tensors of one case of tests/golden/<file>.json, by name.
std::map<std::string, torch::Tensor> load_golden(const std::string& file, const std::string& name);

}  // namespace attend::testing_support
