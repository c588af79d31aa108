#pragma once

#include <string>

#include "attend/translation/bleu.h"

namespace attend::detail {

/// Separates the tokens of a line by spaces, like sacreBLEU's tokenizer of the same name.
std::u32string tokenize_for_bleu(BleuTokenizer tokenizer, const std::u32string& line);

}  // namespace attend::detail
