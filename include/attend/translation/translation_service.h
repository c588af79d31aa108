#pragma once

// For programs that translate for many callers at a time, such as servers.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"
#include "attend/translation/latency_histogram.h"
#include "attend/translation/translator.h"

namespace attend {

/// Options for `TranslationService`.
struct TranslationServiceOptions {
  int64_t workers = 0;             // batches decoded at a time; 0: one for each of LibTorch's
                                   // threads, which the workers divide among them
  int64_t max_queue = 256;         // texts that may wait for a worker; > 0
  int64_t max_batch = 32;          // texts that a worker decodes at a time; > 0
  int64_t max_text_bytes = 16384;  // of one text; > 0
};

/// What one caller asks for.
struct TranslationRequest {
  std::vector<std::string> texts;  // may be empty
  int64_t n_best = 1;              // translations of each text; at most the translator's beam_size
  bool attention = false;          // with attention and alignment
  std::optional<std::chrono::duration<double>> timeout = {};  // seconds from `submit` to the answer
};

/// Why a request is refused, or accepted and not answered.
enum class RequestFailure {
  kQueueFull,  // later there may be room
  kTooLarge,   // a text is too long, or there are more texts than the queue holds
  kClosed,     // the service
  kExpired,    // the request's timeout
  kCancelled,  // by the caller
};

/// The request, or the state of the service, is at fault, not the translation.
class ATTEND_TOOLKIT_API TranslationServiceError : public std::runtime_error {
 public:
  TranslationServiceError(RequestFailure failure, const std::string& message)
      : std::runtime_error(message), failure_(failure) {}
  RequestFailure failure() const { return failure_; }

 private:
  RequestFailure failure_;
};

/// Counts since the service began. accepted = answered + failed + cancelled + expired + pending.
struct TranslationServiceStatistics {
  uint64_t accepted = 0;  // requests
  uint64_t refused = 0;   // those that `submit` threw a TranslationServiceError for
  uint64_t answered = 0, failed = 0, cancelled = 0, expired = 0;
  uint64_t pending = 0;                           // accepted and not finished
  uint64_t waiting_texts = 0;                     // of those; the queue's length
  uint64_t batches = 0;                           // groups of texts taken from the queue
  uint64_t source_tokens = 0, target_tokens = 0;  // of the texts and translations delivered
  LatencyHistogram latency;                       // from `submit` to the answer, of those answered
};

/// A request that the service has accepted. One thread at a time may use it, also when the service is
/// gone. Letting go of it does not cancel the request.
class ATTEND_TOOLKIT_API PendingTranslations {
 public:
  /// Waits until the request is finished, at most `seconds`. Returns whether it is.
  bool wait_for(std::chrono::duration<double> seconds) const;

  /// Waits for the translations of each text, best first, in the order of the texts. They live as long
  /// as this object.
  /// Throws: TranslationServiceError (kExpired, kCancelled), or what the translator threw for one of
  ///         the texts.
  const std::vector<std::vector<Translation>>& get() const;

  /// Gives up on the request: texts that wait are not translated, translations that are on their way
  /// are dropped. Without effect once it is finished.
  void cancel() const;

 private:
  friend class TranslationService;
  struct State;
  explicit PendingTranslations(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

/// Translates for many threads. The texts of all callers wait in one queue, and are translated
/// together by a few workers. A worker takes its share of what waits, between two steps of decoding: texts
/// join while others decode (`ContinuousBeamSearch`), and leave when they have ended or nobody waits for
/// them. Of a model that is neither prepared for inference nor `graphed`, those that were taken start
/// together when the last that decodes has ended.
///
/// A request's answer does not depend on who shares its batch. With a translator that is prepared for
/// inference (`TranslatorOptions::precision`, by default where the model can be), every bit is the
/// same: texts, scores and attention. Otherwise LibTorch's products round differently in batches of
/// other sizes: scores agree to rounding, and texts do unless two hypotheses are that close.
///
/// If a step fails, the texts that it was for are translated one by one, so that only the requests of
/// those at fault fail.
///
/// Throws: c10::ValueError for options.
class ATTEND_TOOLKIT_API TranslationService {
 public:
  explicit TranslationService(Translator translator, const TranslationServiceOptions& options = {});
  ~TranslationService();  // close()
  TranslationService(const TranslationService&) = delete;
  TranslationService& operator=(const TranslationService&) = delete;
  TranslationService(TranslationService&&) = delete;
  TranslationService& operator=(TranslationService&&) = delete;

  /// Accepts a request; any thread may call this. It does not wait.
  /// Throws: TranslationServiceError (kQueueFull, kTooLarge, kClosed); c10::ValueError for n_best, and
  ///         unless the timeout is positive.
  PendingTranslations submit(TranslationRequest request);

  /// Refuses new requests, and returns when all accepted ones are finished. Any thread may call this,
  /// several times too.
  void close();

  TranslationServiceStatistics statistics() const;
  const Translator& translator() const;
  const TranslationServiceOptions& options() const;  // with the number of workers

 private:
  friend class PendingTranslations;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace attend
