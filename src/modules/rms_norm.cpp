#include "attend/modules/rms_norm.h"

#include "detail/check.h"

namespace attend {

RMSNormOptions::RMSNormOptions(int64_t size) : size_(size) {}

RMSNormImpl::RMSNormImpl(const RMSNormOptions& options_) : options(options_) {
  RMSNormImpl::reset();
}

void RMSNormImpl::reset() {
  detail::check_positive("RMSNorm", "size", options.size());
  TORCH_CHECK_VALUE(options.eps() >= 0.0, "RMSNorm: expected eps >= 0, got ", options.eps());
  weight = register_parameter("weight", torch::ones({options.size()}));
}

void RMSNormImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::RMSNorm(" << options.size() << ", eps=" << options.eps() << ")";
}

torch::Tensor RMSNormImpl::forward(const torch::Tensor& x) {
  TORCH_CHECK(x.defined() && x.dim() >= 1 && x.size(-1) == options.size(),
              "RMSNorm: expected x with a last size of ", options.size(), ", got ",
              x.defined() ? detail::shape_string(x.sizes()) : "an undefined tensor");
  return at::rms_norm(x, {options.size()}, weight, options.eps());
}

}  // namespace attend
