#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "commands.h"
#include "common/program.h"

namespace attend::app {
namespace {

int run_seq2seq(int argc, char** argv, MessageStream& messages) {
  // translate reads in a thread of its own, which must not flush what another thread writes.
  std::cin.tie(nullptr);
  CLI::App app("Trains and runs translators with attention.", "attend-seq2seq");
  add_version_flag(app);
  app.require_subcommand(1);
  struct Entry {
    CLI::App* subcommand;
    Command run;
  };
  const auto entry = [&](const char* name, const char* help, Command (*add)(CLI::App&)) {
    auto* subcommand = app.add_subcommand(name, help);
    return Entry{subcommand, add(*subcommand)};
  };
  const Entry entries[] = {
      entry("demo", "Write a corpus, train on it, translate, and draw attention", add_demo),
      entry("train", "Train a translator on two aligned text files", add_train),
      entry("translate", "Translate text, line by line", add_translate),
      entry("evaluate", "Translate a file and score it against a reference", add_evaluate),
      entry("serve", "Translate over HTTP", add_serve),
  };
  // CLI11 would say that a subcommand is missing.
  const auto is_first = [&](const Entry& e) { return e.subcommand->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && std::ranges::none_of(entries, is_first)) {
    std::vector<std::string> names;
    for (const auto& e : entries) names.push_back(e.subcommand->get_name());
    const auto last = names.back();
    names.pop_back();
    std::cerr << fmt::format(
        "attend-seq2seq: expected {} or {}, got {}\nRun with --help for what they do.\n",
        fmt::join(names, ", "), last, argv[1]);
    return kUsage;
  }
  if (const auto status = parse(app, argc, argv, messages)) return *status;
  for (const auto& [subcommand, command] : entries) {
    if (subcommand->parsed()) return command();
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace attend::app

int main(int argc, char** argv) {
  attend::app::run_program("attend-seq2seq", attend::app::run_seq2seq, argc, argv);
}
