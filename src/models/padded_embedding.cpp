#include "models/padded_embedding.h"

#include "modules/initial_weights.h"

namespace attend::detail {
namespace {

// The gradient [V, E], with row `row` zeroed if that row of `table` is zero. Computed on the
// device, without a synchronisation.
torch::Tensor without_zero_row(const torch::Tensor& gradient, const torch::Tensor& table,
                               int64_t row) {
  const auto learns = table.select(0, row).ne(0).any();  // []
  if (learns.is_cpu() && learns.item<bool>()) return gradient;
  const auto own = gradient.select(0, row);
  return at::select_scatter(gradient, at::where(learns, own, at::zeros_like(own)), 0, row);
}

}  // namespace

PaddedEmbeddingImpl::PaddedEmbeddingImpl(int64_t vocab, int64_t embed_dim, int64_t pad_id,
                                         double std)
    : EmbeddingImpl(embedding_options(vocab, embed_dim)), pad_id_(pad_id) {
  options._weight(torch::Tensor());
  initialize_normal(weight, std);
  const torch::NoGradGuard no_grad;
  weight.select(0, pad_id).zero_();
  keep_zero();
}

// A hook on the parameter covers every operation that contributes to its gradient.
void PaddedEmbeddingImpl::keep_zero() {
  if (weight.is_inference()) return;  // inference tensors have no gradient
  // Weak, since a hook that owned its own tensor would be a reference cycle.
  c10::weak_intrusive_ptr<c10::TensorImpl> table(weight.getIntrusivePtr());
  weight.register_hook([table, row = pad_id_](const torch::Tensor& gradient) {
    auto alive = table.lock();
    if (!gradient.defined() || !alive) return gradient;
    return without_zero_row(gradient, torch::Tensor(std::move(alive)).detach(), row);
  });
}

// The base class copies the parameters, but not their hooks.
std::shared_ptr<torch::nn::Module> PaddedEmbeddingImpl::clone(
    const std::optional<torch::Device>& device) const {
  auto copy = std::make_shared<PaddedEmbeddingImpl>(*this);
  static_cast<EmbeddingImpl&>(*copy) =
      *std::dynamic_pointer_cast<EmbeddingImpl>(EmbeddingImpl::clone(device));
  copy->keep_zero();
  return copy;
}

torch::nn::Embedding padded_embedding(int64_t vocab, int64_t embed_dim, int64_t pad_id,
                                      double std) {
  return torch::nn::Embedding(std::static_pointer_cast<torch::nn::EmbeddingImpl>(
      std::make_shared<PaddedEmbeddingImpl>(vocab, embed_dim, pad_id, std)));
}

}  // namespace attend::detail
