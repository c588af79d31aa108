#include "common/program.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <cstdlib>
#include <iostream>

namespace attend::app {

void add_version_flag(CLI::App& app) {
  app.set_version_flag(
      "--version",
      fmt::format("{} {}, with LibTorch {}", app.get_name(), ATTEND_VERSION, TORCH_VERSION),
      "Print the version and exit");
}

std::optional<int> parse(CLI::App& app, int argc, char** argv) try {
  app.parse(argc, argv);
  return std::nullopt;
} catch (const CLI::ParseError& error) {
  return app.exit(error) == 0 ? EXIT_SUCCESS : kUsage;
}

int run_program(const char* name, int (*run)(int argc, char** argv), int argc, char** argv) try {
  return run(argc, argv);
} catch (const c10::Error& error) {
  std::cerr << name << ": " << error.what_without_backtrace() << '\n';
  return EXIT_FAILURE;
} catch (const std::exception& error) {
  std::cerr << name << ": " << error.what() << '\n';
  return EXIT_FAILURE;
}

}  // namespace attend::app
