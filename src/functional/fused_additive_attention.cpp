#include "functional/fused_additive_attention.h"

#include <limits>
#include <utility>

#include "detail/parallel.h"
#include "functional/additive_kernel.h"
#include "functional/cuda_additive_attention.h"
#include "functional/cuda_kernels.h"
#include "functional/derivatives.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// So many values of f are worth a thread of their own.
constexpr int64_t kValuesOfThread = 32768;

// The inputs as memory that the kernel reads.
AdditiveInputs with_rows(const AdditiveInputs& in) {
  auto result = in;
  result.query = additive_rows(in.query);
  result.key = additive_rows(in.key);
  result.value = additive_rows(in.value);
  result.vector = as_additive(in.vector);
  result.parameters.key_term = as_additive(in.parameters.key_term);
  if (in.mask.bias.defined()) result.mask.bias = in.mask.bias.resolve_neg();
  return result;
}

AdditiveKernelOutput cpu_forward(const AdditiveInputs& in, bool wants_scores) {
  // No structured binding: Clang before 16 lets no lambda see one.
  const auto batch = in.shape().batch, heads = in.shape().heads, target = in.shape().target,
             source = in.shape().source;
  const auto dim = in.value.size(3);
  const auto options = in.query.options();
  AdditiveKernelOutput result;
  // In the memory order of [B, T, H, Dv], so that joining the heads is a view.
  result.output = at::empty({batch, target, heads, dim}, options).transpose(1, 2);
  result.sums = at::empty({batch, heads, target, 2}, options);
  if (wants_scores) result.scores = at::empty({batch, heads, target, source}, options);
  AT_DISPATCH_FLOATING_TYPES(in.query.scalar_type(), "additive_attention", [&] {
    const auto a = described_additive<scalar_t>(in);
    const auto parts = kernels::additive_parts(a);
    const auto found =
        parts > 1 ? at::empty({batch * heads * target, parts, dim + 2}, options) : torch::Tensor();
    const auto& o = result.output;
    const kernels::AdditiveResult<scalar_t> to{
        {o.mutable_data_ptr<scalar_t>(), o.stride(0), o.stride(1), o.stride(2)},
        result.sums.mutable_data_ptr<scalar_t>(),
        wants_scores ? result.scores.mutable_data_ptr<scalar_t>() : nullptr,
        parts > 1 ? found.mutable_data_ptr<scalar_t>() : nullptr};
    const auto rows = std::min(target, kernels::kAdditiveRows);
    const auto values_of_task = rows * (source / parts) * a.hidden_dim;
    detail::parallel_for(
        batch * heads * a.row_blocks() * parts, 1 + kValuesOfThread / (1 + values_of_task),
        [&](int64_t first, int64_t last) { kernels::additive_forward(a, to, first, last); });
    if (parts == 1) return;
    detail::parallel_for(
        batch * heads * target, 1 + kValuesOfThread / (1 + parts * dim),
        [&](int64_t first, int64_t last) { kernels::additive_join(a, to, first, last); });
  });
  return result;
}

AdditiveKernelGradients cpu_backward(const AdditiveInputs& in, const torch::Tensor& output,
                                     const torch::Tensor& sums, const torch::Tensor& of_output,
                                     const torch::Tensor& of_scores) {
  // No structured binding: Clang before 16 lets no lambda see one.
  const auto batch = in.shape().batch, heads = in.shape().heads, target = in.shape().target,
             source = in.shape().source;
  const auto options = in.query.options();
  const auto hidden = in.query.size(3);
  const auto output_gradient = of_output.defined() ? additive_rows(of_output) : of_output;
  const auto score_gradient = as_additive(of_scores);
  AdditiveKernelGradients result{.query = at::zeros({batch, heads, target, hidden}, options),
                                 .key = at::zeros({batch, heads, source, hidden}, options),
                                 .vector = {},
                                 .value = {},
                                 .bias = {},
                                 .key_term = at::zeros({batch, heads, source}, options)};
  if (in.value.requires_grad()) {
    result.value = at::zeros({batch, heads, source, in.value.size(3)}, options);
  }
  const auto& bias = in.mask.bias;
  if (bias.defined() && bias.requires_grad()) {
    at::DimVector sizes(bias.sizes());
    if (sizes[3] == 1) sizes[2] = target;  // two tasks may add to one place otherwise
    result.bias = at::zeros(sizes, options);
  }
  const auto row_sums = at::zeros({batch, heads, target}, options);
  AT_DISPATCH_FLOATING_TYPES(in.query.scalar_type(), "additive_attention_backward", [&] {
    const auto a = described_additive<scalar_t>(in);
    const auto parts = kernels::additive_backward_parts(a);
    result.vector = at::zeros({batch, heads, parts, hidden}, options);
    const auto of = [](const torch::Tensor& x) {
      return x.defined() ? x.mutable_data_ptr<scalar_t>() : nullptr;
    };
    kernels::AdditiveGradients<scalar_t> g{.output_gradient = {},
                                           .output = additive_view<scalar_t>(output),
                                           .sums = sums.const_data_ptr<scalar_t>(),
                                           .score_gradient = of(score_gradient),
                                           .query = of(result.query),
                                           .key = of(result.key),
                                           .value = of(result.value),
                                           .vector = of(result.vector),
                                           .row_sums = of(row_sums),
                                           .key_sums = of(result.key_term),
                                           .bias = {}};
    if (output_gradient.defined()) g.output_gradient = additive_view<scalar_t>(output_gradient);
    if (const auto& b = result.bias; b.defined()) {
      g.bias = {of(b), broadcast_stride(b, 0), broadcast_stride(b, 1), broadcast_stride(b, 2),
                broadcast_stride(b, 3)};
    }
    const auto tasks = kernels::additive_backward_tasks(a, g);
    const auto values_of_task = (target / parts) * (source / parts) * hidden;
    for (int64_t phase = 0; phase < parts; ++phase) {
      detail::parallel_for(tasks, 1 + kValuesOfThread / (1 + values_of_task),
                           [&](int64_t first, int64_t last) {
                             kernels::additive_backward(a, g, phase, first, last);
                           });
    }
    detail::parallel_for(
        batch * heads, 1 + kValuesOfThread / (1 + (target + source) * hidden),
        [&](int64_t first, int64_t last) { kernels::additive_backward_finish(a, g, first, last); });
  });
  result.vector = result.vector.select(2, 0).sum(0);  // [H, A]
  if (result.bias.defined()) result.bias = at::sum_to(result.bias, bias.sizes());
  return result;
}

AdditiveKernelOutput run_forward(const AdditiveInputs& in, bool wants_scores) {
  if (in.query.is_cpu()) return cpu_forward(in, wants_scores);
  return cuda_additive_forward(in, wants_scores, cuda_kernels(in.query.device()));
}

AdditiveKernelGradients run_backward(const AdditiveInputs& in, const torch::Tensor& output,
                                     const torch::Tensor& sums, const torch::Tensor& of_output,
                                     const torch::Tensor& of_scores) {
  if (in.query.is_cpu()) return cpu_backward(in, output, sums, of_output, of_scores);
  return cuda_additive_backward(in, output, sums, of_output, of_scores,
                                cuda_kernels(in.query.device()));
}

class FusedAdditiveAttention : public torch::autograd::Function<FusedAdditiveAttention> {
 public:
  // `rest`: what is not differentiated.
  static variable_list forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& vector,
                               const torch::Tensor& value, const std::optional<torch::Tensor>& bias,
                               const std::optional<torch::Tensor>& key_term,
                               const AdditiveInputs& rest, bool wants_scores) {
    const auto in =
        with_rows(with_tensors(rest, {query, key, vector, value, bias.value_or(torch::Tensor()),
                                      key_term.value_or(torch::Tensor())}));
    auto [output, sums, scores] = run_forward(in, wants_scores);
    // Weights that nobody uses have no gradient; zeros for them would be as large.
    context->set_materialize_grads(false);
    context->save_for_backward({in.query, in.key, in.vector, in.value, in.mask.bias,
                                in.parameters.key_term, in.mask.allowed, output, sums});
    const auto& p = in.parameters;
    auto& data = context->saved_data;
    data["band_left"] = in.mask.band.left;
    data["band_right"] = in.mask.band.right;
    data["dropout_p"] = p.dropout_p;
    data["seed"] = static_cast<int64_t>(in.seed.value_or(0));
    data["scale"] = p.scale.value_or(1.0);
    data["score_function"] = static_cast<int64_t>(p.score_function);
    data["negative_slope"] = p.negative_slope;
    data["score_clip"] = p.score_clip;
    if (wants_scores) return {output, scores};
    return {output};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    AdditiveInputs rest;
    rest.mask.band = {data["band_left"].toInt(), data["band_right"].toInt()};
    rest.mask.allowed = saved[kInputs];
    rest.seed = static_cast<uint64_t>(data["seed"].toInt());
    rest.parameters = {.dropout_p = data["dropout_p"].toDouble(),
                       .scale = data["scale"].toDouble(),
                       .score_function = static_cast<ScoreFunction>(data["score_function"].toInt()),
                       .negative_slope = data["negative_slope"].toDouble(),
                       .score_clip = data["score_clip"].toDouble(),
                       .key_term = {}};
    const variable_list inputs(saved.begin(), saved.begin() + kInputs);
    variable_list result;
    if (is_differentiated_again(gradients)) {
      result = gradients_of_formula(
          inputs,
          [&](const variable_list& x) -> variable_list {
            auto formula = additive_formula(with_tensors(rest, x));
            if (gradients.size() == 1) return {formula.output};
            return {formula.output, formula.scores};
          },
          gradients);
    } else {
      const auto of_scores = gradients.size() > 1 ? gradients[1] : torch::Tensor();
      auto g = run_backward(with_tensors(rest, inputs), saved[kInputs + 1], saved[kInputs + 2],
                            gradients[0], of_scores);
      if (!inputs[5].defined()) g.key_term = torch::Tensor();
      result = {g.query, g.key, g.vector, g.value, g.bias, g.key_term};
    }
    result.resize(kInputs + 2);  // none for `rest` and `wants_scores`
    return result;
  }

 private:
  static constexpr int kInputs = 6;

  static AdditiveInputs with_tensors(const AdditiveInputs& rest, const variable_list& x) {
    auto result = rest;
    result.query = x[0];
    result.key = x[1];
    result.vector = x[2];
    result.value = x[3];
    result.mask.bias = x[4];
    result.parameters.key_term = x[5];
    return result;
  }
};

bool is_recorded_input(const torch::Tensor& x) { return x.defined() && x.requires_grad(); }

}  // namespace

bool has_additive_kernel(const AdditiveInputs& in) {
  const auto type = in.query.scalar_type();
  if (in.query.is_cuda()) {
    if (type != torch::kFloat || !has_cuda_kernels()) return false;
    // The numbers of a captured step would be the same each time that it is replayed.
    if (in.parameters.dropout_p > 0.0 && is_captured(in.query.device())) return false;
  } else if (!in.query.is_cpu() || (type != torch::kFloat && type != torch::kDouble)) {
    return false;
  }
  for (const auto& x :
       {in.query, in.key, in.vector, in.value, in.mask.bias, in.parameters.key_term}) {
    if (!x.defined()) continue;
    if (x.layout() != torch::kStrided || x.scalar_type() != type || x.numel() == 0 ||
        carries_tangent(x)) {
      return false;
    }
  }
  return true;
}

AdditiveOutput fused_additive_attention(const AdditiveInputs& in, bool wants_scores) {
  const auto &bias = in.mask.bias, &key_term = in.parameters.key_term;
  const bool records =
      torch::GradMode::is_enabled() &&
      (in.query.requires_grad() || in.key.requires_grad() || in.vector.requires_grad() ||
       in.value.requires_grad() || is_recorded_input(bias) || is_recorded_input(key_term));
  if (!records) {
    auto result = run_forward(with_rows(in), wants_scores);
    return {result.output, result.scores};
  }
  auto rest = in;
  rest.query = rest.key = rest.vector = rest.value = rest.mask.bias = rest.parameters.key_term =
      torch::Tensor();
  auto results =
      FusedAdditiveAttention::apply(in.query, in.key, in.vector, in.value, if_defined(bias),
                                    if_defined(key_term), rest, wants_scores);
  return {results[0], wants_scores ? results[1] : torch::Tensor()};
}

}  // namespace attend::functional
