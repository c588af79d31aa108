#include "demo_corpus/phrase.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "attend/text/words.h"

namespace attend::demo {
namespace {

bool begins_with_vowel_sound(const Piece& piece, Side side) {
  if (piece.blocks_elision || piece.text.empty()) return false;
  const std::string_view text = piece.text;
  const std::string_view letters = side == Side::kSource ? "aeiouAEIOU" : "aeiouyh";
  if (letters.find(text[0]) != std::string_view::npos) return true;
  if (side == Side::kSource) return false;
  constexpr std::array<std::string_view, 8> kAccented = {"à", "â", "é", "è", "ê", "î", "ô", "œ"};
  return std::any_of(kAccented.begin(), kAccented.end(),
                     [&](std::string_view letter) { return text.starts_with(letter); });
}

std::string_view contraction(std::string_view first, std::string_view second) {
  if (first == "de" && second == "le") return "du";
  if (first == "de" && second == "les") return "des";
  if (first == "à" && second == "le") return "au";
  if (first == "à" && second == "les") return "aux";
  return {};
}

// A token whose left neighbour may still change it or be changed by it.
struct OpenToken {
  Token token;
  bool vowel;
  bool glued;
};

void prepend(OpenToken& token, const Piece& piece, const std::string& text) {
  token.token.text = text;
  token.token.units.insert(token.token.units.begin(), piece.unit);
  token.glued = piece.glued;
}

}  // namespace

Phrase& Phrase::operator+=(const Phrase& other) {
  source.insert(source.end(), other.source.begin(), other.source.end());
  target.insert(target.end(), other.target.begin(), other.target.end());
  return *this;
}

std::vector<Token> join(const std::vector<Piece>& pieces, Side side) {
  // Right to left: "de" contracts with "le" only if "le" does not elide.
  std::vector<OpenToken> reversed;
  reversed.reserve(pieces.size());
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    OpenToken* const next = reversed.empty() ? nullptr : &reversed.back();
    const bool changes = next != nullptr && next->vowel && !piece->before_vowel.empty();
    const std::string& text = changes ? piece->before_vowel : piece->text;
    const bool vowel = begins_with_vowel_sound(*piece, side);
    if (next != nullptr && (next->glued || (changes && text.ends_with('\'')))) {
      prepend(*next, *piece, text + next->token.text);
      next->vowel = vowel;
    } else if (next != nullptr && !contraction(text, next->token.text).empty()) {
      prepend(*next, *piece, std::string(contraction(text, next->token.text)));
      next->vowel = vowel;
    } else {
      reversed.push_back({{text, {piece->unit}}, vowel, piece->glued});
    }
  }
  std::vector<Token> tokens;
  tokens.reserve(reversed.size());
  for (auto token = reversed.rbegin(); token != reversed.rend(); ++token) {
    tokens.push_back(std::move(token->token));
  }
  return tokens;
}

std::vector<Token> join_settled(std::vector<Piece> pieces, Side side) {
  const auto open = [](const Piece& piece) {
    return !piece.before_vowel.empty() || piece.text == "à";
  };
  while (!pieces.empty() && open(pieces.back())) pieces.pop_back();
  return join(pieces, side);
}

std::string capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

std::string decapitalised(std::string text) {
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] + 32);
  return text;
}

std::vector<std::string> fragments(std::string_view text, Side side) {
  std::vector<std::string> parts;
  for (std::string& word : split_words(text)) {
    if (word.ends_with(',')) word.pop_back();
    const std::size_t mark = word.find('\'');
    if (mark == std::string::npos) {
      parts.push_back(word);
      continue;
    }
    const std::size_t cut = side == Side::kSource ? mark : mark + 1;
    parts.push_back(word.substr(0, cut));
    if (cut < word.size()) parts.push_back(word.substr(cut));
  }
  return parts;
}

void append_words(std::vector<Piece>& pieces, std::string_view text, int unit) {
  for (std::string& word : split_words(text)) pieces.push_back({std::move(word), unit});
}

int Draft::unit(WordKind kind) {
  kinds_.push_back(kind);
  return static_cast<int>(kinds_.size()) - 1;
}

void Draft::source(std::string_view text, int unit) { append_words(words.source, text, unit); }

void Draft::target(std::string_view text, int unit) { append_words(words.target, text, unit); }

DemoPair Draft::finish() const {
  const std::vector<Token> source = join(words.source, Side::kSource);
  const std::vector<Token> target = join(words.target, Side::kTarget);
  DemoPair pair;
  const auto text = [](const std::vector<Token>& tokens) {
    std::string sentence;
    for (const Token& token : tokens) {
      if (!sentence.empty()) sentence += ' ';
      sentence += token.text;
    }
    return capitalised(std::move(sentence));
  };
  pair.source = text(source);
  pair.target = text(target);

  // The positions of each unit's French words.
  std::vector<std::vector<int>> places(kinds_.size());
  for (std::size_t j = 0; j < target.size(); ++j) {
    for (const int unit : target[j].units) {
      if (unit != kNoUnit) places[static_cast<std::size_t>(unit)].push_back(static_cast<int>(j));
    }
  }
  for (std::size_t i = 0; i < source.size(); ++i) {
    for (const int unit : source[i].units) {
      if (unit == kNoUnit) continue;
      for (const int place : places[static_cast<std::size_t>(unit)]) {
        pair.links.push_back({static_cast<int>(i), place, kinds_[static_cast<std::size_t>(unit)]});
      }
    }
  }
  // If a word and its glued ending give the same link, keep the word's, which comes first.
  const auto same_words = [](const AlignmentLink& a, const AlignmentLink& b) {
    return a.source == b.source && a.target == b.target;
  };
  std::stable_sort(pair.links.begin(), pair.links.end(),
                   [](const AlignmentLink& a, const AlignmentLink& b) {
                     return std::pair(a.source, a.target) < std::pair(b.source, b.target);
                   });
  pair.links.erase(std::unique(pair.links.begin(), pair.links.end(), same_words), pair.links.end());
  return pair;
}

}  // namespace attend::demo
