#include "attend/modules/graph_attention.h"

#include <cmath>

#include "attend/functional/heads.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"

namespace attend {
namespace {

constexpr auto kGraph = "GraphAttention";

torch::nn::Linear glorot_linear(int64_t from, int64_t to, bool bias) {
  torch::nn::Linear linear(torch::nn::LinearOptions(from, to).bias(bias));
  torch::nn::init::xavier_uniform_(linear->weight);
  if (bias) torch::nn::init::zeros_(linear->bias);
  return linear;
}

// [N, N] or [B, N, N] -> broadcastable to [B, H, N, N].
torch::Tensor adjacency_mask(const torch::Tensor& adjacency, const torch::Tensor& nodes,
                             bool self_loops) {
  const auto batch = nodes.size(0), count = nodes.size(1);
  detail::check_rank(kGraph, "adjacency", adjacency, 2, 3);
  const bool is_shared = adjacency.dim() == 2;
  detail::check_shape(kGraph, "adjacency", adjacency,
                      is_shared ? at::DimVector{count, count} : at::DimVector{batch, count, count});
  TORCH_CHECK(adjacency.scalar_type() == torch::kBool, kGraph,
              ": expected a bool adjacency, got dtype ", adjacency.scalar_type());
  const auto seen = self_loops
                        ? adjacency.logical_or(torch::eye(
                              count, torch::TensorOptions(torch::kBool).device(adjacency.device())))
                        : adjacency;
  return is_shared ? seen : seen.unsqueeze(1);
}

}  // namespace

GraphAttentionOptions::GraphAttentionOptions(int64_t node_dim, int64_t head_dim, int64_t num_heads)
    : node_dim_(node_dim), head_dim_(head_dim), num_heads_(num_heads) {}

GraphAttentionImpl::GraphAttentionImpl(const GraphAttentionOptions& options_) : options(options_) {
  GraphAttentionImpl::reset();
}

void GraphAttentionImpl::reset() {
  detail::check_positive(kGraph, "node_dim", options.node_dim());
  detail::check_positive(kGraph, "head_dim", options.head_dim());
  detail::check_positive(kGraph, "num_heads", options.num_heads());
  detail::check_probability(kGraph, "dropout", options.dropout());
  const auto heads = options.num_heads(), dim = options.head_dim();
  const auto projection = [&] {
    return glorot_linear(options.node_dim(), heads * dim, options.bias());
  };
  lin_l = register_module("lin_l", projection());
  lin_r = nullptr;
  if (!options.share_weights()) lin_r = register_module("lin_r", projection());
  att = register_parameter("att", torch::empty({1, heads, dim}));
  const double bound = std::sqrt(6.0 / static_cast<double>(heads + dim));
  torch::nn::init::uniform_(att, -bound, bound);
  bias = torch::Tensor();
  if (options.bias()) {
    bias = register_parameter("bias", torch::zeros({options.concat() ? heads * dim : dim}));
  }
}

void GraphAttentionImpl::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, kGraph)
      .value("node_dim", options.node_dim())
      .value("head_dim", options.head_dim())
      .value("num_heads", options.num_heads())
      .changed("concat", options.concat(), true)
      .changed("self_loops", options.self_loops(), true)
      .variant("share_weights", options.share_weights())
      .changed("bias", options.bias(), true)
      .changed("negative_slope", options.negative_slope(), 0.2)
      .changed("dropout", options.dropout(), 0.0)
      .end();
}

AttentionOutput GraphAttentionImpl::forward(const torch::Tensor& nodes,
                                            const torch::Tensor& adjacency,
                                            const torch::Tensor& edge_bias,
                                            const WeightsRequest& weights) {
  detail::check_rank(kGraph, "nodes", nodes, 2, 3);
  const bool unbatched = nodes.dim() == 2;
  const auto x = unbatched ? nodes.unsqueeze(0) : nodes;
  const auto heads_of = [&](const torch::nn::Linear& linear) {
    return functional::split_heads(functional::linear(x, linear, "GraphAttention nodes"),
                                   options.num_heads());  // [B, H, N, C]
  };
  const auto seen = heads_of(lin_l);
  const auto seeing = options.share_weights() ? seen : heads_of(lin_r);
  AttentionMask mask;
  if (adjacency.defined()) mask = adjacency_mask(adjacency, x, options.self_loops());
  if (edge_bias.defined()) {
    const bool lacks_batch = unbatched && edge_bias.dim() == 3;
    mask = mask & AttentionMask(lacks_batch ? edge_bias.unsqueeze(0) : edge_bias);
  }
  auto [output, found] =
      functional::additive_attention(seeing, seen, att[0], seen, mask, weights,
                                     {.dropout_p = is_training() ? options.dropout() : 0.0,
                                      .score_function = ScoreFunction::kLeakyRelu,
                                      .negative_slope = options.negative_slope()});
  output = options.concat() ? functional::merge_heads(output) : output.mean(1);
  if (bias.defined()) output = output + bias;
  if (!unbatched) return {output, found};
  return {output.squeeze(0), found.defined() ? found.squeeze(0) : found};
}

}  // namespace attend
