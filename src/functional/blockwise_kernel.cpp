// Tensors become what the kernels of attention take, and their tasks are run.
#include "functional/blockwise_kernel.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "detail/parallel.h"
#include "kernels/cpu/instruction_set.h"

namespace attend::functional {
namespace {

// So many multiply-adds are worth a thread of their own.
constexpr int64_t kMultiplyAddsOfThread = 65536;

// Calls f(T, Stored) for how the kernels compute what is stored as `type`.
template <class F>
void with_types(torch::ScalarType type, const F& f) {
  if (type == torch::kDouble) return f(double{}, double{});
  if (type == torch::kBFloat16) return f(float{}, kernels::BFloat16{});
  TORCH_INTERNAL_ASSERT(type == torch::kFloat, "no kernels for ", type);
  f(float{}, float{});
}

template <typename Stored>
kernels::HeadRows<const Stored> rows(const torch::Tensor& x) {
  return {static_cast<const Stored*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2)};
}

template <typename Stored>
kernels::HeadRows<Stored> mutable_rows(const torch::Tensor& x) {
  return {static_cast<Stored*>(x.mutable_data_ptr()), x.stride(0), x.stride(1), x.stride(2)};
}

// Sums and gradients that are added to: of float32, where bfloat16 is stored.
torch::TensorOptions options_of_sums(const torch::Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 ? x.options().dtype(torch::kFloat) : x.options();
}

torch::Tensor empty_heads(const torch::Tensor& like, int64_t dim,
                          const torch::TensorOptions& options) {
  return at::empty({like.size(0), like.size(2), like.size(1), dim}, options).transpose(1, 2);
}

template <typename T>
kernels::MaskView<T> mask_view(const torch::Tensor& mask) {
  if (!mask.defined()) return {};
  const auto stride = [&](int64_t axis) { return mask.size(axis) == 1 ? 0 : mask.stride(axis); };
  return {mask.const_data_ptr<T>(), stride(0), stride(1), stride(2), stride(3)};
}

// Of [H, T + S - 1]: query t of `target` begins target - 1 - t behind the first value.
template <typename T>
kernels::MaskView<T> relative_view(const torch::Tensor& bias, int64_t target) {
  if (!bias.defined()) return {};
  return {bias.const_data_ptr<T>() + target - 1, 0, bias.stride(0), -1, 1};
}

template <typename T>
const T* data_or_null(const torch::Tensor& x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}

// `data`: of x, which has the shape of the chosen weights.
template <typename T, typename Element>
kernels::WeightsView<Element> weights_view(const torch::Tensor& x, Element* data,
                                           const ChosenWeights& chosen) {
  return {.data = data,
          .batch_stride = x.stride(0),
          .head_stride = chosen.is_mean() ? 0 : x.stride(1),
          .target_stride = x.stride(2),
          .heads = data_or_null<int64_t>(chosen.head_places),
          .queries = data_or_null<int64_t>(chosen.query_places),
          .shares = data_or_null<T>(chosen.shares)};
}

template <typename T, typename Stored>
kernels::Attention<T, Stored> described(const BlockwiseTensors& in,
                                        const BlockwiseParameters& parameters) {
  const auto& mask = parameters.mask;
  return {.batch = in.query.size(0),
          .heads = in.query.size(1),
          .target = in.query.size(2),
          .source = in.key.size(2),
          .head_dim = in.query.size(3),
          .value_dim = in.value.size(3),
          .group = in.query.size(1) / in.key.size(1),
          .query = rows<Stored>(in.query),
          .key = rows<Stored>(in.key),
          .value = rows<Stored>(in.value),
          .bias = mask_view<T>(mask.bias),
          .allowed = mask_view<bool>(mask.allowed),
          .slopes = data_or_null<T>(mask.slopes),
          .query_segments = data_or_null<int64_t>(mask.query_segments),
          .key_segments = data_or_null<int64_t>(mask.key_segments),
          .band_left = mask.band.left,
          .band_right = mask.band.right,
          .scale = static_cast<T>(parameters.scale),
          .soft_cap = static_cast<T>(parameters.soft_cap),
          .sinks = data_or_null<T>(in.sinks),
          .dropout = parameters.dropout,
          .relative_bias = relative_view<T>(mask.relative_bias, in.query.size(2)),
          .multiplies_pairs = kernels::prefers_bfloat16_products()};
}

// Calls f(task, workspace) for all tasks, which the threads take one by one: those of a causal mask
// differ in length.
template <typename T, typename Stored, typename F>
void run_tasks(const kernels::Attention<T, Stored>& a, int64_t tasks, int64_t workspace,
               const F& f) {
  constexpr int64_t kAlignment = 64 / sizeof(T);
  const auto work =
      a.batch * a.heads * a.target * a.source * (a.head_dim + a.value_dim) / kMultiplyAddsOfThread;
  const auto threads = std::clamp<int64_t>(std::min(tasks, work), 1, at::get_num_threads());
  detail::share_tasks(tasks, threads, [&](int64_t /*thread*/, const auto& take) {
    const auto memory = std::make_unique_for_overwrite<T[]>(workspace + kAlignment);
    void* aligned = memory.get();
    size_t size = (workspace + kAlignment) * sizeof(T);
    std::align(64, workspace * sizeof(T), aligned, size);
    while (const auto task = take()) f(*task, static_cast<T*>(aligned));
  });
}

template <typename T, typename Stored>
void run_blocks(const kernels::Attention<T, Stored>& attention, kernels::HeadRows<Stored> output,
                T* sums) {
  run_tasks(attention, kernels::attention_forward_tasks(attention),
            kernels::attention_forward_workspace(attention), [&](int64_t task, T* workspace) {
              kernels::attention_forward(attention, output, sums, task, workspace);
            });
}

// The parts of all heads' keys, then their join.
template <typename T, typename Stored>
void run_few_queries(const kernels::Attention<T, Stored>& attention,
                     kernels::HeadRows<Stored> output, T* sums) {
  const auto groups = attention.batch * attention.kv_heads();
  const auto tasks = groups * kernels::attention_of_few_parts(attention);
  const auto partial_size = attention.target * attention.group * (2 + attention.value_dim);
  const auto partials = std::make_unique_for_overwrite<T[]>(tasks * partial_size);
  run_tasks(attention, tasks, kernels::attention_of_few_workspace(attention),
            [&](int64_t task, T* workspace) {
              kernels::attention_of_few(attention, task, partials.get() + task * partial_size,
                                        workspace);
            });
  kernels::attention_of_few_joined(attention, partials.get(), output, sums, 0, groups);
}

// Of all rows, output . gradient, and with a gradient of the weights, weights . gradient.
template <typename T, typename Stored>
torch::Tensor deltas_of(const kernels::Attention<T, Stored>& a, const BlockwiseOutput& out,
                        const torch::Tensor& gradient,
                        const kernels::WeightsView<const T>& of_weights) {
  auto deltas = at::empty(out.output.sizes().slice(0, 3), out.sums.options());
  auto* const data = deltas.mutable_data_ptr<T>();
  detail::parallel_for(a.batch * a.heads, 1 + kMultiplyAddsOfThread / (1 + a.target * a.value_dim),
                       [&](int64_t first, int64_t last) {
                         kernels::attention_deltas(a, rows<Stored>(out.output),
                                                   rows<Stored>(gradient), data, first, last);
                       });
  if (of_weights.data != nullptr) {
    const auto* const sums = out.sums.const_data_ptr<T>();
    run_tasks(a, kernels::attention_weight_deltas_tasks(a), kernels::attention_weights_workspace(a),
              [&](int64_t task, T* workspace) {
                kernels::attention_weight_deltas(a, sums, of_weights, data, task, workspace);
              });
  }
  return deltas;
}

// Zeros for the gradient of a bias [B, H, T, S] or a relative one [H, T + S - 1], in parts:
// [parts, the sizes of the bias].
template <typename T, typename Stored>
torch::Tensor bias_parts(const kernels::Attention<T, Stored>& a, const torch::Tensor& bias,
                         kernels::BiasGradient<T>& view) {
  const bool is_relative = bias.dim() == 2;
  const auto stride = [&](int64_t axis) {
    int64_t size = bias.size(axis) == 1 ? 0 : 1;
    for (auto inner = axis + 1; inner < bias.dim(); ++inner) size *= bias.size(inner);
    return size;
  };
  T any{};  // a gradient without data is one that is not wanted
  view = is_relative
             ? kernels::BiasGradient<T>{&any, 0, stride(0), -1, 1, bias.numel()}
             : kernels::BiasGradient<T>{&any, stride(0), stride(1), stride(2), 1, bias.numel()};
  at::DimVector sizes(bias.sizes());
  sizes.insert(sizes.begin(), kernels::attention_bias_parts(a, view));
  auto parts = at::zeros(sizes, bias.options());
  view.data = parts.mutable_data_ptr<T>() + (is_relative ? a.target - 1 : 0);
  return parts;
}

// The gradients of the query, the keys, the values; `of_bias` becomes that of `bias`, unless it is
// undefined.
template <typename T, typename Stored>
BlockwiseTensors run_blocks_backward(const kernels::Attention<T, Stored>& a,
                                     const BlockwiseTensors& in, const torch::Tensor& bias,
                                     kernels::AttentionBackward<T, Stored> backward,
                                     torch::Tensor& of_bias) {
  const auto options = in.query.options(), of_sums = options_of_sums(in.query);
  BlockwiseTensors result{empty_heads(in.query, in.query.size(3), of_sums),
                          empty_heads(in.key, in.key.size(3), options),
                          empty_heads(in.value, in.value.size(3), options)};
  backward.gradients = {mutable_rows<T>(result.query), mutable_rows<Stored>(result.key),
                        mutable_rows<Stored>(result.value)};
  const auto parts = kernels::attention_key_parts(a);
  torch::Tensor query_parts;
  if (parts > 1) {
    query_parts = at::empty({parts - 1, a.batch, a.heads, a.target, a.head_dim}, of_sums);
    backward.query_parts = query_parts.mutable_data_ptr<T>();
  }
  if (bias.defined()) of_bias = bias_parts(a, bias, backward.bias);
  run_tasks(a, kernels::attention_backward_tasks(a, backward.bias),
            kernels::attention_backward_workspace(a), [&](int64_t task, T* workspace) {
              kernels::attention_backward(a, backward, task, workspace);
            });
  for (int64_t part = 1; part < parts; ++part) result.query.add_(query_parts[part - 1]);
  result.query = result.query.to(options.dtype());
  if (bias.defined()) of_bias = of_bias.size(0) == 1 ? of_bias[0] : of_bias.sum(0);
  return result;
}

// Choices of `size` things, each once and ascending, as how often each is chosen.
std::vector<int64_t> counted(const std::vector<int64_t>& choices, int64_t size) {
  std::vector<int64_t> result(static_cast<size_t>(size), choices.empty() ? 1 : 0);
  for (const auto choice : choices) ++result[static_cast<size_t>((choice + size) % size)];
  return result;
}

// Where each that is chosen lies among these, -1 for others.
torch::Tensor places_of(const std::vector<int64_t>& counts, int64_t& number) {
  auto places = counts;
  number = 0;
  for (auto& place : places) place = place > 0 ? number++ : -1;
  return torch::tensor(places, torch::kLong).to(torch::kCPU);
}

}  // namespace

ChosenWeights chosen_weights(const WeightsRequest& request, int64_t heads, int64_t target,
                             torch::ScalarType type) {
  if (request.is_none()) return {};
  ChosenWeights result;
  result.are_wanted = true;
  result.heads = heads;
  result.queries = target;
  const auto of_heads = counted(request.heads(), heads);
  if (!request.heads().empty()) result.head_places = places_of(of_heads, result.heads);
  if (!request.queries().empty()) {
    result.query_places = places_of(counted(request.queries(), target), result.queries);
  }
  if (request.kind() == WeightsRequest::kMean) {
    const auto counts = torch::tensor(of_heads, torch::kDouble);
    result.shares = counts.div(counts.sum()).to(torch::kCPU, type);
    result.heads = 1;
  }
  return result;
}

torch::Tensor with_contiguous_rows(const torch::Tensor& x) {
  return x.stride(3) == 1 || x.size(3) == 1 ? x.resolve_neg() : x.resolve_neg().contiguous();
}

torch::Tensor with_readable_rows(const torch::Tensor& mask) {
  if (!mask.defined()) return mask;
  return mask.stride(3) == 0 ? mask.resolve_neg() : with_contiguous_rows(mask);
}

BlockwiseOutput blockwise_forward(const BlockwiseTensors& in, const BlockwiseParameters& parameters,
                                  bool wants_sums) {
  const auto& q = in.query;
  BlockwiseOutput result{empty_heads(q, in.value.size(3), q.options()), {}};
  if (wants_sums) {
    result.sums = at::empty({q.size(0), q.size(1), q.size(2), 2}, options_of_sums(q));
  }
  with_types(q.scalar_type(), [&]<typename T, typename Stored>(T, Stored) {
    const auto attention = described<T, Stored>(in, parameters);
    const auto output = mutable_rows<Stored>(result.output);
    auto* sums = wants_sums ? result.sums.mutable_data_ptr<T>() : nullptr;
    if (kernels::has_few_queries(attention)) {
      run_few_queries(attention, output, sums);
    } else {
      run_blocks(attention, output, sums);
    }
  });
  return result;
}

torch::Tensor blockwise_weights(const BlockwiseTensors& in, const BlockwiseParameters& parameters,
                                const torch::Tensor& sums, const ChosenWeights& chosen) {
  auto result =
      at::empty({in.query.size(0), chosen.heads, chosen.queries, in.key.size(2)}, sums.options());
  with_types(in.query.scalar_type(), [&]<typename T, typename Stored>(T, Stored) {
    const auto attention = described<T, Stored>(in, parameters);
    const auto view = weights_view<T>(result, result.mutable_data_ptr<T>(), chosen);
    const auto* const of_rows = sums.const_data_ptr<T>();
    run_tasks(attention, kernels::attention_weights_tasks(attention, view),
              kernels::attention_weights_workspace(attention), [&](int64_t task, T* workspace) {
                kernels::attention_weights(attention, of_rows, view, task, workspace);
              });
  });
  return result;
}

BlockwiseGradients blockwise_backward(const BlockwiseTensors& in,
                                      const BlockwiseParameters& parameters,
                                      const BlockwiseOutput& out, const ChosenWeights& chosen,
                                      const BlockwiseUpstream& upstream) {
  const auto of_output = upstream.output.defined() ? with_contiguous_rows(upstream.output)
                                                   : at::zeros_like(out.output);
  torch::Tensor of_weights;
  if (upstream.weights.defined()) of_weights = with_contiguous_rows(upstream.weights);
  const auto &bias = parameters.mask.bias, &relative_bias = parameters.mask.relative_bias;
  const auto requires_gradient = [](const torch::Tensor& x) {
    return x.defined() && x.requires_grad();
  };
  const bool is_relative = requires_gradient(relative_bias);
  BlockwiseGradients result;
  with_types(in.query.scalar_type(), [&]<typename T, typename Stored>(T, Stored) {
    const auto attention = described<T, Stored>(in, parameters);
    kernels::WeightsView<const T> view;
    if (of_weights.defined()) {
      view = weights_view<T>(of_weights, of_weights.const_data_ptr<T>(), chosen);
    }
    const torch::Tensor deltas = deltas_of<T, Stored>(attention, out, of_output, view);
    torch::Tensor of_sinks;
    const bool is_learned = requires_gradient(bias);
    const bool has_keys = is_learned && bias.size(3) == in.key.size(2);
    result.of = run_blocks_backward<T, Stored>(attention, in,
                                               is_relative ? relative_bias
                                               : has_keys  ? bias
                                                           : torch::Tensor(),
                                               {.output_gradient = rows<Stored>(of_output),
                                                .sums = out.sums.const_data_ptr<T>(),
                                                .deltas = deltas.const_data_ptr<T>(),
                                                .weights_gradient = view,
                                                .gradients = {},
                                                .query_parts = nullptr,
                                                .bias = {}},
                                               is_relative ? result.relative_bias : result.bias);
    if (in.sinks.defined()) {
      // In float64, since terms of both signs are added up.
      const auto sums = out.sums.to(torch::kDouble);
      const auto shares = (in.sinks.view({1, -1, 1}) - sums.select(3, 0)).exp() * sums.select(3, 1);
      of_sinks = shares * deltas;  // [B, H, T]
      result.of.sinks = of_sinks.sum(at::IntArrayRef({0, 2})).neg().to(in.sinks.scalar_type());
    }
    // What all keys of a query share changes the weight of its sink alone.
    if (is_learned && !has_keys) {
      result.bias = of_sinks.defined()
                        ? at::sum_to(of_sinks.unsqueeze(3), bias.sizes()).to(bias.scalar_type())
                        : at::zeros_like(bias);
    }
  });
  return result;
}

torch::Tensor blockwise_kept(const torch::Tensor& query, int64_t source,
                             const kernels::AttentionDropout& dropout) {
  if (dropout.threshold == 0) return {};
  auto kept = at::empty({query.size(0), query.size(1), query.size(2), source}, query.options());
  AT_DISPATCH_FLOATING_TYPES(query.scalar_type(), "blockwise_kept", [&] {
    kernels::attention_kept(dropout, source, kept.mutable_data_ptr<scalar_t>(), 0,
                            kept.numel() / source);
  });
  return kept;
}

}  // namespace attend::functional
