#include "demo_corpus/grammar.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "demo_corpus/chooser.h"
#include "demo_corpus/phrase.h"
#include "demo_corpus/sentence.h"

namespace attend {
namespace {

using demo::Side;

constexpr std::array<const char*, 12> kShowcases = {
    "The cat sits on the mat",
    "The farmer has four hundred and twelve sheep",
    "My sister's old horse is not in the garden",
    "Yesterday, the queen bought a beautiful white dress",
    "The new nurse does not drink hot coffee",
    "There are seventy-one small birds in this forest",
    "We must bring fresh bread to the children",
    "The girls sat near the window this morning",
    "His grandmother is eighty years old",
    "The story that the student reads is very long",
    "The old man wants to sell his house tomorrow",
    "These bears are more dangerous than the white wolf",
};

// Each fragment of a held-out sentence occurs at least this often in training, or once per
// kPairsPerOccurrence training pairs if that is less.
constexpr int kMostOccurrences = 20;
constexpr int kPairsPerOccurrence = 2000;

// Attempts at a new sentence before the grammar counts as exhausted.
constexpr int kMostAttempts = 100000;

const std::string& text_of(const DemoPair& pair, Side side) {
  return side == Side::kSource ? pair.source : pair.target;
}

// Calls `accept` with every derivation of the sentence until it returns true.
template <typename Accept>
void search(std::string_view sentence, Side side, const Accept& accept) {
  demo::SearchChooser chooser(sentence, side);
  do {
    try {
      demo::Derivation derivation = demo::derive(chooser);
      if (text_of(derivation.pair, side) != sentence) continue;
      if (accept(std::move(derivation.pair))) return;
    } catch (const demo::DeadEnd&) {
    }
  } while (chooser.next());
}

class CorpusGenerator {
 public:
  explicit CorpusGenerator(std::uint64_t seed) : random_(seed), chooser_(random_) {
    for (const char* const showcase : kShowcases) written_.insert(showcase);
    for (const DemoPair& pair : demo_showcases()) excluded_.insert(pair.target);
  }

  std::vector<DemoPair> train(int size) {
    std::vector<DemoPair> pairs = sample(size, false);
    for (const DemoPair& pair : pairs) {
      for (const std::string& part : parts(pair)) ++occurrences_[part];
    }
    least_ = std::min(kMostOccurrences, size / kPairsPerOccurrence);
    return pairs;
  }

  std::vector<DemoPair> held_out(int size) { return sample(size, true); }

 private:
  static std::vector<std::string> parts(const DemoPair& pair) {
    std::vector<std::string> all;
    for (const Side side : {Side::kSource, Side::kTarget}) {
      for (std::string& part : demo::fragments(text_of(pair, side), side)) {
        // Prefixed by side: the same spelling in both languages counts as two words.
        all.push_back((side == Side::kSource ? "<" : ">") + std::move(part));
      }
    }
    return all;
  }

  bool is_learnable(const DemoPair& pair) const {
    const std::vector<std::string> all = parts(pair);
    return std::all_of(all.begin(), all.end(), [&](const std::string& part) {
      const auto found = occurrences_.find(part);
      return (found == occurrences_.end() ? 0 : found->second) >= least_;
    });
  }

  std::vector<DemoPair> sample(int size, bool held_out) {
    std::vector<DemoPair> pairs;
    pairs.reserve(static_cast<std::size_t>(size));
    int attempts = 0;
    while (pairs.size() < static_cast<std::size_t>(size)) {
      if (++attempts > kMostAttempts) {
        throw std::invalid_argument(
            "generate_demo_corpus: expected sizes that the grammar can fill, got one that needs "
            "more than its " +
            std::to_string(pairs.size()) + " sentences");
      }
      try {
        demo::Derivation derivation = demo::derive(chooser_);
        DemoPair& pair = derivation.pair;
        if (derivation.held_out != held_out || excluded_.contains(pair.target)) continue;
        if (held_out && !is_learnable(pair)) continue;
        if (!written_.insert(pair.source).second) continue;
        pairs.push_back(std::move(pair));
        attempts = 0;
      } catch (const demo::DeadEnd&) {
      }
    }
    return pairs;
  }

  demo::Random random_;
  demo::RandomChooser chooser_;
  std::unordered_set<std::string> written_;   // English sentences
  std::unordered_set<std::string> excluded_;  // French sentences
  std::unordered_map<std::string, int> occurrences_;
  int least_ = 0;
};

}  // namespace

DemoCorpus generate_demo_corpus(const DemoCorpusOptions& options) {
  for (const int size : {options.train, options.validation, options.test}) {
    if (size < 0) {
      throw std::invalid_argument("generate_demo_corpus: expected sizes of at least 0, got " +
                                  std::to_string(size));
    }
  }
  CorpusGenerator generator(options.seed);
  DemoCorpus corpus;
  corpus.train = generator.train(options.train);
  corpus.validation = generator.held_out(options.validation);
  corpus.test = generator.held_out(options.test);
  return corpus;
}

std::vector<DemoPair> demo_translations(std::string_view sentence) {
  std::vector<DemoPair> pairs;
  search(sentence, Side::kSource, [&](DemoPair&& found) {
    const auto is_same = [&](const DemoPair& pair) { return pair.target == found.target; };
    if (std::none_of(pairs.begin(), pairs.end(), is_same)) pairs.push_back(std::move(found));
    return false;
  });
  return pairs;
}

bool demo_accepts_french(std::string_view sentence) {
  bool accepted = false;
  search(sentence, Side::kTarget, [&](const DemoPair&) { return accepted = true; });
  return accepted;
}

DemoPair demo_showcase() { return demo_translations(kShowcases[0]).at(0); }

std::vector<DemoPair> demo_showcases() {
  std::vector<DemoPair> pairs;
  pairs.reserve(kShowcases.size());
  for (const char* const showcase : kShowcases) {
    pairs.push_back(demo_translations(showcase).at(0));
  }
  return pairs;
}

}  // namespace attend
