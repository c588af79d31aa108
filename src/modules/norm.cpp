#include "attend/modules/norm.h"

#include "detail/check.h"

namespace attend {
namespace {

const char* norm_name(NormKind kind) { return kind == NormKind::kRms ? "RMSNorm" : "LayerNorm"; }

}  // namespace

NormOptions::NormOptions(int64_t size) : size_(size) {}

NormImpl::NormImpl(const NormOptions& options_) : options(options_) { NormImpl::reset(); }

void NormImpl::reset() {
  const auto* name = norm_name(options.kind());
  detail::check_positive(name, "size", options.size());
  TORCH_CHECK_VALUE(options.eps() >= 0.0, name, ": expected eps >= 0, got ", options.eps());
  weight = register_parameter("weight", torch::ones({options.size()}));
  if (options.kind() == NormKind::kLayer) {
    bias = register_parameter("bias", torch::zeros({options.size()}));
  }
}

void NormImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::" << norm_name(options.kind()) << "(" << options.size()
         << ", eps=" << options.eps() << ")";
}

torch::Tensor NormImpl::forward(const torch::Tensor& x) {
  TORCH_CHECK(x.defined() && x.dim() >= 1 && x.size(-1) == options.size(),
              norm_name(options.kind()), ": expected x with a last size of ", options.size(),
              ", got ", x.defined() ? detail::shape_string(x.sizes()) : "an undefined tensor");
  if (options.kind() == NormKind::kLayer) {
    return at::layer_norm(x, {options.size()}, weight, bias, options.eps());
  }
  // Under autocast x may have 16 bits. at::layer_norm takes that beside float32 weights, at::rms_norm
  // does not.
  return at::rms_norm(x.to(weight.scalar_type()), {options.size()}, weight, options.eps())
      .to(x.scalar_type());
}

}  // namespace attend
