// Attention of short sequences on the CPU. A head's [T, S] scores are held as a whole: nothing is
// packed, and no general matrix product is called for each of B * H small ones.
#include "functional/short_attention.h"

#include "detail/parallel.h"
#include "functional/attention_backend.h"
#include "functional/attention_formula.h"
#include "functional/derivatives.h"
#include "kernels/cpu/attention.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Above these lengths LibTorch's blockwise kernel is as fast, and its memory is linear in S
// (benchmarks/attention_benchmark.cpp).
constexpr int64_t kLongestTarget = 128, kLongestSource = 128;
constexpr int64_t kWidestHead = 256;

// So many multiply-adds are worth a thread of their own.
constexpr int64_t kWorkOfThread = 32768;

// As memory that holds the numbers themselves, also where they are to be negated when they are
// read.
torch::Tensor with_contiguous_rows(const torch::Tensor& x) {
  return x.stride(3) == 1 || x.size(3) == 1 ? x.resolve_neg() : x.resolve_neg().contiguous();
}

template <typename T>
kernels::HeadRows<const T> rows(const torch::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

template <typename T>
kernels::HeadRows<T> mutable_rows(const torch::Tensor& x) {
  return {x.mutable_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

// An empty [B, H, L, D] in the memory order of [B, L, H, D], so that joining the heads is a view.
torch::Tensor empty_heads(const torch::Tensor& like, int64_t batch, int64_t heads, int64_t length,
                          int64_t dim) {
  return at::empty({batch, length, heads, dim}, like.options()).transpose(1, 2);
}

template <typename T>
kernels::MaskView<T> mask_view(const torch::Tensor& mask) {
  return {mask.const_data_ptr<T>(), mask.size(0) == 1 ? 0 : mask.stride(0),
          mask.size(1) == 1 ? 0 : mask.stride(1), mask.size(2) == 1 ? 0 : mask.stride(2),
          mask.size(3) == 1 ? 0 : mask.stride(3)};
}

template <typename T>
kernels::Attention<T> described(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const LoweredMask& mask, double scale) {
  kernels::Attention<T> attention{.heads = query.size(1),
                                  .target = query.size(2),
                                  .source = key.size(2),
                                  .head_dim = query.size(3),
                                  .value_dim = value.size(3),
                                  .group = query.size(1) / key.size(1),
                                  .query = rows<T>(query),
                                  .key = rows<T>(key),
                                  .value = rows<T>(value),
                                  .bias = {},
                                  .allowed = {},
                                  .band_left = mask.band.left,
                                  .band_right = mask.band.right,
                                  .scale = static_cast<T>(scale)};
  if (mask.allowed.defined()) attention.allowed = mask_view<bool>(mask.allowed);
  if (mask.bias.defined()) attention.bias = mask_view<T>(mask.bias);
  return attention;
}

template <typename T>
int64_t heads_of_thread(const kernels::Attention<T>& a) {
  return 1 + kWorkOfThread / (1 + a.target * a.source * (a.head_dim + a.value_dim));
}

// `weights` may be undefined.
void compute_forward(const torch::Tensor& query, const torch::Tensor& key,
                     const torch::Tensor& value, const LoweredMask& mask, double scale,
                     const torch::Tensor& output, const torch::Tensor& weights) {
  AT_DISPATCH_FLOATING_TYPES(query.scalar_type(), "short_attention", [&] {
    const auto attention = described<scalar_t>(query, key, value, mask, scale);
    const auto out = mutable_rows<scalar_t>(output);
    auto* w = weights.defined() ? weights.mutable_data_ptr<scalar_t>() : nullptr;
    detail::parallel_for(query.size(0) * query.size(1), heads_of_thread(attention),
                         [&](int64_t first, int64_t last) {
                           kernels::attention_forward(attention, out, w, first, last);
                         });
  });
}

torch::Tensor empty_weights(const torch::Tensor& query, const torch::Tensor& key) {
  return at::empty({query.size(0), query.size(1), query.size(2), key.size(2)}, query.options());
}

torch::Tensor empty_output(const torch::Tensor& query, const torch::Tensor& value) {
  return empty_heads(query, query.size(0), query.size(1), query.size(2), value.size(3));
}

class ShortAttention : public torch::autograd::Function<ShortAttention> {
 public:
  static variable_list forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const LoweredMask& mask, double scale) {
    const auto q = with_contiguous_rows(query), k = with_contiguous_rows(key),
               v = with_contiguous_rows(value);
    auto output = empty_output(q, v), weights = empty_weights(q, k);
    compute_forward(q, k, v, mask, scale, output, weights);
    context->save_for_backward({q, k, v, weights, mask.allowed, mask.bias});
    context->saved_data["band_left"] = mask.band.left;
    context->saved_data["band_right"] = mask.band.right;
    context->saved_data["scale"] = scale;
    context->set_materialize_grads(false);
    return {output, weights};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &weights = saved[3];
    const LoweredMask mask{.band = {context->saved_data["band_left"].toInt(),
                                    context->saved_data["band_right"].toInt()},
                           .allowed = saved[4],
                           .bias = saved[5]};
    const auto scale = context->saved_data["scale"].toDouble();
    if (is_differentiated_again(gradients)) {
      auto result = gradients_of_formula(
          {q, k, v},
          [&](const variable_list& x) -> variable_list {
            const auto formula = attention_formula(
                {.query = x[0], .key = x[1], .value = x[2], .mask = mask, .scale = scale});
            return {formula.output, formula.weights};
          },
          gradients);
      result.resize(5);
      return result;
    }

    auto output_gradient = gradients[0];
    if (!output_gradient.defined()) output_gradient = at::zeros_like(empty_output(q, v));
    output_gradient = with_contiguous_rows(output_gradient);
    const auto weights_gradient =
        gradients[1].defined() ? gradients[1].resolve_neg().contiguous() : torch::Tensor();
    const auto empty_like = [](const torch::Tensor& x) {
      return empty_heads(x, x.size(0), x.size(1), x.size(2), x.size(3));
    };
    const auto dq = empty_like(q), dk = empty_like(k), dv = empty_like(v);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "short_attention_backward", [&] {
      const auto attention = described<scalar_t>(q, k, v, mask, scale);
      const kernels::AttentionGradients<scalar_t> out{
          mutable_rows<scalar_t>(dq), mutable_rows<scalar_t>(dk), mutable_rows<scalar_t>(dv)};
      const auto* w = weights.const_data_ptr<scalar_t>();
      const auto* dw =
          weights_gradient.defined() ? weights_gradient.const_data_ptr<scalar_t>() : nullptr;
      detail::parallel_for(
          k.size(0) * k.size(1), heads_of_thread(attention), [&](int64_t first, int64_t last) {
            kernels::attention_backward(attention, w, rows<scalar_t>(output_gradient), dw, out,
                                        first, last);
          });
    });
    return {dq, dk, dv, {}, {}};
  }
};

bool takes_short(const AttentionInputs& in) {
  const auto type = in.query.scalar_type();
  return in.query.is_cpu() && in.query.layout() == torch::kStrided &&
         (type == torch::kFloat || type == torch::kDouble) && type == in.computed_type() &&
         is_short_attention(in.query, in.key, in.value);
}

AttentionOutput run_short(const AttentionInputs& in, bool wants_weights) {
  if (in.records_gradients()) {
    auto results = ShortAttention::apply(in.query, in.key, in.value, in.mask, in.scale);
    return {std::move(results[0]), std::move(results[1])};
  }
  const auto q = with_contiguous_rows(in.query), k = with_contiguous_rows(in.key),
             v = with_contiguous_rows(in.value);
  AttentionOutput result{empty_output(q, v), {}};
  if (wants_weights) result.weights = empty_weights(q, k);
  compute_forward(q, k, v, in.mask, in.scale, result.output, result.weights);
  return result;
}

std::string describe_short(const AttentionInputs& in) {
  return (in.mask.band.is_everything() ? "" : ", the band as two numbers") +
         described_part("mask", in.mask.allowed) + described_part("bias", in.mask.bias);
}

}  // namespace

bool is_short_attention(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value) {
  return query.numel() > 0 && key.numel() > 0 && value.numel() > 0 &&
         query.size(2) <= kLongestTarget && key.size(2) <= kLongestSource &&
         query.size(3) <= kWidestHead && value.size(3) <= kWidestHead;
}

const AttentionBackend kShortAttention{.name = "short kernel",
                                       .extras = kNoExtra,
                                       .takes = takes_short,
                                       .run = run_short,
                                       .describe = describe_short};

}  // namespace attend::functional
