#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "attend/functional/feed_forward.h"
#include "attend/functional/rotary.h"
#include "attend/modules/norm.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/transformer_layer.h"
#include "checkpoint/json_file.h"
#include "detail/excerpt.h"

namespace attend::detail {

/// The names of an enumeration in configurations. One with several names is written by its first.
template <typename Enum>
using EnumNames = std::vector<std::pair<std::string, Enum>>;

const EnumNames<Activation>& activation_names();  // Hugging Face's
const EnumNames<PositionKind>& position_names();
const EnumNames<NormOrder>& norm_order_names();
const EnumNames<NormKind>& norm_names();
const EnumNames<RotaryPairing>& rotary_pairing_names();
const EnumNames<RotaryScalingKind>& rotary_scaling_names();  // Hugging Face's rope_type

template <typename Enum>
std::string name_of(const EnumNames<Enum>& names, Enum value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  TORCH_INTERNAL_ASSERT(false, "an enumerator without a name");
}

/// What the string `wanted`, of `key` in the file, stands for.
template <typename Enum>
Enum value_named(const JsonFile& config, const char* key, const std::string& wanted,
                 const EnumNames<Enum>& names) {
  for (const auto& [name, value] : names) {
    if (name == wanted) return value;
  }
  std::string known;
  for (const auto& [name, value] : names) known += (known.empty() ? "" : ", ") + name;
  throw FileError(config.path(), fmt::format("expected {} to be one of {}, got {}", key, known,
                                             in_quotes(wanted)));
}

template <typename Enum>
Enum value_of(const JsonFile& config, const char* key, const EnumNames<Enum>& names) {
  return value_named(config, key, config.get<std::string>(key), names);
}

}  // namespace attend::detail
