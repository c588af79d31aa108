#include "attend/text/vocabulary.h"

#include <torch/torch.h>

#include <utility>

#include "detail/excerpt.h"

namespace attend {

Vocabulary::Vocabulary(std::vector<std::string> pieces, const SpecialTokens& special)
    : pieces_(std::move(pieces)) {
  ids_.reserve(pieces_.size());
  for (int64_t id = 0; id < size(); ++id) {
    const auto& piece = pieces_[static_cast<size_t>(id)];
    if (piece.empty()) continue;
    const auto [entry, is_new] = ids_.emplace(piece, id);
    TORCH_CHECK_VALUE(is_new, "Vocabulary: expected every piece once, got '",
                      detail::excerpt(piece), "' as ", entry->second, " and ", id);
  }
  const auto special_id = [&](const std::string& token) {
    const auto found = ids_.find(token);
    TORCH_CHECK_VALUE(found != ids_.end(), "Vocabulary: expected the special token '",
                      detail::excerpt(token), "', got ", ids_.size(), " pieces without it");
    return found->second;
  };
  pad_id_ = special_id(special.pad);
  eos_id_ = special_id(special.eos);
  unk_id_ = special_id(special.unk);
}

int64_t Vocabulary::id(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? unk_id_ : found->second;
}

const std::string& Vocabulary::piece(int64_t id) const {
  TORCH_CHECK_VALUE(id >= 0 && id < size(), "Vocabulary: expected an id in [0, ", size(), "), got ",
                    id);
  TORCH_CHECK_VALUE(contains(id), "Vocabulary: expected an id with a piece, got ", id);
  return pieces_[static_cast<size_t>(id)];
}

}  // namespace attend
