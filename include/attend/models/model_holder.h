#pragma once

// For those who write models that functions of attend take.

#include <torch/torch.h>

#include <concepts>
#include <memory>

namespace attend {

/// A TORCH_MODULE holder for models. Functions take it in place of the model: `save_model("folder",
/// Seq2Seq(...))`, `beam_search(model, source)`. It converts to a reference to the model's
/// interface (`IncrementalModel&`), and to a shared pointer (`std::shared_ptr<TranslationModel>`)
/// for functions that keep the model.
template <typename Contained>
class ModelHolder : public torch::nn::ModuleHolder<Contained> {
 public:
  using torch::nn::ModuleHolder<Contained>::ModuleHolder;
  using Impl = Contained;

  // Implicit conversions are the purpose of this class.
  operator Contained&() const { return *this->ptr(); }

  template <typename Interface>
  requires std::derived_from<Contained, Interface>
  operator std::shared_ptr<Interface>() const { return this->ptr(); }
};

}  // namespace attend
