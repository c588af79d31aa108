#pragma once

// For programs that train on files of text.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// Sentence pairs: target[i] is the translation of source[i].
struct ParallelText {
  std::vector<std::string> source;
  std::vector<std::string> target;  // as many as source

  size_t size() const { return source.size(); }
};

/// Reads two text files that are aligned line by line, a number of pairs at a time.
///
/// Throws: FileError as LineReader does, and where a file ends before the other.
class ATTEND_TOOLKIT_API ParallelReader {
 public:
  ParallelReader(const std::filesystem::path& source_path,
                 const std::filesystem::path& target_path);
  ~ParallelReader();
  ParallelReader(ParallelReader&&) noexcept;
  ParallelReader& operator=(ParallelReader&&) noexcept;
  ParallelReader(const ParallelReader&) = delete;
  ParallelReader& operator=(const ParallelReader&) = delete;

  /// The next pairs, at most `count`; none at the end.
  ParallelText next(size_t count);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All pairs of two text files.
///
/// Throws: FileError as ParallelReader does.
ATTEND_TOOLKIT_API ParallelText read_parallel(const std::filesystem::path& source_path,
                                              const std::filesystem::path& target_path);

/// Sentences of both sides, spread evenly over two files that may be larger than memory.
struct SentenceSample {
  std::vector<std::string> sentences;  // all sources, then all targets
  int64_t pairs = 0;                   // of the files
};

/// Reads both files. Keeps every pair if there are at most max_pairs, otherwise every second,
/// fourth, ... pair, at least half of max_pairs.
///
/// Throws: FileError as ParallelReader does; c10::ValueError unless max_pairs > 0.
ATTEND_TOOLKIT_API SentenceSample sample_parallel(const std::filesystem::path& source_path,
                                                  const std::filesystem::path& target_path,
                                                  int64_t max_pairs);

}  // namespace attend
