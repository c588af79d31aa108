#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include <memory>
#include <optional>

#include "attend/export.h"
#include "attend/functional/position.h"

namespace attend {

/// The kinds of `PositionalEncoding`.
enum class PositionKind {
  kSinusoidal,        // interleaved, as in the paper
  kSinusoidalHalves,  // Marian's layout: all sines, then all cosines
  kLearned,           // one learned vector per position, as in BERT and BART
  kNone,              // nothing is added: the attention has positions (rotary, ALiBi or a bias)
};

/// Options for `PositionalEncoding`.
struct ATTEND_API PositionalEncodingOptions {
  PositionalEncodingOptions(int64_t embed_dim, int64_t max_length);

  TORCH_ARG(int64_t, embed_dim);   // E
  TORCH_ARG(int64_t, max_length);  // the longest sequence
  TORCH_ARG(PositionKind, kind) = PositionKind::kSinusoidal;
  TORCH_ARG(double, dropout) = 0.0;  // on the sum, in training; [0, 1)
};

/// Adds a vector to each position, so that attention can tell positions apart.
///
///   y_t = x_t + table[offset + t]
///
/// With kNone it adds nothing and only checks max_length.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.5.
/// Shapes: x [B, T, E] or [T, E] -> the same; offset is the position of x's first row.
/// Throws: c10::ValueError for options and if offset + T > max_length, c10::Error for shapes.
/// Note:   a sinusoidal table is neither a parameter nor a buffer, and is not saved; `to` moves it
///         with the module. A learned table is the parameter `weight`.
class ATTEND_API PositionalEncodingImpl : public torch::nn::Cloneable<PositionalEncodingImpl> {
 public:
  PositionalEncodingImpl(int64_t embed_dim, int64_t max_length)
      : PositionalEncodingImpl(PositionalEncodingOptions(embed_dim, max_length)) {}
  explicit PositionalEncodingImpl(const PositionalEncodingOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Device device, bool non_blocking = false) override;

  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

  torch::Tensor forward(const torch::Tensor& x, int64_t offset = 0);

  /// The same with a position for each element: x [B, T, E], positions [B, T], int64. The positions
  /// are not checked against max_length.
  torch::Tensor at_positions(const torch::Tensor& x, const torch::Tensor& positions);

  PositionalEncodingOptions options;
  torch::Tensor weight;  // [max_length, E]; undefined with kNone

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(int64_t{0})})

 private:
  bool is_derived() const;
  torch::Tensor derived_table(const torch::TensorOptions& like) const;
};
TORCH_MODULE(PositionalEncoding);

}  // namespace attend
