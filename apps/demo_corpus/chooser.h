#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "demo_corpus/lexicon.h"
#include "demo_corpus/phrase.h"

namespace attend::demo {

/// Thrown by a Chooser where the derivation can go no further. An exception because it leaves the
/// whole derivation, from any depth, and the grammar has nothing to say about it.
struct DeadEnd {};

/// One way to go on.
struct Option {
  int weight;                    // 0: excluded
  const Marks* marks = nullptr;  // of the words it will write; null: any words
};

/// How far ahead the words of an option may be, in fragments behind the settled sentence.
enum class Reach { kNext = 4, kVerb = 9, kPhrase = 16 };

/// Takes the decisions of a derivation: at random to generate, in turn to search.
class Chooser {
 public:
  virtual ~Chooser() = default;

  /// The index of one option.
  virtual std::size_t choose(std::span<const Option> options, Reach reach) = 0;

  /// A number between low and high.
  virtual int number(int low, int high) = 0;

  /// The sentence begins with `words`.
  virtual void confirm(const Phrase& words) = 0;

  /// Index by weight of options that may write any words.
  std::size_t choose(std::initializer_list<int> weights);

  bool maybe(int percent) { return choose({100 - percent, percent}) == 1; }

  /// An entry of a table, weighted by `weight_of` of it.
  template <typename Row, typename WeightOf>
  const Entry<Row>& pick(std::span<const Entry<Row>> table, Reach reach,
                         const WeightOf& weight_of) {
    options_.clear();
    for (const Entry<Row>& entry : table) options_.push_back({weight_of(entry), &entry.marks});
    return table[choose(options_, reach)];
  }

 private:
  std::vector<Option> options_;  // of the current choice, kept for its memory
};

/// Pseudo-random numbers that are the same everywhere (std's distributions are not).
///
/// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021
///         (xoshiro256**), seeded by splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed);
  std::uint64_t next();
  /// Uniform in 0 .. bound - 1.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t state_[4];
};

class RandomChooser final : public Chooser {
 public:
  explicit RandomChooser(Random& random) : random_(random) {}
  using Chooser::choose;
  std::size_t choose(std::span<const Option> options, Reach reach) override;
  int number(int low, int high) override;
  void confirm(const Phrase& words) override;

 private:
  Random& random_;
};

/// Leads through all derivations whose words agree with a sentence, one derivation after another:
/// each repeats the decisions of the one before up to the last that can be taken otherwise.
class SearchChooser final : public Chooser {
 public:
  SearchChooser(std::string_view sentence, Side side);

  using Chooser::choose;
  std::size_t choose(std::span<const Option> options, Reach reach) override;
  int number(int low, int high) override;
  void confirm(const Phrase& words) override;

  /// Prepares the next derivation; false when all have been seen.
  bool next();

 private:
  struct Decision {
    std::vector<int> candidates;
    std::size_t taken;
  };

  bool possible(const Marks& marks, Reach reach);
  int decide(const std::vector<int>& candidates);

  Side side_;
  std::vector<std::string> words_;
  std::vector<std::size_t> first_fragment_;  // of each word
  std::vector<std::string> fragments_;
  std::unordered_map<std::string, std::vector<std::size_t>> places_;  // of each fragment
  std::unordered_map<const Marks*, std::vector<std::size_t>> mark_places_;
  std::vector<int> numbers_;  // written in the sentence
  std::vector<Decision> path_;
  std::size_t depth_ = 0;    // decisions taken in this derivation
  std::size_t settled_ = 0;  // fragments that this derivation has written
  std::vector<int> candidates_;
};

}  // namespace attend::demo
