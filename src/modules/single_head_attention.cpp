#include "attend/modules/single_head_attention.h"

#include "attend/modules/cross_attention.h"
#include "attend/modules/self_attention.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"
#include "modules/transformer_parts.h"

namespace attend {
namespace {

template <typename Derived>
constexpr const char* kSingleHeadName = nullptr;
template <>
constexpr const char* kSingleHeadName<SelfAttentionImpl> = "SelfAttention";
template <>
constexpr const char* kSingleHeadName<CrossAttentionImpl> = "CrossAttention";

}  // namespace

SingleHeadAttentionOptions::SingleHeadAttentionOptions(int64_t embed_dim)
    : SingleHeadAttentionOptions(embed_dim, embed_dim) {}

SingleHeadAttentionOptions::SingleHeadAttentionOptions(int64_t query_dim, int64_t key_dim)
    : query_dim_(query_dim), key_dim_(key_dim), hidden_dim_(query_dim), output_dim_(query_dim) {}

template <typename Derived>
SingleHeadAttentionBase<Derived>::SingleHeadAttentionBase(
    const SingleHeadAttentionOptions& options_)
    : options(options_) {
  SingleHeadAttentionBase::reset();
}

template <typename Derived>
void SingleHeadAttentionBase<Derived>::reset() {
  constexpr auto kName = kSingleHeadName<Derived>;
  detail::check_positive(kName, "query_dim", options.query_dim());
  detail::check_positive(kName, "key_dim", options.key_dim());
  detail::check_positive(kName, "hidden_dim", options.hidden_dim());
  detail::check_positive(kName, "output_dim", options.output_dim());
  detail::check_probability(kName, "dropout", options.dropout());
  const auto projection = [&](const char* name, int64_t from, int64_t to) {
    return this->register_module(name, detail::make_linear(from, to, options.bias()));
  };
  k_proj = projection("k_proj", options.key_dim(), options.hidden_dim());
  v_proj = projection("v_proj", options.key_dim(), options.output_dim());
  q_proj = projection("q_proj", options.query_dim(), options.hidden_dim());
}

template <typename Derived>
void SingleHeadAttentionBase<Derived>::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, kSingleHeadName<Derived>)
      .value("query_dim", options.query_dim())
      .value("key_dim", options.key_dim())
      .value("hidden_dim", options.hidden_dim())
      .value("output_dim", options.output_dim())
      .changed("dropout", options.dropout(), 0.0)
      .changed("bias", options.bias(), true)
      .end();
}

template <typename Derived>
AttentionOutput SingleHeadAttentionBase<Derived>::attend(const torch::Tensor& x,
                                                         const torch::Tensor& memory,
                                                         const AttentionMask& mask,
                                                         const WeightsRequest& weights) const {
  constexpr auto kName = kSingleHeadName<Derived>;
  detail::check_rank(kName, "x", x, 2, 3);
  detail::check_rank(kName, "memory", memory, x.dim(), x.dim());
  TORCH_CHECK(x.dim() == 2 || x.size(0) == memory.size(0), kName,
              ": expected x and memory of one batch size, got ", detail::shape_string(x.sizes()),
              " and ", detail::shape_string(memory.sizes()));
  return functional::scaled_dot_product_attention(
      functional::linear(x, q_proj, kName), functional::linear(memory, k_proj, kName),
      functional::linear(memory, v_proj, kName), mask, weights,
      {.dropout_p = this->is_training() ? options.dropout() : 0.0, .scale = {}});
}

template class SingleHeadAttentionBase<SelfAttentionImpl>;
template class SingleHeadAttentionBase<CrossAttentionImpl>;

SelfAttentionImpl::SelfAttentionImpl(const SingleHeadAttentionOptions& options_)
    : SingleHeadAttentionBase(options_) {
  TORCH_CHECK_VALUE(options.query_dim() == options.key_dim(),
                    "SelfAttention: expected key_dim equal to query_dim ", options.query_dim(),
                    ", got ", options.key_dim());
}

AttentionOutput SelfAttentionImpl::forward(const torch::Tensor& x, const AttentionMask& mask,
                                           const WeightsRequest& weights) {
  return attend(x, x, mask, weights);
}

CrossAttentionImpl::CrossAttentionImpl(const SingleHeadAttentionOptions& options_)
    : SingleHeadAttentionBase(options_) {}

AttentionOutput CrossAttentionImpl::forward(const torch::Tensor& x, const torch::Tensor& memory,
                                            const AttentionMask& mask,
                                            const WeightsRequest& weights) {
  return attend(x, memory, mask, weights);
}

}  // namespace attend
