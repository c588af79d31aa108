#pragma once

#include "kernels/cuda/additive_attention-inl.h"
#include "kernels/cuda_block.h"

// The kernels of kernels/cuda/additive_attention.cu with fibres for a GPU's threads.
namespace attend::kernels_test {

// body.operator()<Shape, Score>().
template <typename T, class Body>
void with_kernel(kernels::cuda::AdditiveShape shape, const kernels::AdditiveAttention<T>& a,
                 bool is_approximate, const Body& body) {
  kernels::cuda::with_shape(shape, [&]<class Shape>() {
    kernels::cuda::with_score_function<T>(a.score, a.slope, is_approximate, [&]<class Score>() {
      body.template operator()<Shape, Score>();
    });
  });
}

template <typename T>
void run_forward(Fibres& fibres, const kernels::AdditiveAttention<T>& a,
                 const kernels::AdditiveResult<T>& result, bool is_approximate) {
  const auto grid = kernels::cuda::query_grid(a);
  with_kernel(grid.shape, a, is_approximate, [&]<class Shape, class Score>() {
    using Memory = kernels::cuda::ForwardMemory<Shape, T>;
    launch<Memory>(fibres, grid.blocks(), [&](const HostBlock& block, Memory& memory) {
      kernels::cuda::forward_block<Shape, Score>(block, memory, grid, a, result);
    });
  });
  if (grid.parts == 1) return;
  launch<char>(fibres, a.batch * a.heads * a.target, [&](const HostBlock& block, char& /*none*/) {
    kernels::cuda::join_block(block, grid, a, result);
  });
}

template <typename T>
void run_backward(Fibres& fibres, const kernels::AdditiveAttention<T>& a,
                  const kernels::cuda::AdditiveUpstream<T>& upstream,
                  const kernels::cuda::AdditiveQueryGradients<T>& of_queries,
                  const kernels::cuda::AdditiveKeyGradients<T>& of_keys, bool is_approximate) {
  const auto queries = kernels::cuda::query_grid(a), keys = kernels::cuda::key_grid(a);
  if (upstream.output_gradient.data != nullptr) {
    const auto of_block = kernels::cuda::delta_rows();
    launch<char>(fibres, (a.batch * a.heads * a.target + of_block - 1) / of_block,
                 [&](const HostBlock& block, char& /*none*/) {
                   kernels::cuda::delta_block(block, a, upstream);
                 });
  }
  with_kernel(queries.shape, a, is_approximate, [&]<class Shape, class Score>() {
    using Memory = kernels::cuda::BackwardMemory<Shape, T>;
    launch<Memory>(fibres, queries.blocks(), [&](const HostBlock& block, Memory& memory) {
      kernels::cuda::query_gradient_block<Shape, Score>(block, memory, queries, a, upstream,
                                                        of_queries);
    });
  });
  with_kernel(keys.shape, a, is_approximate, [&]<class Shape, class Score>() {
    using Memory = kernels::cuda::BackwardMemory<Shape, T>;
    launch<Memory>(fibres, keys.blocks(), [&](const HostBlock& block, Memory& memory) {
      kernels::cuda::key_gradient_block<Shape, Score>(block, memory, keys, a, upstream, of_keys);
    });
  });
}

}  // namespace attend::kernels_test
