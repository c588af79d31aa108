#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "attend/translation/translator.h"

namespace attend::detail {

/// Translates texts that join while others decode, by `ContinuousBeamSearch`. For one thread at a time.
class TranslationStream {
 public:
  /// A text whose translation has ended.
  struct Ended {
    size_t id = 0;
    std::vector<Translation> translations = {};
    std::exception_ptr error = {};  // why there are none; null if there are
  };

  /// The translator must outlive the stream. max_parts: most parts of texts that decode at a time.
  TranslationStream(const Translator& translator, int64_t max_parts);
  ~TranslationStream();
  TranslationStream(const TranslationStream&) = delete;
  TranslationStream& operator=(const TranslationStream&) = delete;
  TranslationStream(TranslationStream&&) = delete;
  TranslationStream& operator=(TranslationStream&&) = delete;

  /// Adds a text, which takes part from the next step on. id: one that is not in use. An error of the text
  /// is what its translation ends with.
  void admit(size_t id, const std::string& text, int64_t n_best, bool attention);

  /// Takes a step of decoding, and returns the texts that have ended.
  std::vector<Ended> step();

  /// Drops a text, without effect if there is none of that id.
  void cancel(size_t id);

  /// The texts that have not ended.
  size_t size() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend::detail
