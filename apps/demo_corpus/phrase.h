#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "demo_corpus/grammar.h"

namespace attend::demo {

enum class Side { kSource, kTarget };

/// Words that translate each other share a unit, a number that `Draft` gives out.
inline constexpr int kNoUnit = -1;

/// A word before it meets its neighbours.
struct Piece {
  std::string text;
  int unit = kNoUnit;
  std::string before_vowel = {};  // its form before a vowel sound (l', bel, an); empty: the same
  bool glued = false;             // to the piece before it, without a space: 's, a comma
  bool blocks_elision = false;    // an initial h aspiré: le héros, de onze
};

/// A constituent in both languages. Word order differs within, so each side is a list of its own.
struct Phrase {
  std::vector<Piece> source;
  std::vector<Piece> target;

  Phrase& operator+=(const Phrase& other);
};

/// A written word and the units of the pieces that it is made of.
struct Token {
  std::string text;
  std::vector<int> units;
};

/// Writes pieces out: elision (le arbre -> l'arbre), contraction (de le -> du), a/an. No capital.
std::vector<Token> join(const std::vector<Piece>& pieces, Side side);

/// The tokens of an unfinished sentence that no following piece can change any more.
std::vector<Token> join_settled(std::vector<Piece> pieces, Side side);

/// `text` with its first letter, an ASCII one, in upper or lower case.
std::string capitalised(std::string text);
std::string decapitalised(std::string text);

/// The parts of a text that the grammar puts together: words without commas, cut after an elision
/// (l'|arbre), or before an English genitive (farmer|'s).
std::vector<std::string> fragments(std::string_view text, Side side);

/// A sentence while it is written.
class Draft {
 public:
  /// A new unit, for words that translate each other.
  int unit(WordKind kind);

  /// Appends words, separated by spaces, to a side of the sentence.
  void source(std::string_view text, int unit);
  void target(std::string_view text, int unit);

  DemoPair finish() const;

  Phrase words;

 private:
  std::vector<WordKind> kinds_;  // of each unit
};

/// Appends the words of `text` to `pieces`.
void append_words(std::vector<Piece>& pieces, std::string_view text, int unit);

}  // namespace attend::demo
