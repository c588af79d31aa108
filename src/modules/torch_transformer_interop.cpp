// Conversion of Transformer layers and stacks from and to torch::nn.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "attend/modules/torch_interop.h"
#include "modules/enum_names.h"
#include "modules/torch_pairing.h"

namespace attend {
namespace {

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

// The class name that users write: "torch::nn::Linear" for a torch::nn::LinearImpl.
std::string class_name(const torch::nn::Module& module) {
  constexpr std::string_view kSuffix = "Impl";
  const auto& name = module.name();
  return name.ends_with(kSuffix) ? name.substr(0, name.size() - kSuffix.size()) : name;
}

// Casts a module of a torch::nn stack, which stores its modules untyped.
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

}  // namespace

namespace detail {
namespace {

void pair(Pairing& pairing, const std::string& name, const Norm& ours,
          const torch::nn::LayerNorm& theirs) {
  TORCH_CHECK_VALUE(ours->options.kind() == NormKind::kLayer, pairing.who(), ": expected ", name,
                    " of NormKind::kLayer, the only one of torch::nn's, got kRms");
  pairing.require_same(name + ".eps", ours->options.eps(), theirs->options.eps());
  pairing.add(name + ".weight", ours->weight, theirs->weight);
  pairing.add(name + ".bias", ours->bias, theirs->bias);
}

template <typename Layer, typename TorchLayer>
void check_layer(const Pairing& pairing, const std::string& prefix, const Layer& ours,
                 const TorchLayer& theirs) {
  TORCH_CHECK_VALUE(ours.options.norm_order() == NormOrder::kPost, pairing.who(), ": expected ",
                    prefix, "norm_order kPost, the only one of torch::nn's, got kPre");
  pairing.require_same<std::string>(
      prefix + "activation", name_of(ours.options.activation()),
      name_of(activation_from_torch(pairing.who(), theirs.options.activation())));
  TORCH_CHECK_VALUE(!ours.options.feed_forward().gated(), pairing.who(), ": expected ", prefix,
                    "feed_forward without a gate, which torch::nn does not have, got a gated one");
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

}  // namespace

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

}  // namespace detail

namespace {

torch::nn::TransformerEncoder encoder_of(const char* who, const torch::nn::Transformer& module) {
  return typed<torch::nn::TransformerEncoderImpl>(who, "torch::nn::TransformerEncoder as encoder",
                                                  module->encoder.ptr());
}

torch::nn::TransformerDecoder decoder_of(const char* who, const torch::nn::Transformer& module) {
  return typed<torch::nn::TransformerDecoderImpl>(who, "torch::nn::TransformerDecoder as decoder",
                                                  module->decoder.ptr());
}

detail::Pairing paired_stacks(const char* who, const TransformerStacks& ours,
                              const torch::nn::Transformer& theirs) {
  detail::Pairing pairing(who);
  pair(pairing, "encoder.", *ours.encoder, *encoder_of(who, theirs));
  pair(pairing, "decoder.", *ours.decoder, *decoder_of(who, theirs));
  return pairing;
}

// torch::nn has one dropout option for a layer, but each submodule stores its own rate.
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

// The layer options of a stack: those of its first layer, or of the exemplar layer if it is empty.
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

void copy_weights(const torch::nn::TransformerEncoderLayer& from, TransformerEncoderLayer& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerDecoderLayer& from, TransformerDecoderLayer& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerEncoder& from, TransformerEncoder& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::TransformerDecoder& from, TransformerDecoder& to) {
  detail::paired("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const torch::nn::Transformer& from, TransformerStacks& to) {
  paired_stacks("copy_weights", to, from).copy_from_torch();
}
void copy_weights(const TransformerEncoderLayer& from, torch::nn::TransformerEncoderLayer& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerDecoderLayer& from, torch::nn::TransformerDecoderLayer& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerEncoder& from, torch::nn::TransformerEncoder& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerDecoder& from, torch::nn::TransformerDecoder& to) {
  detail::paired("copy_weights", from, to).copy_to_torch();
}
void copy_weights(const TransformerStacks& from, torch::nn::Transformer& to) {
  paired_stacks("copy_weights", from, to).copy_to_torch();
}

TransformerEncoderLayer from_torch(const torch::nn::TransformerEncoderLayer& from) {
  return detail::filled_from_torch(TransformerEncoderLayer(layer_options_from_torch(*from)), from);
}

TransformerDecoderLayer from_torch(const torch::nn::TransformerDecoderLayer& from) {
  return detail::filled_from_torch(TransformerDecoderLayer(layer_options_from_torch(*from)), from);
}

TransformerEncoder from_torch(const torch::nn::TransformerEncoder& from) {
  const auto layer = stack_options_from_torch<torch::nn::TransformerEncoderLayerImpl>(
      *from, from->options.encoder_layer());
  const auto num_layers = static_cast<int64_t>(from->layers->size());
  return detail::filled_from_torch(
      TransformerEncoder(
          TransformerEncoderOptions(layer, num_layers).final_norm(!from->norm.is_empty())),
      from);
}

TransformerDecoder from_torch(const torch::nn::TransformerDecoder& from) {
  const auto layer = stack_options_from_torch<torch::nn::TransformerDecoderLayerImpl>(
      *from, from->options.decoder_layer());
  const auto num_layers = static_cast<int64_t>(from->layers->size());
  return detail::filled_from_torch(
      TransformerDecoder(
          TransformerDecoderOptions(layer, num_layers).final_norm(!from->norm.is_empty())),
      from);
}

TransformerStacks from_torch(const torch::nn::Transformer& from) {
  return {from_torch(encoder_of("from_torch", from)), from_torch(decoder_of("from_torch", from))};
}

torch::nn::TransformerEncoderLayer to_torch(const TransformerEncoderLayer& from) {
  return detail::filled_to_torch(
      from, empty_torch_layer<torch::nn::TransformerEncoderLayer,
                              torch::nn::TransformerEncoderLayerOptions>(from->options));
}

torch::nn::TransformerDecoderLayer to_torch(const TransformerDecoderLayer& from) {
  return detail::filled_to_torch(
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
  return detail::filled_to_torch(from, torch::nn::TransformerEncoder(std::move(options)));
}

torch::nn::TransformerDecoder to_torch(const TransformerDecoder& from) {
  const auto& layer = from->options.layer();
  auto options = torch::nn::TransformerDecoderOptions(
      empty_torch_layer<torch::nn::TransformerDecoderLayer,
                        torch::nn::TransformerDecoderLayerOptions>(layer),
      from->options.num_layers());
  if (from->options.final_norm()) options.norm(empty_torch_norm(layer));
  return detail::filled_to_torch(from, torch::nn::TransformerDecoder(std::move(options)));
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
  detail::take_kind(*to, *from.encoder);
  paired_stacks("to_torch", from, to).copy_to_torch();
  return to;
}

}  // namespace attend
