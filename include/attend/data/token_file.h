#pragma once

// For programs that train on files of text.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "attend/data/batches.h"
#include "attend/toolkit_export.h"

namespace attend {

/// A corpus of sentence pairs as token ids on disk, which may be larger than memory.
///
/// Pairs are stored in blocks of `kBlockPairs`, and only the requested blocks are read. The format:
/// a 16-byte magic string; for each pair its two lengths and its ids, 32 bits each; the offset of
/// each block; the writer's note; the numbers of pairs and blocks and the fingerprint. All numbers
/// are little-endian.
///
/// Copies refer to the same file, from which each block is read on request.
class ATTEND_TOOLKIT_API TokenFile {
 public:
  static constexpr size_t kBlockPairs = 1024;

  /// Reads the index at the end of the file.
  ///
  /// Throws: FileError if the file is missing, truncated or not a token file.
  explicit TokenFile(std::filesystem::path path);

  size_t size() const { return pairs_; }  // pairs
  size_t blocks() const { return starts_.size() - 1; }
  /// The text that was passed to `commit`.
  const std::string& note() const { return note_; }
  /// Equal to `fingerprint` of the same pairs in memory.
  uint64_t fingerprint() const { return fingerprint_; }
  const std::filesystem::path& path() const { return path_; }

  /// The pairs of some blocks, in the order of `blocks`.
  ///
  /// Throws: FileError if the file has changed; c10::IndexError for a block out of range.
  std::vector<TokenPair> read(const std::vector<size_t>& blocks) const;

 private:
  std::filesystem::path path_;
  std::vector<uint64_t> starts_;  // of each block, and the end of the last one
  size_t pairs_ = 0;
  std::string note_;
  uint64_t fingerprint_ = 0;
};

/// Writes a TokenFile atomically: the file appears at its path only when it is complete.
class ATTEND_TOOLKIT_API TokenFileWriter {
 public:
  /// Throws: FileError, as the others here do.
  explicit TokenFileWriter(const std::filesystem::path& path);
  ~TokenFileWriter();
  TokenFileWriter(TokenFileWriter&&) noexcept;
  TokenFileWriter& operator=(TokenFileWriter&&) noexcept;
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  /// Throws: c10::ValueError for an id that does not fit into 32 bits.
  void add(const TokenPair& pair);
  /// Syncs the file to disk, renames it to its path and opens it.
  TokenFile commit(const std::string& note);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend
