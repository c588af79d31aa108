#pragma once

#include <string_view>

namespace attend::app {

/// The page of the server: apps/seq2seq/serve_page/page.html, embedded at build time.
extern const std::string_view kServePage;

}  // namespace attend::app
