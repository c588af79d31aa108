#pragma once

#include <string_view>

namespace attend::detail {

/// The files of src/viz/page, joined by CMake.
extern const std::string_view kAttentionPageTemplate;

}  // namespace attend::detail
