#include "training/model_identity.h"

#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"

namespace attend::detail {
namespace {

const char* name_of(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return "relu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu-tanh";
    case Activation::kSwish:
      return "swish";
  }
  TORCH_INTERNAL_ASSERT(false, "activation");
}

const char* name_of(PositionKind kind) {
  switch (kind) {
    case PositionKind::kSinusoidal:
      return "sinusoidal";
    case PositionKind::kSinusoidalHalves:
      return "sinusoidal-halves";
    case PositionKind::kLearned:
      return "learned";
    case PositionKind::kNone:
      return "none";
  }
  TORCH_INTERNAL_ASSERT(false, "positions");
}

}  // namespace

nlohmann::json model_identity(const TranslationModel& model) {
  const auto special = model.special_tokens();
  nlohmann::json identity{
      {"eos id", special.eos_id}, {"pad id", special.pad_id}, {"start id", special.start_id}};
  if (const auto* transformer = dynamic_cast<const Seq2SeqImpl*>(&model)) {
    const auto& o = transformer->options;
    identity.update({{"encoder heads", o.encoder_heads()},
                     {"decoder heads", o.decoder_heads()},
                     {"activation", name_of(o.activation())},
                     {"pre-norm", o.norm_order() == NormOrder::kPre},
                     {"positions", name_of(o.positions())},
                     {"scaled embeddings", o.scale_embedding()},
                     {"shared embeddings", o.share_embeddings()}});
    return identity;
  }
  if (dynamic_cast<const RecurrentSeq2SeqImpl*>(&model) != nullptr) return identity;
  return nlohmann::json::object();
}

}  // namespace attend::detail
