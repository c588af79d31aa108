#pragma once

// For programs that turn text into tokens and back.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// The pieces of the special tokens.
struct SpecialTokens {
  std::string pad = "<pad>";
  std::string eos = "</s>";
  std::string unk = "<unk>";
};

/// A list of subwords (pieces) and their ids.
///
/// Throws: c10::ValueError from the constructor if a piece occurs twice or a special token is
///         missing, and from piece() for an id without a piece.
class ATTEND_TOOLKIT_API Vocabulary {
 public:
  /// pieces[id] is the piece of an id, or empty for an id without a piece.
  explicit Vocabulary(std::vector<std::string> pieces, const SpecialTokens& special = {});

  /// The number of ids, which is the number of rows of an embedding.
  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }

  bool contains(std::string_view piece) const { return ids_.contains(piece); }

  /// Whether `id` has a piece.
  bool contains(int64_t id) const {
    return id >= 0 && id < size() && !pieces_[static_cast<size_t>(id)].empty();
  }

  /// The id of a piece, or unk_id() if the vocabulary does not have it.
  int64_t id(std::string_view piece) const;

  const std::string& piece(int64_t id) const;

  /// Whether `id` is the padding, end or unknown token.
  bool is_special(int64_t id) const { return id == pad_id_ || id == eos_id_ || id == unk_id_; }

  int64_t pad_id() const { return pad_id_; }
  int64_t eos_id() const { return eos_id_; }
  int64_t unk_id() const { return unk_id_; }

 private:
  // Allows lookups in ids_ by std::string_view.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::vector<std::string> pieces_;
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> ids_;
  int64_t pad_id_ = 0, eos_id_ = 0, unk_id_ = 0;
};

}  // namespace attend
