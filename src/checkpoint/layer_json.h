#pragma once

#include <nlohmann/json.hpp>

#include "attend/modules/transformer_layer.h"
#include "detail/json_file.h"

namespace attend::detail {

/// The options of a layer as JSON, every part by the names of its options; variants that are off
/// are left out. Two layers are alike if their JSON is.
nlohmann::json layer_json(const TransformerLayerOptions& options);

/// The options that `layer_json` wrote. Throws: FileError naming the key.
TransformerLayerOptions layer_options(const JsonFile& json);

}  // namespace attend::detail
