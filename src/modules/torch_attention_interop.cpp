// Conversion of attention modules from and to torch::nn.
#include <string>

#include "attend/modules/torch_interop.h"
#include "modules/torch_pairing.h"

namespace attend {
namespace detail {

void pair(Pairing& pairing, const std::string& name, const torch::nn::Linear& ours,
          const torch::nn::Linear& theirs) {
  pairing.add(name + ".weight", ours->weight, theirs->weight);
  pairing.add(name + ".bias", ours->bias, theirs->bias);
}

template <typename Derived>
void pair(Pairing& pairing, const std::string& prefix, const MultiHeadAttentionBase<Derived>& ours,
          const torch::nn::MultiheadAttentionImpl& theirs) {
  const auto* who = pairing.who();
  const auto& options = ours.options;
  const auto refuse = [&](bool has_it, const char* what) {
    TORCH_CHECK_VALUE(!has_it, who, ": expected a module without ", what,
                      ", which torch::nn does not have, got ", prefix, what);
  };
  refuse(options.num_kv_heads() != options.num_heads(), "num_kv_heads");
  refuse(options.scale().has_value(), "scale");
  refuse(options.rotary().has_value(), "rotary");
  refuse(options.alibi(), "alibi");
  refuse(options.relative_bias().has_value(), "relative_bias");
  refuse(options.window().has_value(), "window");
  refuse(options.qk_norm(), "qk_norm");
  refuse(options.soft_cap() > 0.0, "soft_cap");
  refuse(options.sinks(), "sinks");
  const auto embed_dim = theirs.options.embed_dim();
  pairing.require_same(prefix + "embed_dim", options.embed_dim(), embed_dim);
  pairing.require_same(prefix + "num_heads", options.num_heads(), theirs.options.num_heads());
  pairing.require_same(prefix + "query_dim", options.query_dim(), embed_dim);
  pairing.require_same(prefix + "key_dim", options.key_dim(), theirs.options.kdim());
  pairing.require_same(prefix + "value_dim", options.value_dim(), theirs.options.vdim());
  pairing.require_same(prefix + "bias", options.bias(), theirs.options.bias());
  pairing.require_same(prefix + "add_bias_kv", options.add_bias_kv(), theirs.options.add_bias_kv());
  pairing.require_same(prefix + "add_zero_attn", options.add_zero_attn(),
                       theirs.options.add_zero_attn());

  const auto part = [&](const torch::Tensor& packed, int64_t i) {
    return packed.detach().narrow(0, i * embed_dim, embed_dim);
  };
  if (theirs._qkv_same_embed_dim) {
    const auto& packed = theirs.in_proj_weight;
    check_shape(who, prefix + "in_proj_weight", packed, {3 * embed_dim, embed_dim});
    pairing.add(prefix + "q_proj.weight", ours.q_proj->weight, part(packed, 0));
    pairing.add(prefix + "k_proj.weight", ours.k_proj->weight, part(packed, 1));
    pairing.add(prefix + "v_proj.weight", ours.v_proj->weight, part(packed, 2));
  } else {
    pairing.add(prefix + "q_proj.weight", ours.q_proj->weight, theirs.q_proj_weight);
    pairing.add(prefix + "k_proj.weight", ours.k_proj->weight, theirs.k_proj_weight);
    pairing.add(prefix + "v_proj.weight", ours.v_proj->weight, theirs.v_proj_weight);
  }
  if (theirs.options.bias()) {
    const auto& packed = theirs.in_proj_bias;
    check_shape(who, prefix + "in_proj_bias", packed, {3 * embed_dim});
    pairing.add(prefix + "q_proj.bias", ours.q_proj->bias, part(packed, 0));
    pairing.add(prefix + "k_proj.bias", ours.k_proj->bias, part(packed, 1));
    pairing.add(prefix + "v_proj.bias", ours.v_proj->bias, part(packed, 2));
  }
  if (options.add_bias_kv()) {
    pairing.add(prefix + "bias_k", ours.bias_k, theirs.bias_k);
    pairing.add(prefix + "bias_v", ours.bias_v, theirs.bias_v);
  }
  pair(pairing, prefix + "out_proj", ours.out_proj, theirs.out_proj);
}

template void pair(Pairing&, const std::string&,
                   const MultiHeadAttentionBase<MultiHeadAttentionImpl>&,
                   const torch::nn::MultiheadAttentionImpl&);
template void pair(Pairing&, const std::string&,
                   const MultiHeadAttentionBase<CausalSelfAttentionImpl>&,
                   const torch::nn::MultiheadAttentionImpl&);
template void pair(Pairing&, const std::string&,
                   const MultiHeadAttentionBase<MultiHeadSelfAttentionImpl>&,
                   const torch::nn::MultiheadAttentionImpl&);
template void pair(Pairing&, const std::string&,
                   const MultiHeadAttentionBase<MultiHeadCrossAttentionImpl>&,
                   const torch::nn::MultiheadAttentionImpl&);

void take_kind(torch::nn::Module& made, const torch::nn::Module& from) {
  const auto parameters = from.parameters();
  if (!parameters.empty()) made.to(parameters[0].device(), parameters[0].scalar_type());
  made.train(from.is_training());
}

}  // namespace detail

namespace {

MultiHeadAttentionOptions options_from_torch(const torch::nn::MultiheadAttention& module) {
  const auto& options = module->options;
  return MultiHeadAttentionOptions(options.embed_dim(), options.num_heads())
      .key_dim(options.kdim())
      .value_dim(options.vdim())
      .dropout(options.dropout())
      .bias(options.bias())
      .add_bias_kv(options.add_bias_kv())
      .add_zero_attn(options.add_zero_attn());
}

template <typename Module>
torch::nn::MultiheadAttention attention_to_torch(const Module& module) {
  const auto& options = module->options;
  return detail::filled_to_torch(
      module, torch::nn::MultiheadAttention(
                  torch::nn::MultiheadAttentionOptions(options.embed_dim(), options.num_heads())
                      .kdim(options.key_dim())
                      .vdim(options.value_dim())
                      .dropout(options.dropout())
                      .bias(options.bias())
                      .add_bias_kv(options.add_bias_kv())
                      .add_zero_attn(options.add_zero_attn())));
}

}  // namespace

void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadAttention& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadSelfAttention& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadCrossAttention& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::MultiheadAttention& from, CausalSelfAttention& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const MultiHeadAttention& from, torch::nn::MultiheadAttention& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const MultiHeadSelfAttention& from, torch::nn::MultiheadAttention& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const MultiHeadCrossAttention& from, torch::nn::MultiheadAttention& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const CausalSelfAttention& from, torch::nn::MultiheadAttention& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}

MultiHeadAttention from_torch(const torch::nn::MultiheadAttention& from) {
  return detail::filled_from_torch(MultiHeadAttention(options_from_torch(from)), from);
}

MultiHeadSelfAttention self_attention_from_torch(const torch::nn::MultiheadAttention& from) {
  return detail::filled_from_torch(MultiHeadSelfAttention(options_from_torch(from)), from);
}

torch::nn::MultiheadAttention to_torch(const MultiHeadAttention& from) {
  return attention_to_torch(from);
}
torch::nn::MultiheadAttention to_torch(const MultiHeadSelfAttention& from) {
  return attention_to_torch(from);
}
torch::nn::MultiheadAttention to_torch(const MultiHeadCrossAttention& from) {
  return attention_to_torch(from);
}

}  // namespace attend
