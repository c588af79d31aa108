#include "attend/modules/torch_interop.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "detail/check.h"
#include "detail/named_tensors.h"
#include "modules/enum_names.h"

namespace attend {
namespace {

// What belongs together in a module of attend and one of torch::nn. It is collected and checked
// first, in either direction alike, and copied only when all of it fits.
class Pairing {
 public:
  explicit Pairing(const char* who) : who_(who) {}

  const char* who() const { return who_; }

  // An option on which the computed values depend.
  template <typename T>
  void require_same(const std::string& name, const T& ours, const T& theirs) const {
    TORCH_CHECK_VALUE(ours == theirs, who_, ": expected ", name, " ", theirs,
                      " as in the torch::nn module, got ", ours);
  }
  void require_same(const std::string& name, bool ours, bool theirs) const {
    require_same<std::string>(name, ours ? "true" : "false", theirs ? "true" : "false");
  }

  // Both undefined is fine: a bias that neither side has.
  void add(const std::string& name, const torch::Tensor& ours, const torch::Tensor& theirs) {
    if (!ours.defined() && !theirs.defined()) return;
    TORCH_CHECK(theirs.defined(), who_, ": expected ", name, " in the torch::nn module, got none");
    detail::check_shape(who_, name, ours, theirs.sizes());
    pairs_.push_back({ours.detach(), theirs.detach()});
  }

  void copy_from_torch() const {
    const torch::NoGradGuard no_grad;
    for (const auto& pair : pairs_) pair.ours.copy_(pair.theirs);
  }
  void copy_to_torch() const {
    const torch::NoGradGuard no_grad;
    for (const auto& pair : pairs_) pair.theirs.copy_(pair.ours);
  }

 private:
  struct Pair {
    torch::Tensor ours, theirs;
  };
  const char* who_;
  std::vector<Pair> pairs_;
};

Activation activation_from_torch(const char* who, const torch::nn::activation_t& activation) {
  if (std::holds_alternative<torch::enumtype::kReLU>(activation)) return Activation::kRelu;
  TORCH_CHECK_VALUE(std::holds_alternative<torch::enumtype::kGELU>(activation), who,
                    ": expected activation relu or gelu, got a user-defined function");
  return Activation::kGelu;
}

torch::nn::activation_t activation_to_torch(const char* who, Activation activation) {
  TORCH_CHECK_VALUE(activation == Activation::kRelu || activation == Activation::kGelu, who,
                    ": expected activation relu or gelu, got ", detail::name_of(activation));
  if (activation == Activation::kRelu) return torch::kReLU;
  return torch::kGELU;
}

// The name that a user of torch::nn knows: "torch::nn::Linear" of a torch::nn::LinearImpl.
std::string class_name(const torch::nn::Module& module) {
  constexpr std::string_view kSuffix = "Impl";
  const auto& name = module.name();
  return name.ends_with(kSuffix) ? name.substr(0, name.size() - kSuffix.size()) : name;
}

// The modules of a stack, which torch::nn keeps untyped.
template <typename Contained>
std::shared_ptr<Contained> typed(const char* who, const char* expected,
                                 const std::shared_ptr<torch::nn::Module>& module) {
  auto result = std::dynamic_pointer_cast<Contained>(module);
  TORCH_CHECK_VALUE(result, who, ": expected a ", expected, ", got a ", class_name(*module));
  return result;
}

torch::nn::LayerNorm norm_of(const char* who, const torch::nn::AnyModule& norm) {
  if (norm.is_empty()) return nullptr;
  return typed<torch::nn::LayerNormImpl>(who, "torch::nn::LayerNorm as norm", norm.ptr());
}

void pair(Pairing& pairing, const std::string& name, const torch::nn::Linear& ours,
          const torch::nn::Linear& theirs) {
  pairing.add(name + ".weight", ours->weight, theirs->weight);
  pairing.add(name + ".bias", ours->bias, theirs->bias);
}

void pair(Pairing& pairing, const std::string& name, const Norm& ours,
          const torch::nn::LayerNorm& theirs) {
  TORCH_CHECK_VALUE(ours->options.kind() == NormKind::kLayer, pairing.who(), ": expected ", name,
                    " of NormKind::kLayer, the only one of torch::nn's, got kRms");
  pairing.require_same(name + ".eps", ours->options.eps(), theirs->options.eps());
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
    detail::check_shape(who, prefix + "in_proj_weight", packed, {3 * embed_dim, embed_dim});
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
    detail::check_shape(who, prefix + "in_proj_bias", packed, {3 * embed_dim});
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

template <typename Layer, typename TorchLayer>
void check_layer(const Pairing& pairing, const std::string& prefix, const Layer& ours,
                 const TorchLayer& theirs) {
  TORCH_CHECK_VALUE(ours.options.norm_order() == NormOrder::kPost, pairing.who(), ": expected ",
                    prefix, "norm_order kPost, the only one of torch::nn's, got kPre");
  pairing.require_same<std::string>(
      prefix + "activation", detail::name_of(ours.options.activation()),
      detail::name_of(activation_from_torch(pairing.who(), theirs.options.activation())));
  TORCH_CHECK_VALUE(!ours.options.feed_forward().gated(), pairing.who(), ": expected ", prefix,
                    "feed_forward without a gate, which torch::nn does not have, got a gated one");
}

void pair(Pairing& pairing, const std::string& prefix, const TransformerEncoderLayerImpl& ours,
          const torch::nn::TransformerEncoderLayerImpl& theirs) {
  check_layer(pairing, prefix, ours, theirs);
  pair(pairing, prefix + "self_attn.", *ours.self_attn, *theirs.self_attn);
  pair(pairing, prefix + "norm1", ours.self_attn_layer_norm, theirs.norm1);
  pair(pairing, prefix + "linear1", ours.feed_forward->fc1, theirs.linear1);
  pair(pairing, prefix + "linear2", ours.feed_forward->fc2, theirs.linear2);
  pair(pairing, prefix + "norm2", ours.final_layer_norm, theirs.norm2);
}

void pair(Pairing& pairing, const std::string& prefix, const TransformerDecoderLayerImpl& ours,
          const torch::nn::TransformerDecoderLayerImpl& theirs) {
  check_layer(pairing, prefix, ours, theirs);
  pair(pairing, prefix + "self_attn.", *ours.self_attn, *theirs.self_attn);
  pair(pairing, prefix + "norm1", ours.self_attn_layer_norm, theirs.norm1);
  pair(pairing, prefix + "multihead_attn.", *ours.encoder_attn, *theirs.multihead_attn);
  pair(pairing, prefix + "norm2", ours.encoder_attn_layer_norm, theirs.norm2);
  pair(pairing, prefix + "linear1", ours.feed_forward->fc1, theirs.linear1);
  pair(pairing, prefix + "linear2", ours.feed_forward->fc2, theirs.linear2);
  pair(pairing, prefix + "norm3", ours.final_layer_norm, theirs.norm3);
}

template <typename Layer, typename TorchLayer, typename Stack, typename TorchStack>
void pair_stacks(Pairing& pairing, const std::string& prefix, const Stack& ours,
                 const TorchStack& theirs) {
  pairing.require_same(prefix + "num_layers", ours.layers->size(), theirs.layers->size());
  for (size_t i = 0; i < ours.layers->size(); ++i) {
    const auto layer =
        typed<TorchLayer>(pairing.who(), "layer of torch::nn", theirs.layers->ptr(i));
    pair(pairing, prefix + "layers." + std::to_string(i) + ".", ours.layers->template at<Layer>(i),
         *layer);
  }
  const auto norm = norm_of(pairing.who(), theirs.norm);
  pairing.require_same(prefix + "final_norm", !ours.layer_norm.is_empty(), !norm.is_empty());
  if (norm) pair(pairing, prefix + "norm", ours.layer_norm, norm);
}

void pair(Pairing& pairing, const std::string& prefix, const TransformerEncoderImpl& ours,
          const torch::nn::TransformerEncoderImpl& theirs) {
  pair_stacks<TransformerEncoderLayerImpl, torch::nn::TransformerEncoderLayerImpl>(pairing, prefix,
                                                                                   ours, theirs);
}

void pair(Pairing& pairing, const std::string& prefix, const TransformerDecoderImpl& ours,
          const torch::nn::TransformerDecoderImpl& theirs) {
  pair_stacks<TransformerDecoderLayerImpl, torch::nn::TransformerDecoderLayerImpl>(pairing, prefix,
                                                                                   ours, theirs);
}

torch::nn::TransformerEncoder encoder_of(const char* who, const torch::nn::Transformer& module) {
  return typed<torch::nn::TransformerEncoderImpl>(who, "torch::nn::TransformerEncoder as encoder",
                                                  module->encoder.ptr());
}

torch::nn::TransformerDecoder decoder_of(const char* who, const torch::nn::Transformer& module) {
  return typed<torch::nn::TransformerDecoderImpl>(who, "torch::nn::TransformerDecoder as decoder",
                                                  module->decoder.ptr());
}

template <typename Ours, typename Theirs>
Pairing paired(const char* who, const Ours& ours, const Theirs& theirs) {
  Pairing pairing(who);
  pair(pairing, "", *ours, *theirs);
  return pairing;
}

Pairing paired(const char* who, const TransformerStacks& ours,
               const torch::nn::Transformer& theirs) {
  Pairing pairing(who);
  pair(pairing, "encoder.", *ours.encoder, *encoder_of(who, theirs));
  pair(pairing, "decoder.", *ours.decoder, *decoder_of(who, theirs));
  return pairing;
}

// Gives a module that was just made the dtype, device and mode of the one it was made from. This
// replaces its tensors, so it comes before they are paired.
void take_kind(torch::nn::Module& made, const torch::nn::Module& from) {
  const auto parameters = from.parameters();
  if (!parameters.empty()) made.to(parameters[0].device(), parameters[0].scalar_type());
  made.train(from.is_training());
}

template <typename Ours, typename Theirs>
Ours filled_from_torch(Ours ours, const Theirs& theirs) {
  take_kind(*ours, *theirs);
  paired("from_torch", ours, theirs).copy_from_torch();
  return ours;
}

template <typename Ours, typename Theirs>
Theirs filled_to_torch(const Ours& ours, Theirs theirs) {
  take_kind(*theirs, *ours);
  paired("to_torch", ours, theirs).copy_to_torch();
  return theirs;
}

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
  return filled_to_torch(
      module, torch::nn::MultiheadAttention(
                  torch::nn::MultiheadAttentionOptions(options.embed_dim(), options.num_heads())
                      .kdim(options.key_dim())
                      .vdim(options.value_dim())
                      .dropout(options.dropout())
                      .bias(options.bias())
                      .add_bias_kv(options.add_bias_kv())
                      .add_zero_attn(options.add_zero_attn())));
}

// torch::nn has one dropout option, but each of its submodules keeps a rate of its own.
template <typename TorchLayer>
TransformerLayerOptions layer_options_from_torch(const TorchLayer& layer) {
  return TransformerLayerOptions(layer.options.d_model(), layer.options.nhead())
      .feed_forward_dim(layer.options.dim_feedforward())
      .dropout(layer.dropout1->options.p())
      .attention_dropout(layer.self_attn->options.dropout())
      .activation_dropout(layer.dropout->options.p())
      .activation(activation_from_torch("from_torch", layer.options.activation()))
      .norm_eps(layer.norm1->options.eps())
      .bias(layer.self_attn->options.bias());
}

template <typename TorchLayer>
void set_shared_options(TorchLayer& layer, const TransformerLayerOptions& options) {
  layer.self_attn->options.dropout(options.attention_dropout());
  layer.dropout->options.p(options.activation_dropout());
  layer.dropout1->options.p(options.dropout());
  layer.dropout2->options.p(options.dropout());
  layer.norm1->options.eps(options.norm_eps());
  layer.norm2->options.eps(options.norm_eps());
}

void set_options(torch::nn::TransformerEncoderLayerImpl& layer,
                 const TransformerLayerOptions& options) {
  set_shared_options(layer, options);
}

void set_options(torch::nn::TransformerDecoderLayerImpl& layer,
                 const TransformerLayerOptions& options) {
  set_shared_options(layer, options);
  layer.multihead_attn->options.dropout(options.attention_dropout());
  layer.dropout3->options.p(options.dropout());
  layer.norm3->options.eps(options.norm_eps());
}

template <typename TorchLayer, typename TorchLayerOptions>
TorchLayer empty_torch_layer(const TransformerLayerOptions& options) {
  TorchLayer layer(TorchLayerOptions(options.embed_dim(), options.num_heads())
                       .dim_feedforward(options.feed_forward_dim())
                       .dropout(options.dropout())
                       .activation(activation_to_torch("to_torch", options.activation())));
  set_options(*layer, options);
  return layer;
}

torch::nn::AnyModule empty_torch_norm(const TransformerLayerOptions& options) {
  return torch::nn::AnyModule(torch::nn::LayerNorm(
      torch::nn::LayerNormOptions({options.embed_dim()}).eps(options.norm_eps())));
}

// The options of a stack's layers: those of the first one, or where there is none, of the one that
// they would be copied from.
template <typename TorchLayerImpl, typename TorchStack, typename TorchLayer>
TransformerLayerOptions stack_options_from_torch(const TorchStack& stack,
                                                 const TorchLayer& exemplar) {
  return layer_options_from_torch(
      stack.layers->is_empty()
          ? *exemplar
          : *typed<TorchLayerImpl>("from_torch", "layer of torch::nn", stack.layers->ptr(0)));
}

template <typename Layer, typename TorchStack>
void set_stack_options(TorchStack& stack, const TransformerLayerOptions& options) {
  for (const auto& layer : *stack.layers) set_options(*layer->template as<Layer>(), options);
  if (auto norm = norm_of("to_torch", stack.norm)) norm->options.eps(options.norm_eps());
}

}  // namespace

void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadAttention& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadSelfAttention& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadCrossAttention& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::MultiheadAttention& from, CausalSelfAttention& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerEncoderLayer& from, TransformerEncoderLayer& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerDecoderLayer& from, TransformerDecoderLayer& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerEncoder& from, TransformerEncoder& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerDecoder& from, TransformerDecoder& to) {
  paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::Transformer& from, TransformerStacks& to) {
  paired("copy_weights", to, from).copy_from_torch();
}

void copy_weights(const MultiHeadAttention& from, torch::nn::MultiheadAttention& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const MultiHeadSelfAttention& from, torch::nn::MultiheadAttention& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const MultiHeadCrossAttention& from, torch::nn::MultiheadAttention& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const CausalSelfAttention& from, torch::nn::MultiheadAttention& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerEncoderLayer& from, torch::nn::TransformerEncoderLayer& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerDecoderLayer& from, torch::nn::TransformerDecoderLayer& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerEncoder& from, torch::nn::TransformerEncoder& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerDecoder& from, torch::nn::TransformerDecoder& to) {
  paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerStacks& from, torch::nn::Transformer& to) {
  paired("copy_weights", from, to).copy_to_torch();
}

MultiHeadAttention from_torch(const torch::nn::MultiheadAttention& from) {
  return filled_from_torch(MultiHeadAttention(options_from_torch(from)), from);
}

MultiHeadSelfAttention self_attention_from_torch(const torch::nn::MultiheadAttention& from) {
  return filled_from_torch(MultiHeadSelfAttention(options_from_torch(from)), from);
}

TransformerEncoderLayer from_torch(const torch::nn::TransformerEncoderLayer& from) {
  return filled_from_torch(TransformerEncoderLayer(layer_options_from_torch(*from)), from);
}

TransformerDecoderLayer from_torch(const torch::nn::TransformerDecoderLayer& from) {
  return filled_from_torch(TransformerDecoderLayer(layer_options_from_torch(*from)), from);
}

TransformerEncoder from_torch(const torch::nn::TransformerEncoder& from) {
  const auto layer = stack_options_from_torch<torch::nn::TransformerEncoderLayerImpl>(
      *from, from->options.encoder_layer());
  const auto num_layers = static_cast<int64_t>(from->layers->size());
  return filled_from_torch(
      TransformerEncoder(
          TransformerEncoderOptions(layer, num_layers).final_norm(!from->norm.is_empty())),
      from);
}

TransformerDecoder from_torch(const torch::nn::TransformerDecoder& from) {
  const auto layer = stack_options_from_torch<torch::nn::TransformerDecoderLayerImpl>(
      *from, from->options.decoder_layer());
  const auto num_layers = static_cast<int64_t>(from->layers->size());
  return filled_from_torch(
      TransformerDecoder(
          TransformerDecoderOptions(layer, num_layers).final_norm(!from->norm.is_empty())),
      from);
}

TransformerStacks from_torch(const torch::nn::Transformer& from) {
  return {from_torch(encoder_of("from_torch", from)), from_torch(decoder_of("from_torch", from))};
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

torch::nn::TransformerEncoderLayer to_torch(const TransformerEncoderLayer& from) {
  return filled_to_torch(
      from, empty_torch_layer<torch::nn::TransformerEncoderLayer,
                              torch::nn::TransformerEncoderLayerOptions>(from->options));
}

torch::nn::TransformerDecoderLayer to_torch(const TransformerDecoderLayer& from) {
  return filled_to_torch(
      from, empty_torch_layer<torch::nn::TransformerDecoderLayer,
                              torch::nn::TransformerDecoderLayerOptions>(from->options));
}

torch::nn::TransformerEncoder to_torch(const TransformerEncoder& from) {
  const auto& layer = from->options.layer();
  auto options = torch::nn::TransformerEncoderOptions(
      empty_torch_layer<torch::nn::TransformerEncoderLayer,
                        torch::nn::TransformerEncoderLayerOptions>(layer),
      from->options.num_layers());
  if (from->options.final_norm()) options.norm(empty_torch_norm(layer));
  return filled_to_torch(from, torch::nn::TransformerEncoder(std::move(options)));
}

torch::nn::TransformerDecoder to_torch(const TransformerDecoder& from) {
  const auto& layer = from->options.layer();
  auto options = torch::nn::TransformerDecoderOptions(
      empty_torch_layer<torch::nn::TransformerDecoderLayer,
                        torch::nn::TransformerDecoderLayerOptions>(layer),
      from->options.num_layers());
  if (from->options.final_norm()) options.norm(empty_torch_norm(layer));
  return filled_to_torch(from, torch::nn::TransformerDecoder(std::move(options)));
}

torch::nn::Transformer to_torch(const TransformerStacks& from) {
  const auto& layer = from.encoder->options.layer();
  auto to =
      torch::nn::Transformer(torch::nn::TransformerOptions(layer.embed_dim(), layer.num_heads(),
                                                           from.encoder->options.num_layers(),
                                                           from.decoder->options.num_layers())
                                 .dim_feedforward(layer.feed_forward_dim())
                                 .dropout(layer.dropout())
                                 .activation(activation_to_torch("to_torch", layer.activation())));
  const auto encoder = encoder_of("to_torch", to);
  const auto decoder = decoder_of("to_torch", to);
  set_stack_options<torch::nn::TransformerEncoderLayerImpl>(*encoder, layer);
  set_stack_options<torch::nn::TransformerDecoderLayerImpl>(*decoder,
                                                            from.decoder->options.layer());
  take_kind(*to, *from.encoder);
  paired("to_torch", from, to).copy_to_torch();
  return to;
}

template <typename Module>
std::map<std::string, torch::Tensor> torch_state(const Module& from) {
  // C++ and Python have the same names.
  return detail::named_parameters(*to_torch(from));
}

template <typename Module>
void load_torch_state(const std::map<std::string, torch::Tensor>& state, Module& to) {
  const auto theirs = to_torch(to);
  detail::fill_all(
      detail::named_parameters(*theirs), state, "module", [](const std::string& problems) {
        TORCH_CHECK(false, "load_torch_state: expected the weights of the module, got ", problems);
      });
  copy_weights(theirs, to);
}

// A type cannot be put in parentheses. NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_TORCH_STATE(Module)                                                     \
  template ATTEND_API std::map<std::string, torch::Tensor> torch_state(const Module&); \
  template ATTEND_API void load_torch_state(const std::map<std::string, torch::Tensor>&, Module&)
// NOLINTEND(bugprone-macro-parentheses)
ATTEND_TORCH_STATE(MultiHeadAttention);
ATTEND_TORCH_STATE(MultiHeadSelfAttention);
ATTEND_TORCH_STATE(MultiHeadCrossAttention);
ATTEND_TORCH_STATE(TransformerEncoderLayer);
ATTEND_TORCH_STATE(TransformerDecoderLayer);
ATTEND_TORCH_STATE(TransformerEncoder);
ATTEND_TORCH_STATE(TransformerDecoder);
ATTEND_TORCH_STATE(TransformerStacks);
#undef ATTEND_TORCH_STATE

}  // namespace attend
