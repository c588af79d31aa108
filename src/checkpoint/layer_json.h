#pragma once

#include <nlohmann/json.hpp>

#include "attend/modules/transformer_layer.h"
#include "detail/json_file.h"

namespace attend::detail {

/// The options of a layer as JSON, under the options' names. Variants that are off are left out.
/// Two layers are equal if and only if their JSON is.
nlohmann::json layer_json(const TransformerLayerOptions& options);

/// Reads options that `layer_json` wrote. Throws FileError, which names the key.
TransformerLayerOptions layer_options(const JsonFile& json);

}  // namespace attend::detail
