#include "common/program.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <cstdlib>
#include <iostream>
#include <new>

namespace attend::app {

void add_version_flag(CLI::App& app) {
  app.set_version_flag(
      "--version",
      fmt::format("{} {}, with LibTorch {}", app.get_name(), ATTEND_VERSION, TORCH_VERSION),
      "Print the version and exit");
}

std::optional<int> parse(CLI::App& app, int argc, char** argv) try {
  app.failure_message([name = app.get_name()](const CLI::App* failed, const CLI::Error& error) {
    const auto chosen = failed->get_subcommands();
    return fmt::format("{}: {}\nRun with --help for the flags of {}.\n", name, error.what(),
                       (chosen.empty() ? failed : chosen.front())->get_name());
  });
  app.parse(argc, argv);
  return std::nullopt;
} catch (const CLI::ParseError& error) {
  return app.exit(error) == 0 ? EXIT_SUCCESS : kUsage;
}

int run_program(const char* name, int (*run)(int argc, char** argv), int argc, char** argv) try {
  return run(argc, argv);
} catch (const std::bad_alloc&) {
  std::cerr << name << ": can't allocate memory\n";  // the words of LibTorch's allocator
  return EXIT_FAILURE;
} catch (const std::exception& error) {
  // what() of LibTorch's errors includes a backtrace.
  const auto* of_libtorch = dynamic_cast<const c10::Error*>(&error);
  std::cerr << name << ": " << (of_libtorch ? of_libtorch->what_without_backtrace() : error.what())
            << '\n';
  return EXIT_FAILURE;
}

}  // namespace attend::app
