// What a user starts as attend-seq2seq and so on. It prints help itself, since LibTorch takes 0.2 s and 115 MB to
// load; for all else the program, which links LibTorch, takes the place of this process.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string_view>
#include <system_error>

#include "launcher/help_pages.h"

namespace attend::app {
namespace {

bool asks_for_help(std::string_view argument) { return argument == "--help" || argument == "-h"; }

// The page that `--help` or `SUBCOMMAND --help` asks for. Anything else is for the program to read.
std::optional<std::string_view> requested_page(int argc, char** argv) {
  if (argc < 2 || argc > 3 || !asks_for_help(argv[argc - 1])) return std::nullopt;
  const std::string_view subcommand = argc == 3 ? argv[1] : "";
  for (const auto& page : help_pages()) {
    if (page.subcommand == subcommand) return page.text;
  }
  return std::nullopt;
}

int run_program(char** argv) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  auto program = (self.parent_path() / ATTEND_PROGRAM_FOLDER / self.filename()).lexically_normal();
  program += "-program";
  execv(program.c_str(), argv);
  std::cerr << self.filename().string() << ": expected the program at " << program.string()
            << ", got: " << std::strerror(errno) << '\n';
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace attend::app

int main(int argc, char** argv) try {
  if (const auto page = attend::app::requested_page(argc, argv)) {
    std::cout << *page << std::flush;
    return std::cout ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  return attend::app::run_program(argv);
} catch (const std::filesystem::filesystem_error& error) {
  std::cerr << error.what() << '\n';
  return EXIT_FAILURE;
}
