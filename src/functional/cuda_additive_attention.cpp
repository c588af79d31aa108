#include "functional/cuda_additive_attention.h"

#include <limits>

namespace attend::functional {
namespace {

void check_started(const char* error) {
  TORCH_CHECK(error == nullptr,
              "additive_attention: expected its CUDA kernels to start, got: ", error);
}

float* written(const torch::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<float>() : nullptr;
}

// What the parts of the first axis have found, together.
torch::Tensor sum_of_parts(const torch::Tensor& x) {
  return x.size(0) == 1 ? x.select(0, 0) : x.sum(0);
}

}  // namespace

AdditiveKernelOutput cuda_additive_forward(const AdditiveInputs& in, bool wants_scores,
                                           const CudaKernels& kernels) {
  const c10::DeviceGuard guard(in.query.device());
  const auto shape = in.shape();
  const auto dim = in.value.size(3);
  const auto options = in.query.options();
  const auto a = described_additive<float>(in);
  const auto parts = kernels::cuda::query_grid(a).parts;
  AdditiveKernelOutput result;
  // In the memory order of [B, T, H, Dv], so that joining the heads is a view.
  result.output = at::empty({shape.batch, shape.target, shape.heads, dim}, options).transpose(1, 2);
  result.sums = at::empty({shape.batch, shape.heads, shape.target, 2}, options);
  if (wants_scores) {
    result.scores = at::full({shape.batch, shape.heads, shape.target, shape.source},
                             -std::numeric_limits<float>::infinity(), options);
  }
  torch::Tensor found;
  if (parts > 1) {
    found = at::empty({shape.batch * shape.heads * shape.target, parts, dim + 2}, options);
  }
  const auto& o = result.output;
  check_started(kernels.additive.forward(a,
                                         {{written(o), o.stride(0), o.stride(1), o.stride(2)},
                                          written(result.sums),
                                          written(result.scores),
                                          written(found)},
                                         kernels.is_approximate, kernels.stream));
  return result;
}

AdditiveKernelGradients cuda_additive_backward(
    const AdditiveInputs& in, const torch::Tensor& output, const torch::Tensor& sums,
    const torch::Tensor& of_output, const torch::Tensor& of_scores, const CudaKernels& kernels) {
  const c10::DeviceGuard guard(in.query.device());
  const auto shape = in.shape();
  const auto batch = shape.batch, heads = shape.heads, target = shape.target, source = shape.source,
             hidden = in.query.size(3);
  const auto options = in.query.options();
  const auto a = described_additive<float>(in);
  const auto queries = kernels::cuda::query_grid(a), keys = kernels::cuda::key_grid(a);
  const auto output_gradient = of_output.defined() ? additive_rows(of_output) : of_output;
  const auto score_gradient = as_additive(of_scores);
  const auto deltas = at::empty({batch, heads, target}, options);
  kernels::cuda::AdditiveUpstream<float> upstream{
      .output_gradient = {},
      .output = additive_view<float>(output),
      .sums = sums.const_data_ptr<float>(),
      .score_gradient = of_scores.defined() ? score_gradient.const_data_ptr<float>() : nullptr,
      .deltas = written(deltas)};
  if (of_output.defined()) upstream.output_gradient = additive_view<float>(output_gradient);

  const auto sums_of_head =
      queries.row_blocks * queries.parts * kernels::cuda::vector_sums(queries.shape);
  const auto query = at::empty({queries.parts, batch, heads, target, hidden}, options);
  const auto vector = at::empty({batch, heads, sums_of_head, hidden}, options);
  const auto key = at::empty({keys.parts, batch, heads, source, hidden}, options);
  const auto key_term = at::empty({keys.parts, batch, heads, source}, options);
  torch::Tensor value, bias;
  if (in.value.requires_grad()) {
    value = at::empty({keys.parts, batch, heads, source, in.value.size(3)}, options);
  }
  const bool wants_bias = in.mask.bias.defined() && in.mask.bias.requires_grad();
  if (wants_bias) bias = at::zeros({batch, heads, target, source}, options);
  check_started(kernels.additive.backward(
      a, upstream, {written(query), written(vector), written(bias)},
      {written(key), written(value), written(key_term)}, kernels.is_approximate, kernels.stream));
  return {.query = sum_of_parts(query),
          .key = sum_of_parts(key),
          .vector = vector.sum(at::IntArrayRef{0, 2}),
          .value = value.defined() ? sum_of_parts(value) : value,
          .bias = wants_bias ? at::sum_to(bias, in.mask.bias.sizes()) : bias,
          .key_term = sum_of_parts(key_term)};
}

}  // namespace attend::functional
