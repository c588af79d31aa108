#include "demo_corpus/chooser.h"

#include <algorithm>
#include <bit>

#include "attend/text/words.h"
#include "demo_corpus/number_words.h"
#include "detail/splitmix64.h"

namespace attend::demo {
namespace {

constexpr std::size_t kLongestNumber = 8;  // at least the words of any number in either language

// Maps every number's text, masculine and feminine, to the number.
template <Side kSide>
const std::unordered_map<std::string, int>& numbers_by_words() {
  static const auto table = [] {
    std::unordered_map<std::string, int> numbers;
    for (const bool feminine : {false, true}) {
      for (int n = 0; n <= kLargestNumber; ++n) {
        std::string text;
        for (const NumberChunk& chunk : number_chunks(n, feminine, "numbers_by_words")) {
          for (const std::string& word : kSide == Side::kSource ? chunk.english : chunk.french) {
            text += word + " ";
          }
        }
        numbers.emplace(std::move(text), n);
      }
    }
    return numbers;
  }();
  return table;
}

}  // namespace

std::size_t Chooser::choose(std::initializer_list<int> weights) {
  options_.clear();
  for (const int weight : weights) options_.push_back({weight});
  return choose(options_, Reach::kPhrase);
}

Random::Random(std::uint64_t seed) {
  for (std::uint64_t& word : state_) {
    word = detail::splitmix64(seed);
    seed += detail::kSplitMix64Step;
  }
}

std::uint64_t Random::next() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

std::uint64_t Random::below(std::uint64_t bound) {
  // Rejection sampling: values below 2^64 mod bound would bias the result.
  const std::uint64_t uneven = (0 - bound) % bound;
  std::uint64_t value = next();
  while (value < uneven) value = next();
  return value % bound;
}

std::size_t RandomChooser::choose(std::span<const Option> options, Reach) {
  std::uint64_t total = 0;
  for (const Option& option : options) total += static_cast<std::uint64_t>(option.weight);
  if (total == 0) throw DeadEnd();
  std::uint64_t left = random_.below(total);
  std::size_t index = 0;
  while (left >= static_cast<std::uint64_t>(options[index].weight)) {
    left -= static_cast<std::uint64_t>(options[index].weight);
    ++index;
  }
  return index;
}

int RandomChooser::number(int low, int high) {
  struct Band {
    int first;
    int last;
    int weight;  // 21 to 99 are single words, so they must occur most often
    int round;   // a quarter of the band's numbers are multiples of this
  };
  constexpr Band kBands[] = {
      {0, 12, 14, 1}, {13, 99, 56, 1}, {100, 999, 34, 100}, {1000, kLargestNumber, 12, 100}};
  std::vector<Option> options;
  for (const Band& band : kBands) {
    const bool possible = band.first <= high && band.last >= low;
    options.push_back({possible ? band.weight : 0});
  }
  const Band& band = kBands[choose(options, Reach::kPhrase)];
  const int from = std::max(band.first, low);
  const int to = std::min(band.last, high);
  const int n = from + static_cast<int>(random_.below(static_cast<std::uint64_t>(to) + 1 -
                                                      static_cast<std::uint64_t>(from)));
  const int round = n - n % band.round;
  return round >= from && random_.below(4) == 0 ? round : n;
}

void RandomChooser::confirm(const Phrase&) {}

SearchChooser::SearchChooser(std::string_view sentence, Side side)
    : side_(side), words_(split_words(sentence)) {
  for (const std::string& word : words_) {
    first_fragment_.push_back(fragments_.size());
    for (std::string& part : fragments(word, side)) fragments_.push_back(std::move(part));
  }
  first_fragment_.push_back(fragments_.size());
  for (std::size_t i = 0; i < fragments_.size(); ++i) places_[fragments_[i]].push_back(i);
  if (!fragments_.empty()) {
    auto& first = places_[decapitalised(fragments_[0])];
    if (first.empty() || first[0] != 0) first.insert(first.begin(), 0);
  }
  const auto& known =
      side == Side::kSource ? numbers_by_words<Side::kSource>() : numbers_by_words<Side::kTarget>();
  for (std::size_t begin = 0; begin < words_.size(); ++begin) {
    std::string text;
    const std::size_t last = std::min(words_.size(), begin + kLongestNumber);
    for (std::size_t end = begin; end < last; ++end) {
      text += words_[end] + " ";
      const auto found = known.find(text);
      if (found != known.end()) numbers_.push_back(found->second);
    }
  }
}

bool SearchChooser::possible(const Marks& marks, Reach reach) {
  const auto& forms = side_ == Side::kSource ? marks.source : marks.target;
  if (forms.empty()) return true;
  const auto [entry, is_new] = mark_places_.try_emplace(&marks);
  std::vector<std::size_t>& places = entry->second;
  if (is_new) {
    for (const std::string& form : forms) {
      const auto found = places_.find(form);
      if (found == places_.end()) continue;
      places.insert(places.end(), found->second.begin(), found->second.end());
    }
  }
  return std::any_of(places.begin(), places.end(), [&](std::size_t place) {
    return place >= settled_ && place < settled_ + static_cast<std::size_t>(reach);
  });
}

int SearchChooser::decide(const std::vector<int>& candidates) {
  if (depth_ == path_.size()) {
    if (candidates.empty()) throw DeadEnd();
    path_.push_back({candidates, 0});
  }
  const Decision& decision = path_[depth_++];
  return decision.candidates[decision.taken];
}

std::size_t SearchChooser::choose(std::span<const Option> options, Reach reach) {
  candidates_.clear();
  if (depth_ == path_.size()) {
    for (std::size_t i = 0; i < options.size(); ++i) {
      const Option& option = options[i];
      if (option.weight > 0 && (option.marks == nullptr || possible(*option.marks, reach))) {
        candidates_.push_back(static_cast<int>(i));
      }
    }
  }
  return static_cast<std::size_t>(decide(candidates_));
}

int SearchChooser::number(int low, int high) {
  candidates_.clear();
  for (const int n : numbers_) {
    if (n >= low && n <= high) candidates_.push_back(n);
  }
  return decide(candidates_);
}

void SearchChooser::confirm(const Phrase& words) {
  const auto& pieces = side_ == Side::kSource ? words.source : words.target;
  std::vector<Token> tokens = join_settled(pieces, side_);
  if (tokens.size() > words_.size()) throw DeadEnd();
  if (!tokens.empty()) tokens[0].text = capitalised(std::move(tokens[0].text));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].text != words_[i]) throw DeadEnd();
  }
  settled_ = first_fragment_[tokens.size()];
}

bool SearchChooser::next() {
  depth_ = 0;
  settled_ = 0;
  while (!path_.empty() && ++path_.back().taken == path_.back().candidates.size()) {
    path_.pop_back();
  }
  return !path_.empty();
}

}  // namespace attend::demo
