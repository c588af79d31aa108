#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include "attend/export.h"
#include "attend/functional/attention.h"

namespace attend {

/// Options for `GraphAttention`.
struct ATTEND_API GraphAttentionOptions {
  /// node_dim: the size of a node's input; head_dim: what each head makes of it.
  GraphAttentionOptions(int64_t node_dim, int64_t head_dim, int64_t num_heads = 1);

  TORCH_ARG(int64_t, node_dim);
  TORCH_ARG(int64_t, head_dim);             // C
  TORCH_ARG(int64_t, num_heads);            // H
  TORCH_ARG(bool, concat) = true;           // heads side by side; false: their mean
  TORCH_ARG(bool, self_loops) = true;       // every node sees itself, whatever adjacency says
  TORCH_ARG(bool, share_weights) = false;   // one projection of both ends of an edge
  TORCH_ARG(bool, bias) = true;             // of the projections, and on the output
  TORCH_ARG(double, negative_slope) = 0.2;  // of the leaky ReLU
  TORCH_ARG(double, dropout) = 0.0;         // on the weights, in training; [0, 1)
};

/// Graph attention on a dense graph, GATv2.
///
///   score(i, j) = att^T LeakyReLU(lin_r x_i + lin_l x_j) + edge_bias(i, j)
///   output_i = sum over the neighbours j of i: softmax_j(score(i, j)) lin_l x_j, then + bias
///
/// Source: Brody et al., 2022, arXiv:2105.14491, equation 7.
/// Shapes: nodes [B, N, node_dim] -> output [B, N, H C], or [B, N, C] without concat;
///         adjacency [N, N] or [B, N, N], bool, true where the node of the row sees that of the
///         column; undefined: all see all.
///         edge_bias broadcasts to [B, H, N, N], or is [N, N]; undefined: none. It may be learned.
///         weights [B, H, N, N] or their mean [B, N, N]. Or all without B, edge_bias [H, N, N].
/// Returns: a node that sees none gets the bias alone.
/// Throws: c10::ValueError for options, c10::Error for shapes.
/// Note:   the parameters have the names of PyTorch Geometric's GATv2Conv and start as there; its
///         self loops, too, are those that are missing. Its edge_attr is added inside the leaky ReLU,
///         where this module adds a bias to the score.
/// Note:   on the CPU memory is linear in N, beside the adjacency: functional::additive_attention.
class ATTEND_API GraphAttentionImpl : public torch::nn::Cloneable<GraphAttentionImpl> {
 public:
  GraphAttentionImpl(int64_t node_dim, int64_t head_dim, int64_t num_heads = 1)
      : GraphAttentionImpl(GraphAttentionOptions(node_dim, head_dim, num_heads)) {}
  explicit GraphAttentionImpl(const GraphAttentionOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  AttentionOutput forward(const torch::Tensor& nodes, const torch::Tensor& adjacency = {},
                          const torch::Tensor& edge_bias = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  GraphAttentionOptions options;
  torch::nn::Linear lin_l{nullptr};  // of the nodes that are seen
  torch::nn::Linear lin_r{nullptr};  // of those that see; null with share_weights
  torch::Tensor att;                 // [1, H, C]
  torch::Tensor bias;                // [H C] or [C]; undefined without

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(torch::Tensor())},
                           {2, torch::nn::AnyValue(torch::Tensor())},
                           {3, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(GraphAttention);

}  // namespace attend
