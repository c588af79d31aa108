#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "attend/translation/translation_service.h"

namespace attend::app {

struct TranslationServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;               // 0: a free one
  double timeout = 30;           // most seconds from a request to its answer
  size_t max_body = 1 << 20;     // bytes of a request
  size_t max_connections = 512;  // at a time; each has a thread; others wait to be read
};

/// Translates over HTTP, with JSON: POST /translate, GET /health, /metrics and / (a page).
class TranslationServer {
 public:
  /// Listens and answers, in threads of its own. The service must live longer.
  /// Throws std::runtime_error if it cannot listen there.
  TranslationServer(TranslationService& service, const TranslationServerOptions& options);
  ~TranslationServer();  // stop()
  TranslationServer(const TranslationServer&) = delete;
  TranslationServer& operator=(const TranslationServer&) = delete;
  TranslationServer(TranslationServer&&) = delete;
  TranslationServer& operator=(TranslationServer&&) = delete;

  /// Such as "http://127.0.0.1:8080".
  std::string address() const;

  /// Takes no more connections, closes the service, and returns when all requests that it had accepted
  /// are answered.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend::app
