// attend-tour: a tour of attention whose numbers are computed when it runs.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "chapters.h"
#include "common/program.h"

namespace attend::app {
namespace {

std::vector<Chapter> all_chapters(torch::Device device) {
  auto all = chapters_by_hand();
  for (auto& chapter : chapters_of_modules()) all.push_back(std::move(chapter));
  for (auto& chapter : chapters_of_models(device)) all.push_back(std::move(chapter));
  return all;
}

int tour(const std::vector<std::string>& wanted, const std::filesystem::path& folder, bool list,
         const MachineOptions& machine) {
  const auto chapters = all_chapters(prepare_machine(machine));
  if (list) {
    for (const auto& chapter : chapters) {
      std::cout << fmt::format("{:<24} {}\n", chapter.name, chapter.title);
    }
    return EXIT_SUCCESS;
  }
  std::vector<std::string> names;
  for (const auto& chapter : chapters) names.push_back(chapter.name);
  for (const auto& name : wanted) {
    TORCH_CHECK_VALUE(std::ranges::find(names, name) != names.end(),
                      "expected a chapter that --list names, got ", name);
  }
  Notebook notebook(folder);
  for (const auto& chapter : chapters) {
    if (!wanted.empty() && std::ranges::find(wanted, chapter.name) == wanted.end()) continue;
    torch::manual_seed(1);  // so that a chapter's numbers do not depend on the others
    notebook.begin(chapter.name, chapter.title);
    chapter.run(notebook);
    notebook.end();
    notebook.write_index(names);
  }
  std::cout << "\nThe tour with its pictures: " << (folder / "index.html").string() << '\n';
  return EXIT_SUCCESS;
}

int run_tour(int argc, char** argv, MessageStream& messages) {
  CLI::App app("Walks through attention with computed numbers.", "attend-tour");
  add_version_flag(app);
  std::vector<std::string> wanted;
  std::filesystem::path folder = "tour";
  bool list = false;
  MachineOptions machine;
  app.add_option("chapters", wanted, "Chapters to run; default: all");
  app.add_option("-o,--output", folder, "Folder for the page, the figures and trained models")
      ->capture_default_str();
  app.add_flag("--list", list, "List the chapters");
  add_machine_options(app, machine);
  if (const auto status = parse(app, argc, argv, messages)) return *status;
  return tour(wanted, folder, list, machine);
}

}  // namespace
}  // namespace attend::app

int main(int argc, char** argv) {
  attend::app::run_program("attend-tour", attend::app::run_tour, argc, argv);
}
