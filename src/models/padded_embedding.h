#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>

namespace attend::detail {

/// Embeddings [V, E] in which the padding token's row is zero and stays zero: a row of zeros gets
/// no gradient, neither as an embedding nor as a part of a tied output layer. transformers' Marian
/// models have that rule too, and CTranslate2 relies on it: its decoder starts from a zero
/// embedding.
///
/// Note: a row that is not zero learns like any other. Folders of attend 0.1 have one and can still
///       be trained on.
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

/// A padded embedding as the torch::nn::Embedding that it is to its users.
torch::nn::Embedding padded_embedding(int64_t vocab, int64_t embed_dim, int64_t pad_id, double std);

}  // namespace attend::detail
