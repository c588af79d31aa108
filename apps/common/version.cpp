#include "common/version.h"

#include <fmt/format.h>
#include <torch/version.h>

namespace attend::app {

void add_version_flag(CLI::App& app) {
  app.set_version_flag(
      "--version",
      fmt::format("{} {}, with LibTorch {}", app.get_name(), ATTEND_VERSION, TORCH_VERSION),
      "Print the version and exit");
}

}  // namespace attend::app
