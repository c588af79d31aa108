#include "common/pages.h"

#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "common/completion.h"
#include "common/flags.h"
#include "common/manual.h"
#include "detail/atomic_file.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;

std::string help_pages(CLI::App& program) {
  std::string rows;
  const auto add = [&](const std::string& subcommand, const std::string& page) {
    rows += fmt::format("    {{\"{}\", R\"page({})page\"}},\n", subcommand, page);
  };
  add("", program.help());
  for (auto* command : commands_of(program)) {
    if (command != &program) add(command->get_name(), command->help(program.get_name()));
  }
  return fmt::format(R"(#include "launcher/help_pages.h"

namespace attend::app {{

std::span<const HelpPage> help_pages() {{
  static constexpr HelpPage kPages[] = {{
{}  }};
  return kPages;
}}

}}  // namespace attend::app
)",
                     rows);
}

void write_page(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  detail::write_file_atomically(path, text);
}

void write_pages(CLI::App& program, const fs::path& folder) {
  const auto name = program.get_name();
  for (const auto& [page, text] : manual(program))
    write_page(folder / "man1" / (page + ".1"), text);
  write_page(folder / "bash" / name, bash_completion(program));
  write_page(folder / "zsh" / ("_" + name), zsh_completion(program));
  write_page(folder / "fish" / (name + ".fish"), fish_completion(program));
  write_page(folder / "help_pages.cpp", help_pages(program));
}

}  // namespace

void add_page_flag(CLI::App& program) {
  const auto write = [&program](const std::string& folder) {
    write_pages(program, folder);
    throw CLI::Success();
  };
  program.add_option_function<std::string>("--write-pages", write)->configurable(false)->group("");
}

}  // namespace attend::app
