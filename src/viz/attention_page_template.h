#pragma once

#include <string_view>

namespace attend::detail {

/// src/viz/page/attention_page.html, made a part of the library when it is built.
extern const std::string_view kAttentionPageTemplate;

}  // namespace attend::detail
