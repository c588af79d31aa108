#pragma once

#include <string>

#include "attend/translation/bleu.h"

namespace attend::detail {

/// Puts spaces around the tokens of a line, as sacreBLEU's tokenizer of that name does.
std::u32string tokenize_for_bleu(BleuTokenizer tokenizer, const std::u32string& line);

}  // namespace attend::detail
