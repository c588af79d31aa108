#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <iostream>
#include <system_error>

#include "attend/translation/translation_service.h"
#include "commands.h"
#include "common/machine.h"
#include "common/number_flag.h"
#include "common/search_flags.h"
#include "translation_server.h"

namespace attend::app {
namespace {

struct ServeOptions {
  std::filesystem::path model_dir;
  TranslatorOptions translator;
  TranslationServiceOptions service;
  TranslationServerOptions server;
  MachineOptions machine;
};

// For a signal handler, which may do little but write to a pipe.
int stop_pipe[2] = {-1, -1};

void on_stop_signal(int) {
  // The next one ends the program at once.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  const char byte = 0;
  (void)!write(stop_pipe[1], &byte, 1);
}

void listen_to_stop_signals() {
  if (pipe(stop_pipe) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  std::signal(SIGINT, on_stop_signal);
  std::signal(SIGTERM, on_stop_signal);
}

void wait_for_stop_signal() {
  char byte = 0;
  while (read(stop_pipe[0], &byte, 1) < 0 && errno == EINTR) {
  }
}

int serve(const ServeOptions& o) {
  const auto device = prepare_machine(o.machine);
  auto service_options = o.service;
  if (!device.is_cpu() && service_options.workers == 0) service_options.workers = 1;
  TranslationService service(Translator::load(o.model_dir, o.translator, device), service_options);
  listen_to_stop_signals();
  {
    TranslationServer server(service, o.server);
    std::cerr << fmt::format("attend-seq2seq: serving {} at {}, {} workers\n", o.model_dir.string(),
                             server.address(), service.options().workers)
              << std::flush;
    wait_for_stop_signal();
    server.stop();
  }
  const auto counts = service.statistics();
  std::cerr
      << fmt::format(
             "attend-seq2seq: stopped: {} requests accepted, {} answered, {} failed, {} cancelled, "
             "{} expired; {} refused; {} tokens read, {} written; half within {:.3f} s, 99 % "
             "within {:.3f} s\n",
             counts.accepted, counts.answered, counts.failed, counts.cancelled, counts.expired,
             counts.refused, counts.source_tokens, counts.target_tokens,
             counts.latency.percentile(0.5), counts.latency.percentile(0.99))
      << std::flush;
  return EXIT_SUCCESS;
}

}  // namespace

Command add_serve(CLI::App& app) {
  auto options = std::make_shared<ServeOptions>();
  auto& o = *options;
  app.add_option("-m,--model-dir", o.model_dir, "Model folder, attend's own or a MarianMT one")
      ->required();
  app.add_option("--host", o.server.host, "Address to listen at; 0.0.0.0: all of this machine")
      ->capture_default_str();
  constexpr int kLastPort = 65535;
  add_number(app, "--port", o.server.port, {.least = 0, .most = kLastPort},
             "Port to listen at; 0: a free one");
  add_search_options(app, o.translator);
  constexpr int64_t kMostWorkers = 4096, kMostTexts = 1'000'000, kMostBytes = 1'000'000'000;
  add_number(app, "--workers", o.service.workers, {.least = 0, .most = kMostWorkers},
             "Batches translated at a time; 0: one per thread on the CPU");
  add_number(app, "--max-batch", o.service.max_batch, {.least = 1, .most = kMostTexts},
             "Most texts translated together");
  add_number(app, "--max-queue", o.service.max_queue, {.least = 1, .most = kMostTexts},
             "Most texts that wait; further requests get status 429");
  add_number(app, "--max-text", o.service.max_text_bytes, {.least = 1, .most = kMostBytes},
             "Most bytes of a text; requests with longer ones get status 413");
  add_number(app, "--max-body", o.server.max_body, {.least = 1, .most = kMostBytes},
             "Most bytes of a request; longer ones get status 413");
  constexpr size_t kMostConnections = 10'000;
  add_number(app, "--max-connections", o.server.max_connections,
             {.least = 1, .most = kMostConnections}, "Most connections read at a time");
  constexpr double kLongest = 1e6;
  add_number(app, "--timeout", o.server.timeout,
             {.least = 0, .most = kLongest, .without_least = true},
             "Most seconds from a request to its answer; later it gets status 504");
  add_machine_options(app, o.machine);
  return [options] { return serve(*options); };
}

}  // namespace attend::app
