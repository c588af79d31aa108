#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>

namespace attend::detail {

/// Embeddings [V, E] whose padding row is zero and stays zero: a zero row gets no gradient, neither
/// as an embedding nor as part of a tied output layer. transformers' Marian models do the same, and
/// CTranslate2 relies on it: its decoder starts from a zero embedding.
///
/// Note:   a padding row that is not zero is trained like any other, so that folders of attend 0.1,
///         which have one, can still be fine-tuned.
class PaddedEmbeddingImpl : public torch::nn::EmbeddingImpl {
 public:
  /// The other rows are normal with standard deviation `std`.
  PaddedEmbeddingImpl(int64_t vocab, int64_t embed_dim, int64_t pad_id, double std);

  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

 private:
  void keep_zero();

  int64_t pad_id_;
};

/// A PaddedEmbedding, returned as the torch::nn::Embedding that modules hold.
torch::nn::Embedding padded_embedding(int64_t vocab, int64_t embed_dim, int64_t pad_id, double std);

}  // namespace attend::detail
