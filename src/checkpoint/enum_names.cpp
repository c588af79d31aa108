#include "checkpoint/enum_names.h"

namespace attend::detail {

const EnumNames<Activation>& activation_names() {
  static const EnumNames<Activation> names{
      {"relu", Activation::kRelu},         {"gelu", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"swish", Activation::kSwish},       {"silu", Activation::kSwish}};
  return names;
}

const EnumNames<PositionKind>& position_names() {
  static const EnumNames<PositionKind> names{{"sinusoidal_halves", PositionKind::kSinusoidalHalves},
                                             {"sinusoidal", PositionKind::kSinusoidal},
                                             {"learned", PositionKind::kLearned},
                                             {"none", PositionKind::kNone}};
  return names;
}

const EnumNames<NormOrder>& norm_order_names() {
  static const EnumNames<NormOrder> names{{"post", NormOrder::kPost}, {"pre", NormOrder::kPre}};
  return names;
}

const EnumNames<NormKind>& norm_names() {
  static const EnumNames<NormKind> names{{"layer", NormKind::kLayer}, {"rms", NormKind::kRms}};
  return names;
}

const EnumNames<RotaryPairing>& rotary_pairing_names() {
  static const EnumNames<RotaryPairing> names{{"halves", RotaryPairing::kHalves},
                                              {"interleaved", RotaryPairing::kInterleaved}};
  return names;
}

const EnumNames<RotaryScalingKind>& rotary_scaling_names() {
  static const EnumNames<RotaryScalingKind> names{{"default", RotaryScalingKind::kNone},
                                                  {"linear", RotaryScalingKind::kLinear},
                                                  {"ntk", RotaryScalingKind::kNtk},
                                                  {"llama3", RotaryScalingKind::kLlama3},
                                                  {"yarn", RotaryScalingKind::kYarn}};
  return names;
}

}  // namespace attend::detail
