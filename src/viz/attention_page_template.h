#pragma once

#include <string_view>

namespace attend::detail {

/// The files of src/viz/page, joined when the library is built.
extern const std::string_view kAttentionPageTemplate;

}  // namespace attend::detail
