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

/// Thrown by a Chooser if the derivation cannot continue. An exception, since it may be thrown at
/// any depth and always ends the whole derivation.
struct DeadEnd {};

/// One alternative of a decision.
struct Option {
  int weight;                    // 0: excluded
  const Marks* marks = nullptr;  // marks of its words; null: may write any words
};

/// How many fragments after the confirmed part of the sentence an option's words may stand.
enum class Reach { kNext = 4, kVerb = 9, kPhrase = 16 };

/// Makes the decisions of a derivation: at random for generation, exhaustively for a search.
class Chooser {
 public:
  virtual ~Chooser() = default;

  /// Returns the index of the chosen option.
  virtual std::size_t choose(std::span<const Option> options, Reach reach) = 0;

  /// Returns a number in [low, high].
  virtual int number(int low, int high) = 0;

  /// Tells the chooser that the sentence begins with `words`.
  virtual void confirm(const Phrase& words) = 0;

  /// Chooses among options without marks, given by their weights. Returns the index.
  std::size_t choose(std::initializer_list<int> weights);

  bool maybe(int percent) { return choose({100 - percent, percent}) == 1; }

  /// Chooses an entry of a table, with weights weight_of(entry).
  template <typename Row, typename WeightOf>
  const Entry<Row>& pick(std::span<const Entry<Row>> table, Reach reach,
                         const WeightOf& weight_of) {
    options_.clear();
    for (const Entry<Row>& entry : table) options_.push_back({weight_of(entry), &entry.marks});
    return table[choose(options_, reach)];
  }

 private:
  std::vector<Option> options_;  // of the current choice; a member to reuse its memory
};

/// A random generator with the same numbers on every platform; std's distributions differ.
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

/// Enumerates all derivations that agree with a sentence by depth-first search: each repeats the
/// decisions of the previous one up to the last that has an untried candidate.
class SearchChooser final : public Chooser {
 public:
  SearchChooser(std::string_view sentence, Side side);

  using Chooser::choose;
  std::size_t choose(std::span<const Option> options, Reach reach) override;
  int number(int low, int high) override;
  void confirm(const Phrase& words) override;

  /// Prepares the next derivation. Returns false if there is none.
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
  std::vector<int> numbers_;  // the numbers that the sentence contains
  std::vector<Decision> path_;
  std::size_t depth_ = 0;    // number of decisions in this derivation
  std::size_t settled_ = 0;  // number of fragments confirmed in this derivation
  std::vector<int> candidates_;
};

}  // namespace attend::demo
