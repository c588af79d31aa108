#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "demo_corpus/grammar.h"

namespace attend::demo {

enum class Side { kSource, kTarget };

/// Words that translate each other have the same unit, a number from `Draft::unit`.
inline constexpr int kNoUnit = -1;

/// A word before elision and contraction.
struct Piece {
  std::string text;
  int unit = kNoUnit;
  std::string before_vowel = {};  // form before a vowel sound (l', bel, an); empty: same
  bool glued = false;             // no space before it: 's, a comma
  bool blocks_elision = false;    // an initial h aspiré: le héros, de onze
};

/// A constituent in both languages, as one list of pieces per side, since word order differs.
struct Phrase {
  std::vector<Piece> source;
  std::vector<Piece> target;

  Phrase& operator+=(const Phrase& other);
};

/// A word as written, and the units of its pieces.
struct Token {
  std::string text;
  std::vector<int> units;
};

/// Joins pieces to words: elision (le arbre -> l'arbre), contraction (de le -> du), a/an. Does not
/// capitalise.
std::vector<Token> join(const std::vector<Piece>& pieces, Side side);

/// The words of an unfinished sentence that later pieces cannot change.
std::vector<Token> join_settled(std::vector<Piece> pieces, Side side);

/// `text` with its first letter, if ASCII, in upper or lower case.
std::string capitalised(std::string text);
std::string decapitalised(std::string text);

/// The units that a search compares: words without commas, split after an elision (l'|arbre) and
/// before an English genitive (farmer|'s).
std::vector<std::string> fragments(std::string_view text, Side side);

/// A sentence under construction.
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
