#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/torch.h>

#include <optional>

namespace attend::functional {

/// The dtype in which LibTorch multiplies `x`: autocast's where that is on and casts x, else its
/// own.
torch::ScalarType product_type(const torch::Tensor& x);

/// Whether `x` is multiplied in 16 bits, on a CPU.
bool is_narrow_on_cpu(const torch::Tensor& x);

/// The same, on a CPU that has no fast instructions for it: attend makes such products
/// `ThroughFloat32`. Without AVX-512 LibTorch's are loops over single numbers, 4 to 40 times slower
/// than float32's.
bool lacks_products_of(const torch::Tensor& x);

/// While it lives, 16-bit numbers are computed in float32: autocast is off, inputs are widened, and
/// the result is rounded to the dtype that LibTorch's operations would have given. Where it is not
/// wanted it does nothing at all.
class ThroughFloat32 {
 public:
  explicit ThroughFloat32(std::optional<torch::ScalarType> rounded_to) : rounded_to_(rounded_to) {
    if (rounded_to_) no_autocast_.emplace(c10::autocast_dispatch_keyset);
  }
  ThroughFloat32(const torch::Tensor& x, bool is_wanted)
      : ThroughFloat32(is_wanted ? std::optional(product_type(x)) : std::nullopt) {}

  torch::Tensor widened(const torch::Tensor& x) const {
    return rounded_to_ && x.defined() ? x.to(torch::kFloat) : x;
  }
  torch::Tensor rounded(const torch::Tensor& x) const {
    return rounded_to_ ? x.to(*rounded_to_) : x;
  }
  std::optional<torch::ScalarType> rounded_to() const { return rounded_to_; }

 private:
  std::optional<torch::ScalarType> rounded_to_;
  std::optional<c10::impl::ExcludeDispatchKeyGuard> no_autocast_;
};

/// Whether this CPU multiplies 16-bit numbers by tiles (AMX), ten times faster than float32's.
bool has_narrow_tiles(torch::ScalarType type);

/// Where attend's own float32 products are faster than LibTorch's, which are MKL's.
struct OwnProducts {
  int64_t rows = 0;        // y = x weight^T of up to so many rows of x
  bool gradients = false;  // and of the same ones the two products of the backward pass
};

/// Of this CPU. On AMD's processors with AVX2 or AVX-512 all: LibTorch's reach 45 to 95 % of their speed with 8 rows
/// or more, and 40 % with one row and weights that no cache holds. On Intel's with AVX-512 up to 128
/// rows: LibTorch's reach 60 to 90 % of their speed with 8 to 64 rows, and are level with them above
/// and in gradients. Others were not measured. The environment variable ATTEND_LINEAR, `attend` (all)
/// or `libtorch` (none), overrides the choice.
/// Throws: c10::ValueError for another value.
OwnProducts own_products();

}  // namespace attend::functional
