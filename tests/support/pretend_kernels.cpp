#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/multinomial_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/util/ScopeExit.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "support/pretend_memory.h"
#include "support/pretend_runtime.h"
#include "support/pretend_transfers.h"

// The operations of the pretend device: those that make, view, move and read its memory; all others run on the CPU.
namespace attend::testing_support {
namespace {

using at::Tensor;
using std::optional;

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

// What makes tensors.

Tensor empty(at::IntArrayRef sizes, optional<at::ScalarType> dtype, optional<at::Layout> /*layout*/,
             optional<at::Device> /*device*/, optional<bool> /*pin_memory*/,
             optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, pretend_allocator(), kKeys, at::dtype_or_default(dtype),
                                   format);
}

Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, optional<at::ScalarType> dtype,
                     optional<at::Layout> /*layout*/, optional<at::Device> /*device*/,
                     optional<bool> /*pin_memory*/) {
  return at::detail::empty_strided_generic(sizes, strides, pretend_allocator(), kKeys,
                                           at::dtype_or_default(dtype));
}

// A larger tensor starts anew: nobody reads what was in it.
const Tensor& resize(const Tensor& self, at::IntArrayRef sizes, optional<at::MemoryFormat> format) {
  auto* impl = self.unsafeGetTensorImpl();
  const auto offset = static_cast<size_t>(impl->storage_offset());
  const auto bytes = at::detail::computeStorageNbytesContiguous(sizes, self.itemsize(), offset);
  auto* storage = self.storage().unsafeGetStorageImpl();
  if (bytes > storage->nbytes()) {
    storage->set_data_ptr_noswap(pretend_allocator()->allocate(bytes));
    storage->set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(sizes);
  if (format) impl->empty_tensor_restride(*format);
  return self;
}

// What moves them. Copies are made in their tensors' own dtypes and strides.

Tensor copy_from(const Tensor& from, const Tensor& to, bool /*non_blocking*/) {
  count_copy(from, to);
  if (to.numel() == 0) return to;
  const InsideKernel inside;
  OpenMemory open;
  open(to).copy_(open(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (from.numel() > 0 && from.data_ptr() == to.data_ptr()) return to;  // written in place
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, /*non_blocking=*/false);
}

at::Scalar read(const Tensor& x) {
  count_read();
  const InsideKernel inside;
  OpenMemory open;
  return open(x).item();
}

// That of a module's parameter may become one of the device, as for CUDA's.
bool can_stand_for(const Tensor& /*self*/, const Tensor& /*from*/) { return true; }

// Everything else, on the CPU.

// What makes the host wait, since the answer or the result's size is a number on the device.
bool is_a_question(std::string_view name) {
  constexpr std::array kQuestions{"aten::nonzero",
                                  "aten::masked_select",
                                  "aten::equal",
                                  "aten::_unique2",
                                  "aten::unique_consecutive",
                                  "aten::unique_dim",
                                  "aten::repeat_interleave",
                                  "aten::bincount"};
  return std::ranges::find(kQuestions, name) != kQuestions.end();
}

// What the running kernel of this thread has opened.
OpenMemory*& memory_of_kernel() {
  static thread_local OpenMemory* memory = nullptr;
  return memory;
}

// The arguments of a kernel on the CPU: copies, but of large tensors the memory itself.
std::vector<Tensor> arguments_on_cpu(at::TensorList tensors) {
  constexpr size_t kLarge = size_t{1} << 16U;  // bytes
  std::vector<Tensor> result;
  for (const auto& x : tensors) {
    const bool shared = memory_of_kernel() != nullptr && x.nbytes() >= kLarge;
    result.push_back(shared ? (*memory_of_kernel())(x) : x.cpu());
  }
  return result;
}

void check_on_device(const c10::OperatorHandle& op, const Tensor& x) {
  // Numbers are taken from anywhere.
  TORCH_CHECK(!x.defined() || x.device().is_privateuseone() || x.dim() == 0,
              "pretend device: expected all tensors of ", op.operator_name(), " on it, got one on ",
              x.device());
}

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const auto begin = stack->size() - arguments.size();
  for (size_t i = 0; i < arguments.size(); ++i) {
    auto& value = (*stack)[begin + i];
    if (value.isTensor()) check_on_device(op, value.toTensor());
    if (value.isTensorList()) {
      for (const Tensor& x : value.toTensorVector()) check_on_device(op, x);
    }
    if (*arguments[i].type() == *c10::OptionalType::create(c10::GeneratorType::get())) {
      value = cpu_generator_of(value.toOptional<at::Generator>());
    }
  }
  if (is_a_question(op.schema().name())) count_read();
  const InsideKernel inside;
  OpenMemory open;
  auto* const outer = std::exchange(memory_of_kernel(), &open);
  const auto restore = c10::make_scope_exit([&] { memory_of_kernel() = outer; });
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

// What LibTorch leaves to each accelerator, or has for CUDA alone.

std::tuple<Tensor, Tensor> native_dropout(const Tensor& x, double p, optional<bool> train) {
  if (!train.value_or(true)) return {x.clone(), at::ones_like(x, at::kBool)};
  const auto kept = at::empty_like(x, at::kBool).bernoulli_(1.0 - p);
  return {x * kept * (1.0 / (1.0 - p)), kept};
}

Tensor on_cpu(const Tensor& x) { return x.defined() ? x.cpu() : x; }

Tensor convolution(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias,
                   at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                   bool transposed, at::IntArrayRef output_padding, int64_t groups) {
  const InsideKernel inside;
  return at::convolution(on_cpu(x), on_cpu(weight), on_cpu(bias.value_or(Tensor())), stride,
                         padding, dilation, transposed, output_padding, groups)
      .to(x.device());
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& gradient, const Tensor& x, const Tensor& weight, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, int64_t groups, std::array<bool, 3> wanted) {
  const InsideKernel inside;
  const std::array biases{weight.size(0)};
  auto [of_x, of_weight, of_bias] =
      at::convolution_backward(on_cpu(gradient), on_cpu(x), on_cpu(weight), biases, stride, padding,
                               dilation, transposed, output_padding, groups, wanted);
  const auto back = [&](const Tensor& t) { return t.defined() ? t.to(x.device()) : t; };
  return {back(of_x), back(of_weight), back(of_bias)};
}

// The gates of a GRU: reset, update, new. The workspace is the kernel's own: r, z, n, hidden and the new gate's hidden part.
std::tuple<Tensor, Tensor> gru_cell(const Tensor& input_gates, const Tensor& hidden_gates,
                                    const Tensor& hidden, const optional<Tensor>& input_bias,
                                    const optional<Tensor>& hidden_bias) {
  const auto biased = [](const Tensor& gates, const optional<Tensor>& bias) {
    return (bias && bias->defined() ? gates + *bias : gates).chunk(3, 1);
  };
  const auto i = biased(input_gates, input_bias), h = biased(hidden_gates, hidden_bias);
  const auto r = at::sigmoid(i[0] + h[0]), z = at::sigmoid(i[1] + h[1]);
  const auto n = at::tanh(i[2] + r * h[2]);
  return {n + z * (hidden - n), at::cat({r, z, n, hidden, h[2]}, 1)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gru_cell_backward(const Tensor& gradient,
                                                                     const Tensor& workspace,
                                                                     bool has_bias) {
  const auto kept = workspace.chunk(5, 1);
  const auto &r = kept[0], &z = kept[1], &n = kept[2], &hidden = kept[3], &hidden_new = kept[4];
  const auto of_z = gradient * (hidden - n) * z * (1 - z);
  const auto of_n = gradient * (1 - z) * (1 - n * n);
  const auto of_r = of_n * hidden_new * r * (1 - r);
  const auto of_input = at::cat({of_r, of_z, of_n}, 1);
  const auto of_hidden_gates = at::cat({of_r, of_z, of_n * r}, 1);
  const auto of_bias = [&](const Tensor& gates) { return has_bias ? gates.sum(0) : Tensor(); };
  return {of_input, of_hidden_gates, gradient * z, of_bias(of_input), of_bias(of_hidden_gates)};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("resize_", &resize);
  m.impl("set_.source_Storage",
         [](Tensor& x, at::Storage s) -> Tensor& { return at::native::set_(x, std::move(s)); });
  m.impl("set_.source_Storage_storage_offset", &at::native::set_storage_cpu_);
  m.impl("set_.source_Tensor", &at::native::set_tensor_);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", [](const Tensor& x, at::IntArrayRef sizes) { return at::native::view(x, sizes); });
  m.impl("view.dtype", &at::native::view_dtype);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("view_as_real", &at::native::view_as_real);
  m.impl("view_as_complex", &at::native::view_as_complex);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &read);
  m.impl("_to_cpu", &arguments_on_cpu);
  m.impl("_has_compatible_shallow_copy_type", &can_stand_for);
  m.impl("multinomial", &at::native::multinomial);  // of other operations, as on CUDA
  m.impl("native_dropout", &native_dropout);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
  m.impl("_thnn_fused_gru_cell", &gru_cell);
  m.impl("_thnn_fused_gru_cell_backward", &gru_cell_backward);
}

// Copies read and write what is conjugated or negated by themselves, or they would be made by copies without end.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) {
  m.impl("_copy_from", torch::CppFunction::makeFallthrough());
}
TORCH_LIBRARY_IMPL(aten, Negative, m) {
  m.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

// The lists of CUDA, but for what needs an overload's dtype.
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
#define ATTEND_NARROW(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define ATTEND_WIDE(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define ATTEND_WIDE_BY_DTYPE(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32_set_opt_dtype)
#define ATTEND_PROMOTED(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
  AT_FORALL_LOWER_PRECISION_FP(ATTEND_NARROW)
  AT_FORALL_FP32(ATTEND_WIDE)
  AT_FORALL_FP32_SET_OPT_DTYPE(ATTEND_WIDE_BY_DTYPE)
  AT_FORALL_PROMOTE(ATTEND_PROMOTED)
}

}  // namespace attend::testing_support
