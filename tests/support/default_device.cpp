#include "support/default_device.h"

#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

namespace attend::testing_support {
namespace {

// LibTorch's key for tests that look at every operation.
constexpr auto kEveryOperation = c10::DispatchKey::TESTING_ONLY_GenericMode;

torch::Device& chosen() {
  static torch::Device device(torch::kCPU);
  return device;
}

// The tensor that torch::tensor is filling, on the CPU whatever device it is for.
// Weak, so that no later tensor has its address.
using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
std::optional<WeakTensor>& being_filled() {
  static thread_local std::optional<WeakTensor> tensor;
  return tensor;
}

bool is_being_filled(const torch::Tensor& tensor) {
  return being_filled() && being_filled()->_unsafe_get_target() == tensor.unsafeGetTensorImpl();
}

bool inside_torch_tensor() {
  const auto excluded = c10::impl::tls_local_dispatch_key_set().excluded_;
  return excluded.has_any(c10::autograd_dispatch_keyset) &&
         !excluded.has(c10::DispatchKey::ADInplaceOrView);
}

bool takes_tensors(const c10::Argument& argument) {
  const auto& type = argument.type();
  const auto& single = type->kind() == c10::TypeKind::ListType ? type->containedType(0) : type;
  return single->isSubtypeOf(*c10::OptionalType::ofTensor());
}

void with_default_device(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const auto begin = stack->size() - arguments.size();
  const bool makes = std::ranges::none_of(arguments, takes_tensors);
  const auto& name = op.schema().name();
  bool fills = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].name() != "device") continue;
    auto& device = (*stack)[begin + i];
    if (makes && device.isNone()) {
      device = chosen();
    } else if (makes) {
      fills = name == "aten::empty" && inside_torch_tensor();
    } else if (name == "aten::to" && is_being_filled((*stack)[begin].toTensor())) {
      device = chosen();
      being_filled().reset();
    }
  }
  const c10::impl::ExcludeDispatchKeyGuard once(kEveryOperation);
  op.callBoxed(stack);
  if (fills) being_filled() = WeakTensor(stack->back().toTensor().getIntrusivePtr());
}

}  // namespace

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&with_default_device>());
}

void make_tensors_on(torch::Device device) {
  chosen() = device;
  c10::impl::tls_set_dispatch_key_included(kEveryOperation, !device.is_cpu());
}

torch::Device test_device() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it.
  const char* name = std::getenv("ATTEND_TEST_DEVICE");
  const std::string_view named = name == nullptr ? "cpu" : name;
  if (named == "pretend") return {torch::kPrivateUse1, 0};
  return torch::Device(std::string(named));
}

TensorsOnCpu::TensorsOnCpu() : without_(kEveryOperation) {}

}  // namespace attend::testing_support
