#include "attend/modules/graph_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::graph_attention_test {
namespace {

using testing_support::parameters_of;

constexpr int64_t kB = 2, kN = 6, kNodeDim = 5, kC = 4, kH = 3;

GraphAttention randomised(const GraphAttentionOptions& options) {
  GraphAttention attention(options);
  testing_support::randomise(*attention);
  attention->to(torch::kDouble);
  return attention;
}

GraphAttentionOptions sizes() { return {kNodeDim, kC, kH}; }

torch::Tensor doubles(at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); }

torch::Tensor some_edges() { return torch::rand({kB, kN, kN}) < 0.4; }

// PyTorch Geometric's GATv2Conv on one graph, edge by edge: an edge of its edge_index leads from the
// node that is seen to the one that sees it. It removes self loops and adds all of them, if it is
// asked to.
torch::Tensor by_edges(GraphAttentionImpl& module, const torch::Tensor& nodes,
                       const torch::Tensor& adjacency, const torch::Tensor& edge_bias) {
  const auto& o = module.options;
  const auto weights = oracle::weights_of(module);
  const auto left = oracle::linear(nodes, weights, "lin_l").view({-1, o.num_heads(), o.head_dim()});
  const auto right =
      o.share_weights()
          ? left
          : oracle::linear(nodes, weights, "lin_r").view({-1, o.num_heads(), o.head_dim()});
  const auto count = nodes.size(0);
  auto output = torch::zeros_like(left);
  for (int64_t h = 0; h < o.num_heads(); ++h) {
    for (int64_t i = 0; i < count; ++i) {
      std::vector<std::pair<int64_t, double>> edges;
      double total = 0.0;
      for (int64_t j = 0; j < count; ++j) {
        const bool is_edge = i == j && o.self_loops() ? true : adjacency[i][j].item<bool>();
        if (!is_edge) continue;
        double score = edge_bias.defined() ? edge_bias[h][i][j].item<double>() : 0.0;
        for (int64_t c = 0; c < o.head_dim(); ++c) {
          const double x = (left[j][h][c] + right[i][h][c]).item<double>();
          score +=
              weights.at("att")[0][h][c].item<double>() * (x > 0.0 ? x : o.negative_slope() * x);
        }
        edges.emplace_back(j, std::exp(score));
        total += edges.back().second;
      }
      for (const auto& [j, weight] : edges) output[i][h] += weight / total * left[j][h];
    }
  }
  output = o.concat() ? output.flatten(1) : output.mean(1);
  return o.bias() ? output + weights.at("bias") : output;
}

TEST(GraphAttention, IsTheFormulaOfPyTorchGeometricEdgeByEdge) {
  torch::manual_seed(3);
  for (const auto& options :
       {sizes(), sizes().concat(false), sizes().share_weights(true), sizes().self_loops(false),
        sizes().bias(false).negative_slope(0.05), GraphAttentionOptions(kNodeDim, kC)}) {
    auto attention = randomised(options);
    const auto heads = options.num_heads();
    const auto nodes = doubles({kB, kN, kNodeDim}), bias = doubles({kB, heads, kN, kN});
    auto adjacency = some_edges();
    adjacency[1][2].fill_(false);  // sees at most itself
    for (const bool with_bias : {false, true}) {
      const auto output = attention(nodes, adjacency, with_bias ? bias : torch::Tensor()).output;
      for (int64_t b = 0; b < kB; ++b) {
        EXPECT_TENSOR_NEAR(
            output[b],
            by_edges(*attention, nodes[b], adjacency[b], with_bias ? bias[b] : torch::Tensor()),
            1e-12);
      }
    }
  }
}

TEST(GraphAttention, WithoutAdjacencyAllSeeAll) {
  auto attention = randomised(sizes());
  const auto nodes = doubles({kB, kN, kNodeDim});
  EXPECT_TENSOR_NEAR(attention(nodes).output,
                     attention(nodes, torch::ones({kN, kN}, torch::kBool)).output, 1e-13);
}

TEST(GraphAttention, ANodeThatSeesNoneGetsTheBias) {
  auto attention = randomised(sizes().self_loops(false));
  auto adjacency = torch::ones({kN, kN}, torch::kBool);
  adjacency[4].fill_(false);
  const auto output = attention(doubles({kB, kN, kNodeDim}), adjacency).output;
  EXPECT_TENSOR_EQUAL(output.select(1, 4).contiguous(), attention->bias.expand({kB, kH * kC}));
}

TEST(GraphAttention, PermutingTheNodesPermutesTheOutput) {
  auto attention = randomised(sizes());
  const auto nodes = doubles({kN, kNodeDim});
  const auto adjacency = some_edges()[0];
  const auto order = torch::randperm(kN, torch::kLong);
  EXPECT_TENSOR_NEAR(attention(nodes.index_select(0, order),
                               adjacency.index_select(0, order).index_select(1, order))
                         .output,
                     attention(nodes, adjacency).output.index_select(0, order), 1e-12);
}

TEST(GraphAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised(sizes());
  const auto nodes = doubles({1, kN, kNodeDim}), bias = doubles({1, kH, kN, kN});
  const auto adjacency = some_edges().narrow(0, 0, 1);
  const auto full = attention(nodes, adjacency, bias, WeightsRequest(WeightsRequest::kPerHead));
  const auto one =
      attention(nodes[0], adjacency[0], bias[0], WeightsRequest(WeightsRequest::kPerHead));
  EXPECT_TENSOR_EQUAL(one.output, full.output[0]);
  EXPECT_TENSOR_EQUAL(one.weights, full.weights[0]);
  EXPECT_TENSOR_NEAR(full.weights.sum(-1), torch::ones({1, kH, kN}), 1e-12);
}

TEST(GraphAttention, GradientsMatchDifferences) {
  auto attention = randomised(sizes());
  const auto nodes = doubles({kB, kN, kNodeDim}).requires_grad_();
  const auto edge_bias = doubles({kN, kN}).requires_grad_();
  const auto adjacency = some_edges();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"nodes", nodes});
  leaves.push_back({"edge_bias", edge_bias});
  testing_support::expect_gradients_match_differences(
      [&] { return attention(nodes, adjacency, edge_bias).output; }, leaves);
}

TEST(GraphAttention, ACloneIsEqualAndSeparate) {
  for (const bool shared : {false, true}) {
    auto attention = randomised(sizes().share_weights(shared));
    const auto clone = std::dynamic_pointer_cast<GraphAttentionImpl>(attention->clone());
    testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
  }
}

TEST(GraphAttention, SavingAndLoadingKeepsEveryWeight) {
  GraphAttention loaded(sizes()), saved(sizes());
  testing_support::randomise(*saved);
  testing_support::expect_save_load_round_trip(saved, loaded);
}

TEST(GraphAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(GraphAttention(0, 4), c10::ValueError,
                       "GraphAttention: expected node_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(GraphAttention(sizes().dropout(1.0)), c10::ValueError,
                       "GraphAttention: expected 0 <= dropout < 1, got 1");
  GraphAttention attention(sizes());
  const auto nodes = torch::randn({kB, kN, kNodeDim});
  EXPECT_THROW_MESSAGE(attention(nodes, torch::ones({kN, 2}, torch::kBool)), c10::Error,
                       "GraphAttention: expected adjacency of shape [6, 6], got [6, 2]");
  EXPECT_THROW_MESSAGE(attention(nodes, torch::ones({kN, kN})), c10::Error,
                       "GraphAttention: expected a bool adjacency, got dtype Float");
}

}  // namespace
}  // namespace attend::graph_attention_test
