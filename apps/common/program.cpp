#include "common/program.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>

#include "attend/file_error.h"
#include "attend/functional/cpu.h"
#include "common/configuration.h"
#include "common/flags.h"
#include "common/pages.h"

namespace attend::app {
namespace {

// The flags of every command.
struct CommonFlags {
  std::filesystem::path log;
  bool quiet = false;
};

void print_out(const std::string& text) {
  std::cout << text << std::flush;
  if (!std::cout) throw FileError("standard output", "cannot write");
}

// Last, so that all other flags of the command have their values when --dump-config prints them.
void add_common_flags(CLI::App& command, const std::string& title, CommonFlags& flags) {
  constexpr auto kGroup = "General";
  command.add_option("--log", flags.log, "Append all messages to this file, with the time")
      ->type_name("FILE")
      ->group(kGroup);
  command.add_flag("-q,--quiet", flags.quiet, "Show no messages but errors; the log has them")
      ->group(kGroup);
  const auto read = [&command](const std::string& path) { read_configuration(command, path); };
  command
      .add_option_function<std::string>(
          "-c,--config", read,
          "Flags from a TOML file, as --dump-config prints them; the command line wins")
      ->type_name("FILE")
      ->configurable(false)
      ->group(kGroup);
  const auto dump = [&command, title](int64_t count) {
    if (count == 0) return;
    print_out("# " + title + "\n\n" + configuration(command));
    throw CLI::Success();
  };
  command
      .add_flag_function("--dump-config", dump, "Print all flags and their values as TOML and exit")
      ->configurable(false)
      ->group(kGroup);
  command.get_help_ptr()->configurable(false);
}

std::string usage_failure(const CLI::App& program, const CLI::App* failed,
                          const CLI::Error& error) {
  const auto chosen = failed->get_subcommands();
  const auto command = (chosen.empty() ? failed : chosen.front())->get_name();
  auto problem = std::string(error.what());
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto rest = program.remaining(/*recurse=*/true);
    if (!rest.empty()) {
      problem = fmt::format("expected flags of {}, got {}", command, fmt::join(rest, " "));
    }
  }
  return fmt::format("{}: {}\nRun with --help for the flags of {}.\n", program.get_name(), problem,
                     command);
}

int status_of(const char* name, int (*run)(int argc, char** argv, MessageStream& messages),
              int argc, char** argv) {
  std::ios::sync_with_stdio(false);  // before messages, since it gives the streams other buffers
  MessageStream messages;
  const auto fail = [&](const char* problem) {
    messages.show(true);
    std::cerr << fmt::format("{}: {}\n", name, problem);
    return EXIT_FAILURE;
  };
  try {
    return run(argc, argv, messages);
  } catch (const std::bad_alloc&) {
    return fail("can't allocate memory");  // the words of LibTorch's allocator
  } catch (const c10::Error& error) {
    return fail(error.what_without_backtrace());  // what() includes a backtrace
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}

// Without destroying what is static, but under AddressSanitizer, which looks for leaks then.
[[noreturn]] void leave(int status) {
#if defined(__SANITIZE_ADDRESS__)
  std::exit(status);
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  std::exit(status);
#endif
#endif
  std::_Exit(status);
}

}  // namespace

void add_version_flag(CLI::App& app) {
  const auto version = [name = app.get_name()] {
    return fmt::format(
        "{} {}, with LibTorch {}\nCPU: {} in attend's kernels, {} in LibTorch's, {} threads", name,
        ATTEND_VERSION, TORCH_VERSION, functional::cpu_instruction_set(), at::get_cpu_capability(),
        at::get_num_threads());
  };
  app.set_version_flag("--version", version,
                       "Print the versions, and the CPU's instruction sets in use, and exit");
}

std::optional<int> parse(CLI::App& app, int argc, char** argv, MessageStream& messages) try {
  app.failure_message([&app](const CLI::App* failed, const CLI::Error& error) {
    return usage_failure(app, failed, error);
  });
  CommonFlags flags;
  for (auto* command : commands_of(app)) {
    const auto title =
        command == &app ? app.get_name() : app.get_name() + " " + command->get_name();
    add_common_flags(*command, title, flags);
  }
  add_page_flag(app);
  app.parse(argc, argv);
  if (!flags.log.empty()) messages.log_to(flags.log);
  messages.show(!flags.quiet);
  return std::nullopt;
} catch (const CLI::ParseError& error) {
  return app.exit(error) == 0 ? EXIT_SUCCESS : kUsage;
}

void run_program(const char* name, int (*run)(int argc, char** argv, MessageStream& messages),
                 int argc, char** argv) {
  const int status = status_of(name, run, argc, argv);
  std::cout.flush();
  std::cerr.flush();
  std::fflush(nullptr);
  leave(status);
}

}  // namespace attend::app
