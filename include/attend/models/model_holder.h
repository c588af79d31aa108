#pragma once

// For those who write models that functions of attend take.

#include <torch/torch.h>

#include <concepts>
#include <memory>

namespace attend {

/// A shared handle of a model, as TORCH_MODULE makes it, that functions take in the place of the
/// model: `save_model("folder", Seq2Seq(...))`, `beam_search(model, source)`. Where they take an
/// interface of the model (`IncrementalModel&`) it is that too, and where they keep the model
/// (`std::shared_ptr<TranslationModel>`) they share it.
template <typename Contained>
class ModelHolder : public torch::nn::ModuleHolder<Contained> {
 public:
  using torch::nn::ModuleHolder<Contained>::ModuleHolder;
  using Impl = Contained;

  // Implicit, which is what this class is for.
  operator Contained&() const { return *this->ptr(); }

  template <typename Interface>
  requires std::derived_from<Contained, Interface>
  operator std::shared_ptr<Interface>() const { return this->ptr(); }
};

}  // namespace attend
