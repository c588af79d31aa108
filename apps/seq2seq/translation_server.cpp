#include "translation_server.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "client_connections.h"
#include "detail/excerpt.h"
#include "serve_page.h"
#include "service_metrics.h"
#include "translation_json.h"

namespace attend::app {
namespace {

constexpr auto kJson = "application/json";
constexpr int kClientHungUp = 499;  // as nginx counts it; it is not sent

// What is answered in place of a translation.
struct Refusal {
  int status;
  std::string message;
  bool ends_connection = false;
};

// The methods of each path.
const std::map<std::string, std::string>& methods_of_paths() {
  static const std::map<std::string, std::string> methods{{"/", "GET, HEAD"},
                                                          {"/health", "GET, HEAD"},
                                                          {"/metrics", "GET, HEAD"},
                                                          {"/translate", "POST"}};
  return methods;
}

int status_of(RequestFailure failure) {
  switch (failure) {
    case RequestFailure::kQueueFull:
      return 429;
    case RequestFailure::kTooLarge:
      return 413;
    case RequestFailure::kClosed:
      return 503;
    case RequestFailure::kExpired:
      return 504;
    case RequestFailure::kCancelled:
      return kClientHungUp;
  }
  return 500;
}

void answer_error(httplib::Response& response, const Refusal& refusal) {
  response.status = refusal.status;
  response.set_content(json_text({{"error", refusal.message}}), kJson);
  if (refusal.status == 429) response.set_header("Retry-After", "1");
  if (refusal.ends_connection) response.set_header("Connection", "close");
}

std::string read_body(const httplib::Response& response, const httplib::ContentReader& read,
                      size_t most) {
  const auto too_large = [&] {
    return Refusal{413, fmt::format("expected a body of at most {} bytes", most)};
  };
  std::string body;
  bool exceeded = false;
  // The rest of a body that is too large is read, so that the client comes to read the answer.
  const bool complete = read([&](const char* data, size_t size) {
    exceeded = exceeded || size > most - body.size();
    if (!exceeded) body.append(data, size);
    return true;
  });
  if (exceeded) throw too_large();
  if (complete) return body;
  if (response.status == 413) throw too_large();  // by its length in the header
  // What comes later would be taken for another request.
  throw Refusal{400, "expected a body that is complete, got a part of it", true};
}

// A thread for each connection that is read at a time, started when it is needed. Not httplib's own:
// LibTorch exports parts of the one of another version, and in a program each name means one thing.
class ConnectionThreads : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  // Nothing, in later versions true.
  using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));
  Enqueued enqueue(std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(task));
    if (idle_ < waiting_.size() && threads_.size() < most_) {
      threads_.emplace_back([this] { work(); });
    }
    changed_.notify_one();
    return static_cast<Enqueued>(true);
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
      changed_.notify_all();
    }
    threads_.clear();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      ++idle_;
      changed_.wait(lock, [&] { return ends_ || !waiting_.empty(); });
      --idle_;
      if (waiting_.empty()) return;
      const auto task = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  size_t idle_ = 0;
  bool ends_ = false;
  std::vector<std::jthread> threads_;  // last: they end before what they use
};

struct Query {
  TranslationRequest request;
  bool alignment = false, attention = false;
};

[[noreturn]] void refuse_value(const std::string& name, const std::string& expected,
                               const nlohmann::json& got) {
  throw Refusal{400, fmt::format("{}: expected {}, got {}", name, expected, detail::brief(got))};
}

std::vector<std::string> texts_of(const nlohmann::json& value) {
  constexpr auto kExpected = "a text or a list of texts";
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) refuse_value("text", kExpected, value);
  std::vector<std::string> texts;
  for (const auto& one : value) {
    if (!one.is_string()) refuse_value("text", kExpected, one);
    texts.push_back(one.get<std::string>());
  }
  return texts;
}

int64_t n_best_of(const nlohmann::json& value, int64_t beam_size) {
  const auto expected = fmt::format("a whole number from 1 to the beam size {}", beam_size);
  if (!value.is_number_integer()) refuse_value("n_best", expected, value);
  // What an int64_t cannot hold is no longer itself as one.
  const auto number = value.get<int64_t>();
  const bool fits = number >= 1 && number <= beam_size && value == nlohmann::json(number);
  if (!fits) refuse_value("n_best", expected, value);
  return number;
}

bool flag_of(const std::string& name, const nlohmann::json& value) {
  if (!value.is_boolean()) refuse_value(name, "true or false", value);
  return value.get<bool>();
}

Query parse_query(const std::string& body, int64_t beam_size, double longest_timeout) {
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(body);
  } catch (const nlohmann::json::parse_error& error) {
    throw Refusal{400, "expected JSON, got a body with an error: " + detail::excerpt(error.what())};
  }
  if (!json.is_object()) refuse_value("the body", "an object", json);
  if (!json.contains("text")) throw Refusal{400, "expected text, got none"};
  Query query;
  auto& request = query.request;
  double timeout = longest_timeout;
  for (const auto& [name, value] : json.items()) {
    if (name == "text") {
      request.texts = texts_of(value);
    } else if (name == "n_best") {
      request.n_best = n_best_of(value, beam_size);
    } else if (name == "alignment") {
      query.alignment = flag_of(name, value);
    } else if (name == "attention") {
      query.attention = flag_of(name, value);
    } else if (name == "timeout") {
      const bool fits = value.is_number() && value.get<double>() > 0;
      if (!fits) refuse_value(name, "a number of seconds > 0", value);
      timeout = std::min(value.get<double>(), longest_timeout);
    } else {
      throw Refusal{400, "expected text, n_best, alignment, attention or timeout, got " +
                             detail::in_quotes(name)};
    }
  }
  request.timeout = std::chrono::duration<double>(timeout);
  request.attention = query.alignment || query.attention;
  return query;
}

}  // namespace

struct TranslationServer::State {
  State(TranslationService& used, const TranslationServerOptions& chosen)
      : service(used), options(chosen) {}

  void add_routes();
  void listen();
  void translate(const httplib::Request& request, httplib::Response& response,
                 const httplib::ContentReader& read);
  // Waits; gives up where the client does.
  const std::vector<std::vector<Translation>>& results(const httplib::Request& request,
                                                       const PendingTranslations& pending) const;

  TranslationService& service;
  const TranslationServerOptions options;
  httplib::Server http;
  int port = -1, listening = -1;  // the socket
  std::atomic<bool> stopping = false, listens = true;
  std::mutex mutex;                   // of what follows
  std::map<int, uint64_t> responses;  // by status
  // Of complete requests, until they are written. httplib keeps each in its place.
  std::set<const httplib::Response*> unwritten;
  std::condition_variable written;
  std::thread listener;
};

void TranslationServer::State::listen() {
  // Before the socket is made. Otherwise an answer's second packet waits 40 ms for the first's receipt.
  http.set_tcp_nodelay(true);
  constexpr int kBacklog = 1024;  // connections that wait to be accepted; httplib's own is 5
  // Without SO_REUSEPORT, which would let two servers share a port.
  http.set_socket_options([this](socket_t socket) {
    const int yes = 1;
    (void)setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    listening = socket;
  });
  errno = 0;
  port = options.port;
  if (options.port == 0) {
    port = http.bind_to_any_port(options.host);
  } else if (!http.bind_to_port(options.host, options.port)) {
    port = -1;
  }
  if (port < 0) {
    throw std::runtime_error(fmt::format("expected to listen at {} port {}, got: {}", options.host,
                                         options.port,
                                         errno != 0 ? std::strerror(errno) : "no such host"));
  }
  (void)::listen(listening, kBacklog);

  http.set_payload_max_length(options.max_body);
  constexpr time_t kIdle = 5;  // seconds
  http.set_keep_alive_timeout(kIdle);
  http.set_keep_alive_max_count(std::numeric_limits<int>::max());
  http.new_task_queue = [most = options.max_connections] { return new ConnectionThreads(most); };
  listener = std::thread([this] {
    http.listen_after_bind();
    listens = false;
  });
}

void TranslationServer::State::add_routes() {
  http.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_header("Content-Security-Policy",
                        "default-src 'none'; connect-src 'self'; img-src data:; "
                        "script-src 'unsafe-inline'; style-src 'unsafe-inline'");
    response.set_content(std::string(kServePage), "text/html; charset=utf-8");
  });
  http.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
    if (stopping) response.status = 503;
    response.set_content(json_text({{"status", stopping ? "closing" : "ok"}}), kJson);
  });
  http.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    const auto counts = service.statistics();
    const std::lock_guard lock(mutex);
    response.set_content(metrics_text(counts, responses), "text/plain; version=0.0.4");
  });
  http.Post("/translate", [this](const httplib::Request& request, httplib::Response& response,
                                 const httplib::ContentReader& read) {
    try {
      translate(request, response, read);
    } catch (const Refusal& refusal) {
      answer_error(response, refusal);
    } catch (const TranslationServiceError& error) {
      answer_error(response, {status_of(error.failure()), error.what()});
    } catch (const c10::Error& error) {
      answer_error(response, {500, error.what_without_backtrace()});
    } catch (const std::exception& error) {
      answer_error(response, {500, error.what()});
    }
  });
  // What httplib itself refuses.
  http.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (!response.body.empty()) return;
    const auto methods = methods_of_paths().find(request.path);
    if (response.status == 404 && methods != methods_of_paths().end()) {
      response.set_header("Allow", methods->second);
      answer_error(response, {405, fmt::format("{}: expected {}, got {}", request.path,
                                               methods->second, request.method)});
    } else if (response.status == 404) {
      answer_error(response, {404, "expected /, /health, /metrics or /translate, got " +
                                       detail::in_quotes(request.path)});
    } else {
      answer_error(response, {response.status, "expected a valid HTTP request"});
    }
  });
  // Called when a response is written.
  http.set_logger([this](const httplib::Request& request, const httplib::Response& response) {
    if (response.status == 400 && response.get_header_value("Connection") == "close") {
      end_reading(client_socket(request.remote_addr, request.remote_port));
    }
    const std::lock_guard lock(mutex);
    ++responses[response.status];
    unwritten.erase(&response);
    written.notify_all();
  });
}

const std::vector<std::vector<Translation>>& TranslationServer::State::results(
    const httplib::Request& request, const PendingTranslations& pending) const {
  constexpr auto kBetweenLooks = std::chrono::milliseconds(50);
  int client = -1;
  while (!pending.wait_for(kBetweenLooks)) {
    if (client < 0) client = client_socket(request.remote_addr, request.remote_port);
    if (has_hung_up(client)) pending.cancel();
  }
  return pending.get();
}

void TranslationServer::State::translate(const httplib::Request& request,
                                         httplib::Response& response,
                                         const httplib::ContentReader& read) {
  if (request.is_multipart_form_data()) {
    read([](const httplib::MultipartFormData&) { return true; },
         [](const char*, size_t) { return true; });
    throw Refusal{400, "expected JSON, got a form"};
  }
  const auto query = parse_query(read_body(response, read, options.max_body),
                                 service.translator().beam_size(), options.timeout);
  {
    const std::lock_guard lock(mutex);
    unwritten.insert(&response);
  }
  const auto pending = service.submit(query.request);
  const auto& of_texts = results(request, pending);
  auto answers = nlohmann::ordered_json::array();
  for (size_t i = 0; i < of_texts.size(); ++i) {
    answers.push_back(
        translations_json(query.request.texts[i], of_texts[i], query.alignment, query.attention));
  }
  response.set_content(json_text({{"results", std::move(answers)}}), kJson);
}

TranslationServer::TranslationServer(TranslationService& service,
                                     const TranslationServerOptions& options)
    : state_(std::make_unique<State>(service, options)) {
  state_->add_routes();
  state_->listen();
}

TranslationServer::~TranslationServer() { stop(); }

std::string TranslationServer::address() const {
  const auto& host = state_->options.host;
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return fmt::format(fmt::runtime(is_ipv6 ? "http://[{}]:{}" : "http://{}:{}"), host, state_->port);
}

void TranslationServer::stop() {
  if (!state_->listener.joinable()) return;
  state_->stopping = true;
  constexpr auto kBetweenLooks = std::chrono::milliseconds(1);
  while (!state_->http.is_running() && state_->listens) std::this_thread::sleep_for(kBetweenLooks);
  state_->http.stop();
  state_->service.close();
  {
    // Only then: httplib writes to no client that it cannot read from. A client that does not read is
    // given up by httplib before that.
    constexpr auto kLongest = std::chrono::seconds(10);
    std::unique_lock lock(state_->mutex);
    state_->written.wait_for(lock, kLongest, [&] { return state_->unwritten.empty(); });
  }
  // Idle connections, and requests that are not complete, would be waited for.
  end_reading_at(state_->port);
  state_->listener.join();
}

}  // namespace attend::app
