#include <torch/torch.h>

#include <algorithm>
#include <iostream>

#include "commands.h"
#include "common/program.h"

namespace {

int run(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  CLI::App app("Trains and runs translators with attention.", "attend-seq2seq");
  attend::app::add_version_flag(app);
  app.require_subcommand(1);
  struct Entry {
    CLI::App* subcommand;
    attend::app::Command run;
  };
  const auto entry = [&](const char* name, const char* help,
                         attend::app::Command (*add)(CLI::App&)) {
    auto* subcommand = app.add_subcommand(name, help);
    return Entry{subcommand, add(*subcommand)};
  };
  const Entry entries[] = {
      entry("demo", "Write a corpus, train on it, translate, and draw attention",
            attend::app::add_demo),
      entry("train", "Train a translator on two aligned text files", attend::app::add_train),
      entry("translate", "Translate text, line by line", attend::app::add_translate),
      entry("evaluate", "Translate a file and score it against a reference",
            attend::app::add_evaluate),
  };
  constexpr int kUsage = 2;
  // CLI11 would say that a subcommand is missing.
  const auto is_first = [&](const Entry& e) { return e.subcommand->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && std::ranges::none_of(entries, is_first)) {
    std::cerr << "attend-seq2seq: expected demo, train, translate or evaluate, got " << argv[1]
              << "\nRun with --help for what they do.\n";
    return kUsage;
  }
  if (const auto status = attend::app::parse_command_line(app, argc, argv)) return *status;
  for (const auto& [subcommand, command] : entries) {
    if (subcommand->parsed()) return command();
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  return attend::app::run_program("attend-seq2seq", [&] { return run(argc, argv); });
}
