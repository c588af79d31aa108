#include "attend/modules/multi_head_attention.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "attend/functional/heads.h"
#include "attend/functional/position.h"
#include "attend/modules/causal_self_attention.h"
#include "attend/modules/multi_head_cross_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/lowered_mask.h"
#include "functional/named_linear.h"
#include "functional/open_keys.h"
#include "modules/transformer_parts.h"

namespace attend {
namespace {

template <typename Derived>
constexpr const char* kModuleName = nullptr;
template <>
constexpr const char* kModuleName<MultiHeadAttentionImpl> = "MultiHeadAttention";
template <>
constexpr const char* kModuleName<MultiHeadSelfAttentionImpl> = "MultiHeadSelfAttention";
template <>
constexpr const char* kModuleName<MultiHeadCrossAttentionImpl> = "MultiHeadCrossAttention";
template <>
constexpr const char* kModuleName<CausalSelfAttentionImpl> = "CausalSelfAttention";

// The names of each module's inputs, for error messages.
struct InputNames {
  const char *query, *key, *value;
};
template <typename Derived>
constexpr InputNames kInputNames{"x", "x", "x"};
template <>
constexpr InputNames kInputNames<MultiHeadAttentionImpl>{"query", "key", "value"};
template <>
constexpr InputNames kInputNames<MultiHeadCrossAttentionImpl>{"x", "memory", "memory"};

// Self-attention has one input, so query_dim, key_dim and value_dim must be equal.
const MultiHeadAttentionOptions& one_size(const char* who, const MultiHeadAttentionOptions& o) {
  TORCH_CHECK_VALUE(o.query_dim() == o.embed_dim() && o.key_dim() == o.embed_dim() &&
                        o.value_dim() == o.embed_dim(),
                    who, ": expected query_dim, key_dim and value_dim equal to embed_dim ",
                    o.embed_dim(), ", got ", o.query_dim(), ", ", o.key_dim(), " and ",
                    o.value_dim());
  return o;
}

torch::Tensor normalised(const torch::Tensor& x, const NormImpl& norm) {
  return at::rms_norm(x, {norm.options.size()}, norm.weight, norm.options.eps());
}

torch::TensorOptions long_on(const torch::Tensor& like) {
  return torch::TensorOptions().dtype(torch::kLong).device(like.device());
}

template <typename Derived>
void check_variants(const MultiHeadAttentionOptions& o) {
  constexpr auto kName = kModuleName<Derived>;
  detail::check_positive(kName, "num_kv_heads", o.num_kv_heads());
  TORCH_CHECK_VALUE(o.num_heads() % o.num_kv_heads() == 0, kName,
                    ": expected num_heads divisible by num_kv_heads, got num_heads ", o.num_heads(),
                    " and num_kv_heads ", o.num_kv_heads());
  TORCH_CHECK_VALUE(o.soft_cap() >= 0.0, kName, ": expected soft_cap >= 0, got ", o.soft_cap());
  if (o.rotary()) o.rotary()->validate(o.embed_dim() / o.num_heads());
  if (o.window()) AttentionMask::window(o.window()->left, o.window()->right);
  if (o.relative_bias()) {
    const auto& r = *o.relative_bias();
    functional::relative_position_buckets(0, 0, r.num_buckets, r.max_distance, r.bidirectional);
  }
}

}  // namespace

MultiHeadAttentionOptions::MultiHeadAttentionOptions(int64_t embed_dim, int64_t num_heads)
    : embed_dim_(embed_dim),
      num_heads_(num_heads),
      query_dim_(embed_dim),
      key_dim_(embed_dim),
      value_dim_(embed_dim),
      num_kv_heads_(num_heads) {}

template <typename Derived>
MultiHeadAttentionBase<Derived>::MultiHeadAttentionBase(const MultiHeadAttentionOptions& options_)
    : options(options_) {
  MultiHeadAttentionBase::reset();
}

template <typename Derived>
void MultiHeadAttentionBase<Derived>::reset() {
  constexpr auto kName = kModuleName<Derived>;
  detail::check_heads(kName, options.embed_dim(), options.num_heads());
  detail::check_positive(kName, "query_dim", options.query_dim());
  detail::check_positive(kName, "key_dim", options.key_dim());
  detail::check_positive(kName, "value_dim", options.value_dim());
  detail::check_probability(kName, "dropout", options.dropout());
  check_variants<Derived>(options);

  const auto projection = [&](const char* name, int64_t from, int64_t to, double gain) {
    return this->register_module(name, detail::make_linear(from, to, options.bias(), gain));
  };
  // Xavier bounds of one packed [3 E, E] matrix, as in the paper's code and torch::nn. With a gain
  // of 1, deep post-norm encoders learned uniform attention weights and did not recover.
  const double packed = 1.0 / std::sqrt(2.0);
  const auto head_dim = options.embed_dim() / options.num_heads();
  const auto kv_dim = options.num_kv_heads() * head_dim;
  // Registered in the order of Hugging Face's BartAttention.
  k_proj = projection("k_proj", options.key_dim(), kv_dim, packed);
  v_proj = projection("v_proj", options.value_dim(), kv_dim, packed);
  q_proj = projection("q_proj", options.query_dim(), options.embed_dim(), packed);
  out_proj = projection("out_proj", options.embed_dim(), options.embed_dim(), 1.0);
  if (options.qk_norm()) {
    const auto norm = NormOptions(head_dim).kind(NormKind::kRms).eps(1e-6);
    q_norm = this->register_module("q_norm", Norm(norm));
    k_norm = this->register_module("k_norm", Norm(norm));
  }
  if (options.relative_bias()) {
    relative_attention_bias = this->register_module(
        "relative_attention_bias",
        torch::nn::Embedding(options.relative_bias()->num_buckets, options.num_heads()));
  }
  if (options.sinks()) {
    sinks = this->register_parameter("sinks", torch::zeros({options.num_heads()}));
  }
  if (options.add_bias_kv()) {
    bias_k = this->register_parameter("bias_k", torch::empty({1, 1, kv_dim}));
    bias_v = this->register_parameter("bias_v", torch::empty({1, 1, kv_dim}));
    torch::nn::init::xavier_normal_(bias_k);
    torch::nn::init::xavier_normal_(bias_v);
  }
}

template <typename Derived>
void MultiHeadAttentionBase<Derived>::pretty_print(std::ostream& stream) const {
  const auto& o = options;
  detail::Printer printer(stream, kModuleName<Derived>);
  printer.value("embed_dim", o.embed_dim())
      .value("num_heads", o.num_heads())
      .value("dropout", o.dropout())
      .changed("query_dim", o.query_dim(), o.embed_dim())
      .changed("key_dim", o.key_dim(), o.embed_dim())
      .changed("value_dim", o.value_dim(), o.embed_dim())
      .changed("num_kv_heads", o.num_kv_heads(), o.num_heads())
      .changed("bias", o.bias(), true);
  if (o.scale()) printer.value("scale", *o.scale());
  printer.variant("rotary", o.rotary().has_value())
      .variant("alibi", o.alibi())
      .variant("relative_bias", o.relative_bias().has_value())
      .variant("window", o.window().has_value())
      .variant("qk_norm", o.qk_norm())
      .changed("soft_cap", o.soft_cap(), 0.0)
      .variant("sinks", o.sinks())
      .variant("add_bias_kv", o.add_bias_kv())
      .variant("add_zero_attn", o.add_zero_attn());
  if constexpr (std::is_same_v<Derived, CausalSelfAttentionImpl>) {
    printer.value("max_length", static_cast<const Derived&>(*this).max_length);
  }
  printer.end();
}

template <typename Derived>
KeyValue MultiHeadAttentionBase<Derived>::project_key_value(const torch::Tensor& key,
                                                            const torch::Tensor& value,
                                                            int64_t first) const {
  const auto positions = options.rotary() && key.defined() && key.dim() == 3
                             ? torch::arange(first, first + key.size(1), long_on(key))
                             : torch::Tensor();
  auto result = project_at(key, value, positions);
  result.first = first;
  return result;
}

template <typename Derived>
KeyValue MultiHeadAttentionBase<Derived>::project_at(const torch::Tensor& key,
                                                     const torch::Tensor& value,
                                                     const torch::Tensor& positions) const {
  constexpr auto kName = kModuleName<Derived>;
  constexpr auto kInputs = kInputNames<Derived>;
  detail::check_shape(kName, kInputs.key, key, {-1, -1, options.key_dim()});
  detail::check_shape(kName, kInputs.value, value, {key.size(0), key.size(1), options.value_dim()});
  auto keys =
      functional::split_heads(functional::linear(key, k_proj, kName), options.num_kv_heads());
  if (k_norm) keys = normalised(keys, *k_norm);
  if (options.rotary()) keys = functional::rotary(keys, *options.rotary(), positions);
  return {keys, functional::split_heads(functional::linear(value, v_proj, kName),
                                        options.num_kv_heads())};
}

template <typename Derived>
torch::Tensor MultiHeadAttentionBase<Derived>::project_query(const torch::Tensor& query,
                                                             const torch::Tensor& positions) const {
  auto heads = functional::split_heads(functional::linear(query, q_proj, kModuleName<Derived>),
                                       options.num_heads());
  if (q_norm) heads = normalised(heads, *q_norm);
  return options.rotary() ? functional::rotary(heads, *options.rotary(), positions) : heads;
}

// Joins the caller's mask with those of the cache's positions and of the options.
template <typename Derived>
AttentionMask MultiHeadAttentionBase<Derived>::with_own_mask(
    const AttentionMask& mask, const torch::Tensor& query, const KeyValue& memory,
    const torch::Tensor& query_positions) const {
  auto result = mask;
  if (memory.positions.defined()) {
    result = result & AttentionMask::positions(query_positions, memory.positions);
  }
  if (options.window()) {
    result = result & AttentionMask::window(options.window()->left, options.window()->right);
  }
  if (options.alibi()) {
    result = result &
             AttentionMask::alibi(functional::alibi_slopes(options.num_heads(), query.device()));
  }
  if (options.relative_bias()) {
    const auto bias_of = [&](const torch::Tensor& ahead) {
      const auto& r = *options.relative_bias();
      const auto buckets = functional::relative_position_buckets(ahead, r.num_buckets,
                                                                 r.max_distance, r.bidirectional);
      return torch::embedding(relative_attention_bias->weight, buckets);  // [.., H]
    };
    if (memory.positions.defined()) {
      const auto ahead = memory.positions.unsqueeze(1) - query_positions.unsqueeze(2);  // [B, T, S]
      result = result & AttentionMask(bias_of(ahead).permute({0, 3, 1, 2}));
    } else {
      const auto target = query.size(1), source = memory.key.size(2);
      const auto ahead =
          torch::arange(1 - source, std::max(target, 1 - source), long_on(query));  // [T + S - 1]
      result = result & AttentionMask::relative_bias(bias_of(ahead).t());
    }
  }
  return result;
}

// Appends the module's own keys and values (add_bias_kv, add_zero_attn) to the caller's.
template <typename Derived>
KeyValue MultiHeadAttentionBase<Derived>::with_own_keys(const KeyValue& memory) const {
  if (!options.add_bias_kv() && !options.add_zero_attn()) return memory;
  std::vector<torch::Tensor> keys{memory.key}, values{memory.value};
  const auto batch = memory.key.size(0);
  if (options.add_bias_kv()) {
    keys.push_back(
        functional::split_heads(bias_k, options.num_kv_heads()).expand({batch, -1, -1, -1}));
    values.push_back(
        functional::split_heads(bias_v, options.num_kv_heads()).expand({batch, -1, -1, -1}));
  }
  if (options.add_zero_attn()) {
    const auto one_of = [&](const torch::Tensor& x) {
      return torch::zeros({batch, x.size(1), 1, x.size(3)}, x.options());
    };
    keys.push_back(one_of(memory.key));
    values.push_back(one_of(memory.value));
  }
  return {torch::cat(keys, 2), torch::cat(values, 2)};
}

template <typename Derived>
AttentionOutput MultiHeadAttentionBase<Derived>::attend(const torch::Tensor& query,
                                                        const KeyValue& memory,
                                                        const AttentionMask& mask,
                                                        const WeightsRequest& weights) const {
  constexpr auto kName = kModuleName<Derived>;
  constexpr auto kInputs = kInputNames<Derived>;
  detail::check_shape(kName, kInputs.query, query, {-1, -1, options.query_dim()});
  TORCH_CHECK(memory.key.defined() && memory.key.size(0) == query.size(0), kName, ": expected ",
              kInputs.query, " and ", kInputs.key, " of one batch size, got ", kInputs.query, " ",
              detail::shape_string(query.sizes()), " and ",
              memory.key.defined() ? memory.key.size(0) : 0, " rows of ", kInputs.key);
  detail::check_shape(
      kName, "projected keys", memory.key,
      {query.size(0), options.num_kv_heads(), -1, options.embed_dim() / options.num_heads()});
  const auto target = query.size(1), source = memory.key.size(2);
  // Bottom-right aligned: the last query has the position of the last key.
  torch::Tensor positions;
  if (memory.positions.defined()) {
    detail::check_shape(kName, "positions of keys", memory.positions, {query.size(0), source});
    positions = memory.positions.amax(1, /*keepdim=*/true) +
                torch::arange(1 - target, 1, long_on(query));  // [B, T]
  } else if (options.rotary()) {
    const auto first = memory.first + source - target;
    positions = torch::arange(first, first + target, long_on(query));
  }
  const auto own = with_own_keys(memory);
  auto result = functional::attention_with_open_keys(
      project_query(query, positions), own.key, own.value,
      with_own_mask(mask, query, memory, positions), weights,
      {.dropout_p = this->is_training() ? options.dropout() : 0.0,
       .scale = options.scale(),
       .soft_cap = options.soft_cap(),
       .sinks = sinks},
      /*open_keys=*/own.key.size(2) - source);
  result.output = functional::linear(functional::merge_heads(result.output), out_proj, kName);
  return result;
}

template <typename Derived>
AttentionOutput MultiHeadAttentionBase<Derived>::attend_to(const torch::Tensor& query,
                                                           const torch::Tensor& key,
                                                           const torch::Tensor& value,
                                                           const AttentionMask& mask,
                                                           const WeightsRequest& weights) const {
  constexpr auto kName = kModuleName<Derived>;
  constexpr auto kInputs = kInputNames<Derived>;
  detail::check_rank(kName, kInputs.query, query, 2, 3);
  const auto rank = query.dim();
  detail::check_rank(kName, kInputs.key, key, rank, rank);
  detail::check_rank(kName, kInputs.value, value, rank, rank);
  if (rank == 3) return attend(query, project_key_value(key, value), mask, weights);

  auto result = attend(query.unsqueeze(0), project_key_value(key.unsqueeze(0), value.unsqueeze(0)),
                       functional::with_batch_axis(mask), weights);
  result.output = result.output.squeeze(0);
  if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  return result;
}

template <typename Derived>
AttentionOutput MultiHeadAttentionBase<Derived>::attend_to_cached(
    const torch::Tensor& x, KeyValueCache& cache, const AttentionMask& mask,
    const WeightsRequest& weights) const {
  detail::check_shape(kModuleName<Derived>, "x", x, {-1, -1, options.query_dim()});
  auto own_mask = mask;
  if (cache.is_ring()) {
    TORCH_CHECK(!mask.has_tensors(), kModuleName<Derived>,
                ": expected a mask of causal, window and ALiBi alone with a ring cache, got one of "
                "tensors");
    // Several new positions are computed together with keys that the ring drops during this call.
    // The window hides those keys from the queries that come after they are dropped.
    own_mask = mask & AttentionMask::window(cache.capacity() - 1, AttentionMask::Band::kAll);
  }
  // An error restores the cache. A ring is copied first: truncate cannot restore overwritten keys.
  const auto held = cache.is_ring() && x.size(1) > 1 ? std::optional(cache) : std::nullopt;
  const auto positions =
      options.rotary() ? cache.next_positions(x.size(1), x.device()) : torch::Tensor();
  const auto memory = cache.append(project_at(x, x, positions));
  try {
    return attend(x, memory, own_mask, weights);
  } catch (...) {
    if (held) {
      cache = *held;
    } else {
      cache.drop_last(x.size(1));
    }
    throw;
  }
}

template class MultiHeadAttentionBase<MultiHeadAttentionImpl>;
template class MultiHeadAttentionBase<MultiHeadSelfAttentionImpl>;
template class MultiHeadAttentionBase<MultiHeadCrossAttentionImpl>;
template class MultiHeadAttentionBase<CausalSelfAttentionImpl>;

MultiHeadAttentionImpl::MultiHeadAttentionImpl(const MultiHeadAttentionOptions& options_)
    : MultiHeadAttentionBase(options_) {}

AttentionOutput MultiHeadAttentionImpl::forward(const torch::Tensor& query,
                                                const torch::Tensor& key,
                                                const torch::Tensor& value,
                                                const AttentionMask& mask,
                                                const WeightsRequest& weights) {
  return attend_to(query, key, value, mask, weights);
}

MultiHeadSelfAttentionImpl::MultiHeadSelfAttentionImpl(const MultiHeadAttentionOptions& options_)
    : MultiHeadAttentionBase(one_size("MultiHeadSelfAttention", options_)) {}

AttentionOutput MultiHeadSelfAttentionImpl::forward(const torch::Tensor& x,
                                                    const AttentionMask& mask,
                                                    const WeightsRequest& weights) {
  return attend_to(x, x, x, mask, weights);
}

AttentionOutput MultiHeadSelfAttentionImpl::step(const torch::Tensor& x, KeyValueCache& cache,
                                                 const AttentionMask& mask,
                                                 const WeightsRequest& weights) const {
  return attend_to_cached(x, cache, mask, weights);
}

MultiHeadCrossAttentionImpl::MultiHeadCrossAttentionImpl(int64_t query_dim, int64_t key_dim,
                                                         int64_t embed_dim, int64_t num_heads)
    : MultiHeadCrossAttentionImpl(MultiHeadAttentionOptions(embed_dim, num_heads)
                                      .query_dim(query_dim)
                                      .key_dim(key_dim)
                                      .value_dim(key_dim)) {}

MultiHeadCrossAttentionImpl::MultiHeadCrossAttentionImpl(const MultiHeadAttentionOptions& options_)
    : MultiHeadAttentionBase(options_) {
  TORCH_CHECK_VALUE(options.key_dim() == options.value_dim(),
                    "MultiHeadCrossAttention: expected value_dim equal to key_dim ",
                    options.key_dim(), ", got ", options.value_dim());
}

AttentionOutput MultiHeadCrossAttentionImpl::forward(const torch::Tensor& x,
                                                     const torch::Tensor& memory,
                                                     const AttentionMask& mask,
                                                     const WeightsRequest& weights) {
  return attend_to(x, memory, memory, mask, weights);
}

CausalSelfAttentionOptions::CausalSelfAttentionOptions(const MultiHeadAttentionOptions& attention,
                                                       int64_t max_length)
    : attention_(attention), max_length_(max_length) {}

CausalSelfAttentionImpl::CausalSelfAttentionImpl(const CausalSelfAttentionOptions& options_)
    : MultiHeadAttentionBase(one_size("CausalSelfAttention", options_.attention())),
      max_length(options_.max_length()) {
  detail::check_positive("CausalSelfAttention", "max_length", max_length);
}

AttentionOutput CausalSelfAttentionImpl::forward(const torch::Tensor& x, const AttentionMask& mask,
                                                 const WeightsRequest& weights) {
  detail::check_rank("CausalSelfAttention", "x", x, 2, 3);
  TORCH_CHECK_VALUE(x.size(-2) <= max_length,
                    "CausalSelfAttention: expected a sequence of at most max_length ", max_length,
                    " positions, got ", x.size(-2));
  return attend_to(x, x, x, AttentionMask::causal() & mask, weights);
}

AttentionOutput CausalSelfAttentionImpl::step(const torch::Tensor& x, KeyValueCache& cache,
                                              const AttentionMask& mask,
                                              const WeightsRequest& weights) const {
  detail::check_rank("CausalSelfAttention", "x", x, 3, 3);
  TORCH_CHECK_VALUE(cache.length() + x.size(1) <= max_length,
                    "CausalSelfAttention: expected a sequence of at most max_length ", max_length,
                    " positions, got ", cache.length(), " cached and ", x.size(1), " new ones");
  return attend_to_cached(x, cache, AttentionMask::causal() & mask, weights);
}

}  // namespace attend
