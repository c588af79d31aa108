// Attention on the CPU by the kernel that holds the scores of a few queries and keys at a time.
#include <algorithm>
#include <atomic>
#include <memory>

#include "detail/parallel.h"
#include "functional/attention_backend.h"
#include "functional/attention_formula.h"
#include "functional/derivatives.h"
#include "functional/dropout_seed.h"
#include "kernels/cpu/attention.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// So many multiply-adds are worth a thread of their own.
constexpr int64_t kMultiplyAddsOfThread = 65536;

// What an attention consists of beside its tensors that are differentiated.
struct BlockwiseParameters {
  LoweredMask mask;
  double scale, soft_cap;
  kernels::AttentionDropout dropout;
};

// As memory that holds the numbers themselves, also where they are to be negated when they are
// read.
torch::Tensor with_contiguous_rows(const torch::Tensor& x) {
  return x.stride(3) == 1 || x.size(3) == 1 ? x.resolve_neg() : x.resolve_neg().contiguous();
}

// The same of a mask, which may be broadcast along its rows.
torch::Tensor with_readable_rows(const torch::Tensor& mask) {
  if (!mask.defined()) return mask;
  return mask.stride(3) == 0 ? mask.resolve_neg() : with_contiguous_rows(mask);
}

template <typename T>
kernels::HeadRows<const T> rows(const torch::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

template <typename T>
kernels::HeadRows<T> mutable_rows(const torch::Tensor& x) {
  return {x.mutable_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

// [B, H, L, D] in the memory order of [B, L, H, D], so that joining the heads is a view.
torch::Tensor empty_heads(const torch::Tensor& like, int64_t dim) {
  return at::empty({like.size(0), like.size(2), like.size(1), dim}, like.options()).transpose(1, 2);
}

template <typename T>
kernels::MaskView<T> mask_view(const torch::Tensor& mask) {
  if (!mask.defined()) return {};
  const auto stride = [&](int64_t axis) { return mask.size(axis) == 1 ? 0 : mask.stride(axis); };
  return {mask.const_data_ptr<T>(), stride(0), stride(1), stride(2), stride(3)};
}

template <typename T>
const T* data_or_null(const torch::Tensor& x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}

template <typename T>
kernels::Attention<T> described(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const torch::Tensor& sinks,
                                const BlockwiseParameters& parameters) {
  const auto& mask = parameters.mask;
  return {.batch = query.size(0),
          .heads = query.size(1),
          .target = query.size(2),
          .source = key.size(2),
          .head_dim = query.size(3),
          .value_dim = value.size(3),
          .group = query.size(1) / key.size(1),
          .query = rows<T>(query),
          .key = rows<T>(key),
          .value = rows<T>(value),
          .bias = mask_view<T>(mask.bias),
          .allowed = mask_view<bool>(mask.allowed),
          .slopes = data_or_null<T>(mask.slopes),
          .query_segments = data_or_null<int64_t>(mask.query_segments),
          .key_segments = data_or_null<int64_t>(mask.key_segments),
          .band_left = mask.band.left,
          .band_right = mask.band.right,
          .scale = static_cast<T>(parameters.scale),
          .soft_cap = static_cast<T>(parameters.soft_cap),
          .sinks = data_or_null<T>(sinks),
          .dropout = parameters.dropout};
}

// Calls f(task, workspace) for all tasks, which the threads take one by one: those of a causal mask
// differ in length.
template <typename T, typename F>
void run_tasks(const kernels::Attention<T>& a, int64_t tasks, int64_t workspace, const F& f) {
  constexpr int64_t kAlignment = 64 / sizeof(T);
  const auto work =
      a.batch * a.heads * a.target * a.source * (a.head_dim + a.value_dim) / kMultiplyAddsOfThread;
  const auto threads = std::clamp<int64_t>(std::min(tasks, work), 1, at::get_num_threads());
  std::atomic<int64_t> next = 0;
  detail::parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    const auto memory = std::make_unique_for_overwrite<T[]>(workspace + kAlignment);
    void* aligned = memory.get();
    size_t size = (workspace + kAlignment) * sizeof(T);
    std::align(64, workspace * sizeof(T), aligned, size);
    for (auto thread = first; thread < last; ++thread) {
      for (int64_t task = next++; task < tasks; task = next++) f(task, static_cast<T*>(aligned));
    }
  });
}

template <typename T>
void run_forward(const kernels::Attention<T>& attention, kernels::HeadRows<T> output, T* sums) {
  run_tasks(attention, kernels::attention_forward_tasks(attention),
            kernels::attention_forward_workspace(attention), [&](int64_t task, T* workspace) {
              kernels::attention_forward(attention, output, sums, task, workspace);
            });
}

// Whether keys are read where they lie: for up to four queries, those of a group's heads together,
// and for up to eight where there are many keys (benchmarks/attention_benchmark.cpp).
template <typename T>
bool has_few_queries(const kernels::Attention<T>& a) {
  const auto queries = a.target * a.group;
  return queries <= 4 || (queries <= 8 && a.source >= 1024);
}

// The parts of all heads' keys, then their join.
template <typename T>
void run_few(const kernels::Attention<T>& attention, kernels::HeadRows<T> output, T* sums) {
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

// sums may be undefined.
void compute_forward(const torch::Tensor& query, const torch::Tensor& key,
                     const torch::Tensor& value, const torch::Tensor& sinks,
                     const BlockwiseParameters& parameters, const torch::Tensor& output,
                     const torch::Tensor& sums) {
  AT_DISPATCH_FLOATING_TYPES(query.scalar_type(), "blockwise_attention", [&] {
    const auto attention = described<scalar_t>(query, key, value, sinks, parameters);
    const auto out = mutable_rows<scalar_t>(output);
    auto* kept = sums.defined() ? sums.mutable_data_ptr<scalar_t>() : nullptr;
    if (has_few_queries(attention)) {
      run_few(attention, out, kept);
    } else {
      run_forward(attention, out, kept);
    }
  });
}

// What dropout multiplied the weights [B, H, T, S] with.
torch::Tensor kept_weights(const torch::Tensor& query, const torch::Tensor& key,
                           const kernels::AttentionDropout& dropout) {
  if (dropout.threshold == 0) return {};
  const auto source = key.size(2);
  auto kept = at::empty({query.size(0), query.size(1), query.size(2), source}, query.options());
  AT_DISPATCH_FLOATING_TYPES(query.scalar_type(), "kept_weights", [&] {
    kernels::attention_kept(dropout, source, kept.mutable_data_ptr<scalar_t>(), 0,
                            kept.numel() / source);
  });
  return kept;
}

// query, key, value, sinks, output, sums of one attention, and the gradient of its output.
struct BackwardTensors {
  torch::Tensor query, key, value, sinks, output, sums, gradient;
};

variable_list compute_backward(const BackwardTensors& x, const BlockwiseParameters& parameters) {
  const auto dk = empty_heads(x.key, x.key.size(3)), dv = empty_heads(x.value, x.value.size(3)),
             dq = empty_heads(x.query, x.query.size(3)).zero_();
  const auto deltas = at::empty(x.query.sizes().slice(0, 3), x.query.options());
  AT_DISPATCH_FLOATING_TYPES(x.query.scalar_type(), "blockwise_attention_backward", [&] {
    const auto attention = described<scalar_t>(x.query, x.key, x.value, x.sinks, parameters);
    const auto heads = attention.batch * attention.heads;
    const auto work = attention.target * attention.value_dim;
    detail::parallel_for(
        heads, 1 + kMultiplyAddsOfThread / (1 + work), [&](int64_t first, int64_t last) {
          kernels::attention_deltas(attention, rows<scalar_t>(x.output), rows<scalar_t>(x.gradient),
                                    deltas.mutable_data_ptr<scalar_t>(), first, last);
        });
    const auto parts = kernels::attention_key_parts(attention);
    torch::Tensor query_parts;
    if (parts > 1) {
      query_parts =
          at::zeros({parts - 1, x.query.size(0), x.query.size(1), x.query.size(2), x.query.size(3)},
                    x.query.options());
    }
    const kernels::AttentionBackward<scalar_t> backward{
        .output_gradient = rows<scalar_t>(x.gradient),
        .sums = x.sums.const_data_ptr<scalar_t>(),
        .deltas = deltas.const_data_ptr<scalar_t>(),
        .gradients = {mutable_rows<scalar_t>(dq), mutable_rows<scalar_t>(dk),
                      mutable_rows<scalar_t>(dv)},
        .query_parts = query_parts.defined() ? query_parts.mutable_data_ptr<scalar_t>() : nullptr};
    run_tasks(attention, attention.batch * attention.kv_heads() * parts,
              kernels::attention_backward_workspace(attention),
              [&](int64_t task, scalar_t* workspace) {
                kernels::attention_backward(attention, backward, task, workspace);
              });
    for (int64_t part = 1; part < parts; ++part) dq.add_(query_parts[part - 1]);
  });
  torch::Tensor dsinks;
  if (x.sinks.defined()) {
    const auto shares =
        (x.sinks.view({1, -1, 1}) - x.sums.select(3, 0)).exp() * x.sums.select(3, 1);
    dsinks = (shares * deltas).sum(at::IntArrayRef({0, 2})).neg();
  }
  return {dq, dk, dv, dsinks};
}

class BlockwiseAttention : public torch::autograd::Function<BlockwiseAttention> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const std::optional<torch::Tensor>& sinks,
                               const BlockwiseParameters& parameters) {
    const auto q = with_contiguous_rows(query), k = with_contiguous_rows(key),
               v = with_contiguous_rows(value);
    const auto z = sinks.value_or(torch::Tensor());
    // Not a view for autograd, which would forbid to change it in place.
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto output = empty_heads(q, v.size(3));
    const auto sums = at::empty({q.size(0), q.size(1), q.size(2), 2}, q.options());
    compute_forward(q, k, v, z, parameters, output, sums);
    const auto& mask = parameters.mask;
    context->save_for_backward({q, k, v, z, output, sums, mask.allowed, mask.bias, mask.slopes,
                                mask.query_segments, mask.key_segments});
    auto& data = context->saved_data;
    data["band_left"] = mask.band.left;
    data["band_right"] = mask.band.right;
    data["scale"] = parameters.scale;
    data["soft_cap"] = parameters.soft_cap;
    data["dropout_threshold"] = static_cast<int64_t>(parameters.dropout.threshold);
    data["dropout_seed"] = static_cast<int64_t>(parameters.dropout.seed);
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
    const BlockwiseParameters parameters{
        .mask = {.band = {number("band_left"), number("band_right")},
                 .allowed = saved[6],
                 .bias = saved[7],
                 .slopes = saved[8],
                 .query_segments = saved[9],
                 .key_segments = saved[10]},
        .scale = context->saved_data["scale"].toDouble(),
        .soft_cap = context->saved_data["soft_cap"].toDouble(),
        .dropout = {static_cast<uint32_t>(number("dropout_threshold")),
                    static_cast<uint64_t>(number("dropout_seed"))}};
    auto result = is_differentiated_again(gradients)
                      ? by_formula(saved, parameters, gradients)
                      : compute_backward({saved[0], saved[1], saved[2], saved[3], saved[4],
                                          saved[5], with_contiguous_rows(gradients[0])},
                                         parameters);
    result.emplace_back();
    return result;
  }

 private:
  static variable_list by_formula(const variable_list& saved, const BlockwiseParameters& parameters,
                                  const variable_list& gradients) {
    return gradients_of_formula(
        {saved[0], saved[1], saved[2], saved[3]},
        [&](const variable_list& x) -> variable_list {
          AttentionInputs in{.query = x[0],
                             .key = x[1],
                             .value = x[2],
                             .mask = parameters.mask,
                             .scale = parameters.scale,
                             .parameters = {.soft_cap = parameters.soft_cap, .sinks = x[3]},
                             .kept = kept_weights(x[0], x[1], parameters.dropout)};
          in.mask = in.mask.dense(in.shape());
          return {attention_formula(in).output};
        },
        gradients);
  }
};

bool takes_blockwise(const AttentionInputs& in) {
  const auto type = in.query.scalar_type();
  return in.query.is_cpu() && in.query.layout() == torch::kStrided &&
         (type == torch::kFloat || type == torch::kDouble) && type == in.computed_type() &&
         in.query.numel() > 0 && in.key.numel() > 0 && in.value.numel() > 0;
}

BlockwiseParameters parameters_of(const AttentionInputs& in) {
  BlockwiseParameters result{in.mask, in.scale, in.parameters.soft_cap, {}};
  result.mask.memo = nullptr;
  result.mask.allowed = with_readable_rows(in.mask.allowed);
  result.mask.bias = with_readable_rows(in.mask.bias);
  const double p = in.parameters.dropout_p;
  if (p > 0.0) {
    const auto threshold = std::min(std::round(p * 65536.0), 65535.0);
    result.dropout = {static_cast<uint32_t>(threshold), draw_dropout_seed()};
  }
  return result;
}

torch::Tensor run_blockwise(const AttentionInputs& in) {
  const auto parameters = parameters_of(in);
  auto sinks = in.parameters.sinks;
  if (sinks.defined()) sinks = sinks.to(in.query.scalar_type()).contiguous();
  if (in.records_gradients()) {
    return BlockwiseAttention::apply(in.query, in.key, in.value, if_defined(sinks), parameters);
  }
  const auto q = with_contiguous_rows(in.query), k = with_contiguous_rows(in.key),
             v = with_contiguous_rows(in.value);
  auto output = empty_heads(q, v.size(3));
  compute_forward(q, k, v, sinks, parameters, output, {});
  return output;
}

std::string describe_blockwise(const AttentionInputs& in) {
  const auto& mask = in.mask;
  return (mask.band.is_everything() ? "" : ", the band as two numbers") +
         described_part("mask", mask.allowed) + described_part("bias", mask.bias) +
         described_part("slopes", mask.slopes) + described_part("segments", mask.key_segments);
}

}  // namespace

const AttentionBackend kBlockwiseAttention{.name = "blockwise kernel",
                                           .extras = kDropout | kSoftCap | kSinks,
                                           .takes_described_masks = true,
                                           .takes = takes_blockwise,
                                           .run = run_blockwise,
                                           .describe = describe_blockwise};

}  // namespace attend::functional
