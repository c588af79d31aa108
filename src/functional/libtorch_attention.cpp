// Attention on other devices than the CPU by at::scaled_dot_product_attention, with the mask in the
// smallest form that its kernels know.
#include <ATen/SDPBackend.h>

#include "functional/attention_backend.h"
#include "functional/fused_attention.h"

namespace attend::functional {
namespace {

bool takes_libtorch(const AttentionInputs& in) { return !in.query.is_cpu(); }

torch::Tensor run_libtorch(const AttentionInputs& in) {
  return fused_attention(in, kernel_mask(in.mask, in.shape(), in.query.device()));
}

std::string name_of_choice(int64_t choice) {
  switch (static_cast<at::SDPBackend>(choice)) {
    case at::SDPBackend::flash_attention:
      return "flash attention";
    case at::SDPBackend::efficient_attention:
      return "memory-efficient attention";
    case at::SDPBackend::cudnn_attention:
      return "cuDNN";
    case at::SDPBackend::overrideable:
      return "the device's own kernel";
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
