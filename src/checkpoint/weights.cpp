#include "checkpoint/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "attend/file_error.h"
#include "detail/check.h"
#include "detail/excerpt.h"

namespace attend::detail {
namespace {

// Maps each name of a tied tensor to the one in `plan.wanted`.
std::map<std::string, std::string> own_names(const WeightsPlan& plan) {
  std::map<std::string, std::string> own;
  for (const auto& names : plan.tied) {
    for (const auto& name : names) own[name] = names.front();
  }
  return own;
}

const std::string& own_name(const std::map<std::string, std::string>& own,
                            const std::string& name) {
  const auto found = own.find(name);
  return found == own.end() ? name : found->second;
}

// The machine epsilon of the 8-bit and 16-bit floating-point types, 0 for wider ones.
double precision(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return std::numeric_limits<c10::Half>::epsilon();
    case at::kBFloat16:
      return std::numeric_limits<c10::BFloat16>::epsilon();
    case at::kFloat8_e4m3fn:
      return std::numeric_limits<c10::Float8_e4m3fn>::epsilon();
    case at::kFloat8_e5m2:
      return std::numeric_limits<c10::Float8_e5m2>::epsilon();
    default:
      return 0.0;
  }
}

// Whether a tensor of a file equals `expected`, rounded to the file's dtype. The tolerance is at
// least one epsilon of that dtype, since the writer may have rounded in the other direction.
bool is_derived(const torch::Tensor& tensor, const torch::Tensor& expected) {
  constexpr double kTolerance = 1e-5;
  const auto stored = tensor.scalar_type();
  return torch::allclose(tensor.to(at::kDouble), expected.to(stored).to(at::kDouble),
                         std::max(kTolerance, precision(stored)), kTolerance);
}

// Whether two tensors of the same shape have equal values.
bool same_numbers(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.scalar_type() == b.scalar_type() && a.element_size() > 1) return torch::equal(a, b);
  return torch::equal(a.to(at::kDouble), b.to(at::kDouble));
}

// Describes a value that is not allowed in a weight (NaN, infinity); empty if there is none.
std::string broken_value(const torch::Tensor& tensor, bool may_exclude) {
  if (tensor.numel() == 0) return {};
  // Checked as float32, the model's dtype, since a float64 value may overflow there; the 16-bit
  // types always fit. aminmax returns NaN if any value is NaN.
  const auto type = tensor.scalar_type();
  const bool fits = type == at::kHalf || type == at::kBFloat16;
  const auto [least, largest] = torch::aminmax(fits ? tensor : tensor.to(at::kFloat));
  const auto low = least.item<double>(), high = largest.item<double>();
  if (std::isnan(low) || std::isnan(high)) return "NaN";
  if (std::isinf(high)) return high > 0.0 ? "infinity" : "-infinity alone";
  return std::isinf(low) && !may_exclude ? "-infinity" : "";
}

// Whether `read` can take the place of `own`: of the same kind, and alone in its memory.
bool can_replace(const torch::Tensor& own, const torch::Tensor& read) {
  return read.scalar_type() == own.scalar_type() && read.device() == own.device() &&
         read.sizes() == own.sizes() && read.is_contiguous() && own.is_contiguous() &&
         read.storage().nbytes() == read.nbytes() && read.storage().use_count() == 1;
}

}  // namespace

NamedTensors named_weights(const torch::nn::Module& module) {
  auto weights = named_parameters(module);
  for (const auto& item : module.named_buffers()) weights[item.key()] = item.value().detach();
  return weights;
}

void check_layer_count(const JsonFile& config, const char* key, int64_t count,
                       const WeightsFile& file, const std::string& prefix) {
  std::set<std::string_view> layers;
  for (const auto& [name, info] : file.tensors()) {
    if (!name.starts_with(prefix)) continue;
    const auto rest = std::string_view(name).substr(prefix.size());
    if (const auto dot = rest.find('.'); dot != std::string_view::npos) {
      layers.insert(rest.substr(0, dot));
    }
  }
  const auto held = static_cast<int64_t>(layers.size());
  const auto all = static_cast<int64_t>(file.tensors().size());
  // If no name has the prefix, the file belongs to another architecture. Then the count is only
  // bounded by the number of tensors, so that `check_header` can name the tensors that differ.
  if (count > (held > 0 ? held : all)) {
    throw FileError(config.path(),
                    fmt::format("expected {} of at most {}, the layers in {}, got {}", key, held,
                                file.path().filename().string(), count));
  }
}

void check_header(const WeightsFile& file, const WeightsPlan& plan) {
  const auto own = own_names(plan);
  std::set<std::string> seen;
  Problems problems;
  for (const auto& [name, info] : file.tensors()) {
    const auto known = plan.derived.find(name);
    const bool is_derived_one = known != plan.derived.end();
    const auto wanted = is_derived_one ? known : plan.wanted.find(own_name(own, name));
    if (!is_derived_one && wanted == plan.wanted.end()) {
      problems.add(in_quotes(name) + " is not used by the model");
      continue;
    }
    seen.insert(wanted->first);
    if (info.shape != wanted->second) {
      problems.add(fmt::format("{} expected shape {}, got {}", in_quotes(name),
                               shape_string(wanted->second), shape_string(info.shape)));
    } else if (!c10::isFloatingType(info.dtype)) {
      problems.add(fmt::format("{} expected numbers of floating point, got {}", in_quotes(name),
                               c10::toString(info.dtype)));
    }
  }
  for (const auto& [name, shape] : plan.wanted) {
    if (!seen.contains(name)) problems.add(in_quotes(name) + " is missing");
  }
  if (!problems.empty()) throw FileError(file.path(), problems.text());
}

NamedTensors read_weights(const WeightsFile& file, const WeightsPlan& plan,
                          const NamedTensors& derived) {
  const auto own = own_names(plan);
  NamedTensors weights;
  Problems problems;
  for (const auto& [name, info] : file.tensors()) {
    const auto tensor = file.read(name);
    if (const auto known = derived.find(name); known != derived.end()) {
      if (!is_derived(tensor, known->second)) {
        problems.add(in_quotes(name) + " is not what the configuration derives");
      }
      continue;
    }
    const auto& wanted = own_name(own, name);
    const auto broken = broken_value(tensor, plan.may_exclude.contains(wanted));
    if (!broken.empty()) {
      problems.add(fmt::format("{} expected finite numbers, got {}", in_quotes(name), broken));
    }
    const auto [first, is_new] = weights.emplace(wanted, tensor);
    if (!is_new && broken.empty() && !same_numbers(first->second, tensor)) {
      problems.add(in_quotes(name) + " differs from the tensor it is tied to");
    }
  }
  if (!problems.empty()) throw FileError(file.path(), problems.text());
  return weights;
}

void fill(torch::nn::Module& module, NamedTensors weights) {
  auto own = named_weights(module);
  for (auto& item : module.named_parameters()) {
    const auto read = weights.find(item.key());
    if (read == weights.end() || !can_replace(item.value(), read->second)) continue;
    item.value().set_data(read->second);
    weights.erase(read);
    own.erase(item.key());
  }
  fill_all(own, weights, "model", [](const std::string& problems) {
    TORCH_INTERNAL_ASSERT(false, "expected the weights of the model, got ", problems);
  });
}

}  // namespace attend::detail
