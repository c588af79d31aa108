#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "attend/translation/translation_service.h"

namespace attend::app {

/// The service's counts in Prometheus' text format, version 0.0.4. `responses`: the number of HTTP
/// responses of each status.
std::string metrics_text(const TranslationServiceStatistics& counts,
                         const std::map<int, uint64_t>& responses);

}  // namespace attend::app
