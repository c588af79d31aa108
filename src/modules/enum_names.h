#pragma once

#include <c10/util/Exception.h>

#include <array>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "attend/functional/attention.h"
#include "attend/functional/feed_forward.h"
#include "attend/functional/rotary.h"
#include "attend/modules/norm.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/transformer_layer.h"

namespace attend::detail {

template <typename Enum>
using EnumName = std::pair<std::string_view, Enum>;

/// The names of an enumeration's values, used in configurations and prints. If a value has several
/// names, the first one is written and all are accepted.
template <typename Enum>
inline constexpr std::array<EnumName<Enum>, 0> kEnumNames{};

template <>  // the names of Hugging Face's hidden_act
inline constexpr std::array<EnumName<Activation>, 6> kEnumNames<Activation>{
    {{"relu", Activation::kRelu},
     {"gelu", Activation::kGelu},
     {"gelu_new", Activation::kGeluTanh},
     {"gelu_pytorch_tanh", Activation::kGeluTanh},
     {"swish", Activation::kSwish},
     {"silu", Activation::kSwish}}};

template <>
inline constexpr std::array<EnumName<ScoreFunction>, 5> kEnumNames<ScoreFunction>{
    {{"tanh", ScoreFunction::kTanh},
     {"leaky_relu", ScoreFunction::kLeakyRelu},
     {"relu", ScoreFunction::kRelu},
     {"silu", ScoreFunction::kSilu},
     {"gelu", ScoreFunction::kGelu}}};

template <>
inline constexpr std::array<EnumName<PositionKind>, 4> kEnumNames<PositionKind>{
    {{"sinusoidal_halves", PositionKind::kSinusoidalHalves},
     {"sinusoidal", PositionKind::kSinusoidal},
     {"learned", PositionKind::kLearned},
     {"none", PositionKind::kNone}}};

template <>
inline constexpr std::array<EnumName<NormOrder>, 2> kEnumNames<NormOrder>{
    {{"post", NormOrder::kPost}, {"pre", NormOrder::kPre}}};

template <>
inline constexpr std::array<EnumName<NormKind>, 2> kEnumNames<NormKind>{
    {{"layer", NormKind::kLayer}, {"rms", NormKind::kRms}}};

template <>
inline constexpr std::array<EnumName<RotaryPairing>, 2> kEnumNames<RotaryPairing>{
    {{"halves", RotaryPairing::kHalves}, {"interleaved", RotaryPairing::kInterleaved}}};

template <>  // the names of Hugging Face's rope_type
inline constexpr std::array<EnumName<RotaryScalingKind>, 5> kEnumNames<RotaryScalingKind>{
    {{"default", RotaryScalingKind::kNone},
     {"linear", RotaryScalingKind::kLinear},
     {"ntk", RotaryScalingKind::kNtk},
     {"llama3", RotaryScalingKind::kLlama3},
     {"yarn", RotaryScalingKind::kYarn}}};

template <typename Enum>
requires std::is_enum_v<Enum> std::string name_of(Enum value) {
  static_assert(!kEnumNames<Enum>.empty(), "an enumeration without names");
  for (const auto& [name, candidate] : kEnumNames<Enum>) {
    if (candidate == value) return std::string(name);
  }
  TORCH_INTERNAL_ASSERT(false, "an enumerator without a name");
}

}  // namespace attend::detail
