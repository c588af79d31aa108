#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attend/text/vocabulary.h"

namespace attend::detail {

/// The index of the word that each piece belongs to when the pieces are joined to a text.
///
/// A piece that starts with "▁" begins a word. A lone "▁" belongs to the next word and does not
/// begin one, so "▁", "chat" is one word; at the end it belongs to the last word. `<unk>`, `</s>`
/// and `<pad>` belong to none (-1), since they add no text.
std::vector<int64_t> word_indices(const std::vector<std::string>& pieces,
                                  const SpecialTokens& special = {});

}  // namespace attend::detail
