#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "attend/modules/torch_interop.h"
#include "detail/check.h"

namespace attend::detail {

/// The corresponding tensors of a module of attend and one of torch::nn. Both directions first
/// collect and check all pairs, and copy only if every pair fits.
class Pairing {
 public:
  explicit Pairing(const char* who) : who_(who) {}

  const char* who() const { return who_; }

  /// Requires equal values of an option that affects the result.
  template <typename T>
  void require_same(const std::string& name, const T& ours, const T& theirs) const {
    TORCH_CHECK_VALUE(ours == theirs, who_, ": expected ", name, " ", theirs,
                      " as in the torch::nn module, got ", ours);
  }
  void require_same(const std::string& name, bool ours, bool theirs) const {
    require_same<std::string>(name, ours ? "true" : "false", theirs ? "true" : "false");
  }

  /// Adds a pair of tensors. Both may be undefined: a bias that neither module has.
  void add(const std::string& name, const torch::Tensor& ours, const torch::Tensor& theirs) {
    if (!ours.defined() && !theirs.defined()) return;
    TORCH_CHECK(theirs.defined(), who_, ": expected ", name, " in the torch::nn module, got none");
    check_shape(who_, name, ours, theirs.sizes());
    pairs_.push_back({ours.detach(), theirs.detach()});
  }

  void copy_from_torch() const {
    const torch::NoGradGuard no_grad;
    for (const auto& pair : pairs_) pair.ours.copy_(pair.theirs);
  }
  void copy_to_torch() const {
    const torch::NoGradGuard no_grad;
    for (const auto& pair : pairs_) pair.theirs.copy_(pair.ours);
  }

 private:
  struct Pair {
    torch::Tensor ours, theirs;
  };
  const char* who_;
  std::vector<Pair> pairs_;
};

/// Adds the tensors of two corresponding modules. prefix: of their names in error messages.
void pair(Pairing& pairing, const std::string& name, const torch::nn::Linear& ours,
          const torch::nn::Linear& theirs);
template <typename Derived>
void pair(Pairing& pairing, const std::string& prefix, const MultiHeadAttentionBase<Derived>& ours,
          const torch::nn::MultiheadAttentionImpl& theirs);

void pair(Pairing& pairing, const std::string& prefix, const TransformerEncoderLayerImpl& ours,
          const torch::nn::TransformerEncoderLayerImpl& theirs);
void pair(Pairing& pairing, const std::string& prefix, const TransformerDecoderLayerImpl& ours,
          const torch::nn::TransformerDecoderLayerImpl& theirs);
void pair(Pairing& pairing, const std::string& prefix, const TransformerEncoderImpl& ours,
          const torch::nn::TransformerEncoderImpl& theirs);
void pair(Pairing& pairing, const std::string& prefix, const TransformerDecoderImpl& ours,
          const torch::nn::TransformerDecoderImpl& theirs);

/// Moves a newly made module to the dtype, device and training mode of `from`. This replaces its
/// tensors, so it must run before they are paired.
void take_kind(torch::nn::Module& made, const torch::nn::Module& from);

/// Throws c10::ValueError and c10::Error as documented in torch_interop.h. who: the function's
/// name.
template <typename Ours, typename Theirs>
Pairing paired(const char* who, const Ours& ours, const Theirs& theirs) {
  Pairing pairing(who);
  pair(pairing, "", *ours, *theirs);
  return pairing;
}

/// Copies the weights of `theirs` into the newly made `ours`; `filled_to_torch` is the opposite.
template <typename Ours, typename Theirs>
Ours filled_from_torch(Ours ours, const Theirs& theirs) {
  take_kind(*ours, *theirs);
  paired("from_torch", ours, theirs).copy_from_torch();
  return ours;
}

template <typename Ours, typename Theirs>
Theirs filled_to_torch(const Ours& ours, Theirs theirs) {
  take_kind(*theirs, *ours);
  paired("to_torch", ours, theirs).copy_to_torch();
  return theirs;
}

}  // namespace attend::detail
