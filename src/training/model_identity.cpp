#include "training/model_identity.h"

#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "checkpoint/layer_json.h"
#include "modules/enum_names.h"

namespace attend::detail {
namespace {

// Two have names of their own in snapshots.
std::string name_in_snapshots(Activation activation) {
  return activation == Activation::kGeluTanh ? "gelu-tanh" : name_of(activation);
}

std::string name_in_snapshots(PositionKind kind) {
  return kind == PositionKind::kSinusoidalHalves ? "sinusoidal-halves" : name_of(kind);
}

// Adds all options of a layer where there is one that no other key says, nor the shapes of weights.
// Dropout may change from run to run.
void add_other_options(nlohmann::json& identity, const char* key, TransformerLayerOptions layer,
                       const TransformerLayerOptions& encoder) {
  layer.dropout(0.0).attention_dropout(0.0).activation_dropout(0.0);
  const auto plain = TransformerLayerOptions(layer.embed_dim(), layer.num_heads())
                         .feed_forward_dim(layer.feed_forward_dim())
                         .activation(encoder.activation())
                         .norm_order(encoder.norm_order())
                         .dropout(0.0);
  if (layer_json(layer) != layer_json(plain)) identity[key] = layer_json(layer);
}

}  // namespace

nlohmann::json model_identity(const TranslationModel& model) {
  const auto special = model.special_tokens();
  nlohmann::json identity{
      {"eos id", special.eos_id}, {"pad id", special.pad_id}, {"start id", special.start_id}};
  if (const auto* transformer = dynamic_cast<const Seq2SeqImpl*>(&model)) {
    const auto& o = transformer->options;
    const auto &encoder = o.encoder_layer(), &decoder = o.decoder_layer();
    identity.update({{"encoder heads", encoder.num_heads()},
                     {"decoder heads", decoder.num_heads()},
                     {"activation", name_in_snapshots(encoder.activation())},
                     {"pre-norm", encoder.norm_order() == NormOrder::kPre},
                     {"positions", name_in_snapshots(o.positions())},
                     {"scaled embeddings", o.scale_embedding()},
                     {"shared embeddings", o.share_embeddings()}});
    add_other_options(identity, "encoder layer", encoder, encoder);
    add_other_options(identity, "decoder layer", decoder, encoder);
    return identity;
  }
  if (dynamic_cast<const RecurrentSeq2SeqImpl*>(&model) != nullptr) return identity;
  return nlohmann::json::object();
}

}  // namespace attend::detail
