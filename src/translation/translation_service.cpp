#include "attend/translation/translation_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "detail/check.h"
#include "detail/thread_team.h"
#include "translation/translation_stream.h"

namespace attend {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

// All but the constants is guarded by the mutex of the service, which lives as long as a request.
struct PendingTranslations::State {
  std::shared_ptr<TranslationService::State> service;
  std::condition_variable finished;
  TranslationRequest request;
  Clock::time_point accepted_at;
  std::optional<Clock::time_point> deadline;
  std::vector<std::vector<Translation>> results;
  size_t missing = 0;  // texts without a result
  bool is_finished = false;
  std::exception_ptr error;
};

struct TranslationService::State {
  using Request = PendingTranslations::State;

  // One text of a request.
  struct Item {
    std::shared_ptr<Request> request;
    size_t text;
  };

  State(Translator given, const TranslationServiceOptions& chosen)
      : translator(std::move(given)), options(chosen) {}

  const Translator translator;
  TranslationServiceOptions options;  // constant once the service is made

  mutable std::mutex mutex;
  std::condition_variable changed;  // for workers: texts wait, or the service is closed
  std::deque<Item> queue;
  size_t free_workers = 0;
  bool closed = false;
  TranslationServiceStatistics counts;

  std::mutex closing;  // one thread at a time joins
  std::optional<detail::ThreadTeam> team;
  std::thread runner;  // keeps the team at work

  // All of these need the mutex held.
  void finish(Request& request, uint64_t& counter, std::exception_ptr error = nullptr);
  void expire(Request& request);
  void expire_overdue();
  std::vector<Item> take(size_t room);
  void deliver(const Item& item, detail::TranslationStream::Ended&& result);

  // These need it free.
  void retry(const Item& item, detail::TranslationStream::Ended& result) const;
  void work();
};

void TranslationService::State::finish(Request& request, uint64_t& counter,
                                       std::exception_ptr error) {
  if (request.is_finished) return;
  ++counter;
  --counts.pending;
  request.is_finished = true;
  request.error = std::move(error);
  std::erase_if(queue, [&](const Item& item) { return item.request.get() == &request; });
  request.finished.notify_all();
}

void TranslationService::State::expire(Request& request) {
  finish(request, counts.expired,
         std::make_exception_ptr(TranslationServiceError(
             RequestFailure::kExpired,
             fmt::format("TranslationService: expected an answer within {} s, got none",
                         request.request.timeout->count()))));
}

void TranslationService::State::expire_overdue() {
  const auto now = Clock::now();
  std::vector<std::shared_ptr<Request>> overdue;
  for (const auto& item : queue) {
    if (item.request->deadline && *item.request->deadline <= now) overdue.push_back(item.request);
  }
  for (const auto& request : overdue) expire(*request);
}

// A worker's share of the texts that wait, at most `room`: what free workers leave to it.
std::vector<TranslationService::State::Item> TranslationService::State::take(size_t room) {
  expire_overdue();
  const auto workers = free_workers + 1;
  const auto count = std::min((queue.size() + workers - 1) / workers, room);
  const auto end = queue.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<Item> taken(std::make_move_iterator(queue.begin()), std::make_move_iterator(end));
  queue.erase(queue.begin(), end);
  return taken;
}

void TranslationService::State::deliver(const Item& item,
                                        detail::TranslationStream::Ended&& result) {
  auto& request = *item.request;
  if (request.is_finished) return;  // cancelled, expired, or failed by another text
  if (result.error) return finish(request, counts.failed, result.error);
  request.results[item.text] = std::move(result.translations);
  if (--request.missing > 0) return;
  if (request.deadline && *request.deadline <= Clock::now()) return expire(request);
  for (const auto& of_text : request.results) {
    counts.source_tokens += static_cast<uint64_t>(of_text.front().source_tokens);
    for (const auto& translation : of_text) {
      counts.target_tokens += static_cast<uint64_t>(translation.target_tokens);
    }
  }
  counts.latency.add(std::chrono::duration<double>(Clock::now() - request.accepted_at).count());
  finish(request, counts.answered);
}

// An error of a step ends all that decode: alone, only a text that is at fault fails again.
void TranslationService::State::retry(const Item& item,
                                      detail::TranslationStream::Ended& result) const {
  const auto& request = item.request->request;
  try {
    result.translations =
        translator.translate({request.texts[item.text]}, request.n_best, request.attention).front();
    result.error = nullptr;
  } catch (...) {
    result.error = std::current_exception();
  }
}

// Decodes texts step by step. Between steps others join, and those that nobody waits for any more leave.
void TranslationService::State::work() {
  detail::TranslationStream stream(translator, options.max_batch);
  std::unordered_map<size_t, Item> decoding;
  size_t next_id = 0;
  std::unique_lock lock(mutex);
  while (true) {
    std::erase_if(decoding, [&](const auto& one) {
      if (!one.second.request->is_finished) return false;
      stream.cancel(one.first);
      return true;
    });
    if (decoding.empty()) {
      ++free_workers;
      changed.wait(lock, [&] { return closed || !queue.empty(); });
      --free_workers;
    }
    const auto joining = take(static_cast<size_t>(options.max_batch) - decoding.size());
    if (decoding.empty() && joining.empty()) {
      if (closed) return;
      continue;  // what waited was overdue
    }
    if (!joining.empty()) ++counts.batches;
    lock.unlock();
    for (const auto& item : joining) {
      const auto& request = item.request->request;
      decoding.emplace(next_id, item);
      stream.admit(next_id++, request.texts[item.text], request.n_best, request.attention);
    }
    auto ended = stream.step();
    for (auto& one : ended) {
      if (one.error) retry(decoding.at(one.id), one);
    }
    lock.lock();
    for (auto& one : ended) {
      const auto item = decoding.extract(one.id).mapped();
      deliver(item, std::move(one));
    }
  }
}

bool PendingTranslations::wait_for(std::chrono::duration<double> seconds) const {
  auto& service = *state_->service;
  std::unique_lock lock(service.mutex);
  // In whole units of the clock, and not so long that the end has no time point.
  constexpr std::chrono::duration<double> kLongest = std::chrono::hours(24 * 365);
  const auto patience = std::chrono::duration_cast<Clock::duration>(std::min(seconds, kLongest));
  const auto patient_until = Clock::now() + patience;
  const auto until = state_->deadline ? std::min(*state_->deadline, patient_until) : patient_until;
  state_->finished.wait_until(lock, until, [&] { return state_->is_finished; });
  if (!state_->is_finished && state_->deadline && *state_->deadline <= Clock::now()) {
    service.expire(*state_);
  }
  return state_->is_finished;
}

const std::vector<std::vector<Translation>>& PendingTranslations::get() const {
  while (!wait_for(std::chrono::hours(1))) {
  }
  if (state_->error) std::rethrow_exception(state_->error);
  return state_->results;
}

void PendingTranslations::cancel() const {
  auto& service = *state_->service;
  const std::lock_guard lock(service.mutex);
  service.finish(*state_, service.counts.cancelled,
                 std::make_exception_ptr(TranslationServiceError(
                     RequestFailure::kCancelled, "TranslationService: the request was cancelled")));
}

TranslationService::TranslationService(Translator translator,
                                       const TranslationServiceOptions& options)
    : state_(std::make_shared<State>(std::move(translator), options)) {
  constexpr auto kName = "TranslationService";
  TORCH_CHECK_VALUE(options.workers >= 0, kName, ": expected workers >= 0, got ", options.workers);
  detail::check_positive(kName, "max_queue", options.max_queue);
  detail::check_positive(kName, "max_batch", options.max_batch);
  detail::check_positive(kName, "max_text_bytes", options.max_text_bytes);
  const int64_t threads = torch::get_num_threads();
  auto& workers = state_->options.workers;
  if (workers == 0) workers = threads;
  state_->team.emplace(workers, std::max<int64_t>(threads / workers, 1));
  state_->runner =
      std::thread([&state = *state_] { state.team->run([&state](int64_t) { state.work(); }); });
}

TranslationService::~TranslationService() { close(); }

PendingTranslations TranslationService::submit(TranslationRequest request) {
  auto& state = *state_;
  const auto& options = state.options;
  const auto beam_size = state.translator.beam_size();
  TORCH_CHECK_VALUE(request.n_best >= 1 && request.n_best <= beam_size,
                    "TranslationService: expected 1 <= n_best <= beam_size ", beam_size, ", got ",
                    request.n_best);
  TORCH_CHECK_VALUE(!request.timeout || request.timeout->count() > 0,
                    "TranslationService: expected a timeout > 0 s, got ", request.timeout->count());
  const auto pending = std::make_shared<PendingTranslations::State>();
  pending->service = state_;
  pending->missing = request.texts.size();
  pending->results.resize(request.texts.size());
  pending->request = std::move(request);
  const auto& texts = pending->request.texts;

  const std::lock_guard lock(state.mutex);
  const auto refuse = [&](RequestFailure failure, const std::string& problem) {
    ++state.counts.refused;
    throw TranslationServiceError(failure, "TranslationService: expected " + problem);
  };
  if (state.closed) refuse(RequestFailure::kClosed, "an open service, got a closed one");
  for (const auto& text : texts) {
    if (static_cast<int64_t>(text.size()) <= options.max_text_bytes) continue;
    refuse(RequestFailure::kTooLarge, fmt::format("texts of at most {} bytes, got one of {}",
                                                  options.max_text_bytes, text.size()));
  }
  const auto room = static_cast<size_t>(options.max_queue);
  if (texts.size() > room) {
    refuse(RequestFailure::kTooLarge,
           fmt::format("at most {} texts in a request, got {}", room, texts.size()));
  }
  if (state.queue.size() + texts.size() > room) state.expire_overdue();
  if (state.queue.size() + texts.size() > room) {
    refuse(RequestFailure::kQueueFull,
           fmt::format("room for {} texts in the queue of {}, got {} that wait", texts.size(), room,
                       state.queue.size()));
  }
  pending->accepted_at = Clock::now();
  // A timeout beyond what the clock counts is none.
  constexpr double kLongest = 1e9;
  if (const auto timeout = pending->request.timeout; timeout && timeout->count() < kLongest) {
    pending->deadline =
        pending->accepted_at + std::chrono::duration_cast<Clock::duration>(*timeout);
  }
  ++state.counts.accepted;
  ++state.counts.pending;
  for (size_t i = 0; i < texts.size(); ++i) state.queue.push_back({pending, i});
  if (texts.empty()) state.finish(*pending, state.counts.answered);
  state.changed.notify_all();
  return PendingTranslations(pending);
}

void TranslationService::close() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closed = true;
    state_->changed.notify_all();
  }
  const std::lock_guard lock(state_->closing);
  if (state_->runner.joinable()) state_->runner.join();
}

TranslationServiceStatistics TranslationService::statistics() const {
  const std::lock_guard lock(state_->mutex);
  auto counts = state_->counts;
  counts.waiting_texts = state_->queue.size();
  return counts;
}

const Translator& TranslationService::translator() const { return state_->translator; }

const TranslationServiceOptions& TranslationService::options() const { return state_->options; }

}  // namespace attend
