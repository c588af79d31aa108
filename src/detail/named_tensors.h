#pragma once

#include <torch/torch.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace attend::detail {

/// Tensors by name: a module's weights, an optimiser's state.
using NamedTensors = std::map<std::string, torch::Tensor>;

/// The parameters of `module`, detached. They share its memory.
NamedTensors named_parameters(const torch::nn::Module& module);

/// Copies `from` into `to`, which shares its memory with what is filled: all of it, in the dtypes
/// and on the devices of `to`, or none.
///
/// Where names or shapes differ, `refuse` is called with what is wrong, for a message: "\"a\" is
/// missing; \"b\" expected shape [2], got [3]; \"c\" is not used by the <owner>". It must throw.
void fill_all(const NamedTensors& to, const NamedTensors& from, std::string_view owner,
              const std::function<void(const std::string&)>& refuse);

}  // namespace attend::detail
