// Attention by at::scaled_dot_product_attention, which takes every device, with the mask in the
// smallest form that its kernels know.
#include <ATen/SDPBackend.h>

#include "functional/attention_backend.h"
#include "functional/fused_attention.h"

namespace attend::functional {
namespace {

bool has_rows_in_memory(const torch::Tensor& x) { return x.stride(3) == 1 || x.size(3) == 1; }

// On the CPU LibTorch has a kernel without dropout only. Where the kernel does not fit, LibTorch
// computes the formula; attend's has more derivatives.
bool takes_libtorch(const AttentionInputs& in) {
  if (!in.query.is_cpu()) return true;
  if (in.parameters.dropout_p > 0.0) return false;
  if (!in.records_gradients()) return true;
  return !(in.mask.bias.defined() && in.mask.bias.requires_grad()) &&
         in.query.size(3) == in.value.size(3) && has_rows_in_memory(in.query) &&
         has_rows_in_memory(in.key) && has_rows_in_memory(in.value);
}

torch::Tensor libtorch_output(const AttentionInputs& in) {
  const auto device = in.query.device();
  if (!device.is_cpu()) return fused_attention(in, kernel_mask(in.mask, in.shape(), device));
  const auto mask = kernel_bias(in.mask, in.shape(), device, in.computed_type());
  if (in.group() == 1) return fused_attention(in, mask);
  const bool rows_alike =
      !mask.is_causal &&
      (!mask.tensor.defined() || (mask.tensor.size(1) == 1 && mask.tensor.size(2) == 1));
  auto ungrouped = in;
  if (rows_alike) {  // the query heads of a group are more queries of one head
    const auto [batch, heads, target, source] = in.shape();
    ungrouped.query = in.query.reshape({batch, in.kv_heads(), -1, in.query.size(3)});
    return fused_attention(ungrouped, mask).view({batch, heads, target, in.value.size(3)});
  }
  ungrouped.key = in.key.repeat_interleave(in.group(), 1);
  ungrouped.value = in.value.repeat_interleave(in.group(), 1);
  return fused_attention(ungrouped, mask);
}

AttentionOutput run_libtorch(const AttentionInputs& in, bool /*wants_weights*/) {
  return {libtorch_output(in), {}};
}

std::string name_of_choice(int64_t choice) {
  switch (static_cast<at::SDPBackend>(choice)) {
    case at::SDPBackend::flash_attention:
      return "flash attention";
    case at::SDPBackend::efficient_attention:
      return "memory-efficient attention";
    case at::SDPBackend::cudnn_attention:
      return "cuDNN";
    default:
      return "math";
  }
}

std::string describe_libtorch(const AttentionInputs& in) {
  const auto mask = kernel_mask(in.mask, in.shape(), in.query.device());
  const bool is_bool = mask.tensor.defined() && mask.tensor.scalar_type() == torch::kBool;
  return ": " + name_of_choice(fused_choice(in, mask)) +
         (mask.is_causal ? ", its causal flag" : "") +
         described_part(is_bool ? "mask" : "bias", mask.tensor);
}

}  // namespace

const AttentionBackend kLibTorchAttention{.name = "LibTorch",
                                          .extras = kDropout | kLearnedBias,
                                          .takes = takes_libtorch,
                                          .run = run_libtorch,
                                          .describe = describe_libtorch};

}  // namespace attend::functional
