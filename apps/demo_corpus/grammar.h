#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// A synchronous grammar of simple English and French: it writes a sentence in both languages at
// once, so every pair comes with the words that translate each other. Sentences are written text
// with a capital and without a final period; words are separated by one space, and an elided
// article is part of its word (`l'arbre` is one word, `à côté de` are three). An English sentence
// has exactly one French translation in the grammar. Numbers follow the traditional spelling
// (`soixante et onze`, `quatre cent douze`), hyphens below one hundred only.

namespace attend {

/// What a linked word is, in English.
enum class WordKind {
  kNoun,
  kAdjective,
  kVerb,  // with its auxiliaries and its particle: `looks at` -> `regarde`
  kDeterminer,
  kPronoun,
  kPreposition,
  kNumber,
  kAdverb,
  kNegation,
  kOther,  // conjunctions, relative pronouns, `than`
};

/// One word that translates another, both counted from 0.
struct AlignmentLink {
  int source;
  int target;
  WordKind kind;

  bool operator==(const AlignmentLink&) const = default;
};

/// A sentence, its translation and the gold links between their words, sorted by source then
/// target.
struct DemoPair {
  std::string source;
  std::string target;
  std::vector<AlignmentLink> links;
};

/// Options for `generate_demo_corpus`.
struct DemoCorpusOptions {
  std::uint64_t seed = 1;  // of the sampling; the same seed gives the same corpus everywhere
  int train = 40000;       // training pairs, at least 0
  int validation = 500;    // validation pairs, at least 0
  int test = 500;          // test pairs, at least 0
};

struct DemoCorpus {
  std::vector<DemoPair> train;
  std::vector<DemoPair> validation;
  std::vector<DemoPair> test;
};

/// Distinct pairs; no English sentence occurs twice in the three parts together.
///
/// A tenth of the (noun, adjective) pairs that the grammar can make is held out by a hash of the
/// two words, whatever the seed: every validation and test sentence has such a pair, no training
/// sentence does. The words themselves are not held out: with 40,000 training pairs every piece of
/// a held-out sentence (words cut at apostrophes) occurs 20 times or more in training, with fewer
/// pairs once for every 2,000. The sentences of `demo_showcases` are in none of the three parts.
///
/// Throws: std::invalid_argument for a negative size, or one too large for the grammar.
DemoCorpus generate_demo_corpus(const DemoCorpusOptions& options = {});

/// `The cat sits on the mat`.
DemoPair demo_showcase();

/// About a dozen varied pairs to translate in a demonstration, `demo_showcase` first.
std::vector<DemoPair> demo_showcases();

/// The pairs whose English side is `sentence`: one, or none if the grammar cannot write it.
/// Note:   searches all derivations. More than one pair would be a bug of the grammar.
std::vector<DemoPair> demo_translations(std::string_view sentence);

/// Whether the grammar can write this French sentence. Searches derivations, not a corpus.
bool demo_accepts_french(std::string_view sentence);

}  // namespace attend
