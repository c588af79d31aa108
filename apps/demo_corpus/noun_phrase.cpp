#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "demo_corpus/number_words.h"
#include "demo_corpus/sentence.h"
#include "detail/splitmix64.h"

namespace attend::demo {
namespace {

// One in this many (noun, adjective) pairs is held out of training.
constexpr std::uint64_t kHeldOutShare = 10;

bool pair_is_held_out(const Noun& noun, const Adjective& adjective) {
  std::uint64_t hash = 0;
  for (const std::string_view word : {noun.source_singular, adjective.source}) {
    for (const char letter : word)
      hash = detail::splitmix64(hash ^ static_cast<unsigned char>(letter));
    hash = detail::splitmix64(hash);
  }
  return hash % kHeldOutShare == 0;
}

constexpr std::initializer_list<DeterminerKind> kQuantifiers = {
    DeterminerKind::kA, DeterminerKind::kEvery, DeterminerKind::kSome, DeterminerKind::kMany,
    DeterminerKind::kAllThe};

bool is_any_of(DeterminerKind kind, std::initializer_list<DeterminerKind> kinds) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

bool determiner_suits(const Determiner& determiner, const Noun& noun) {
  using Kind = DeterminerKind;
  const Kind kind = determiner.kind;
  const Traits traits = noun.traits;
  if (determiner.plural && (traits & kUnique) != 0) return false;
  if (is_any_of(kind, {Kind::kOwner, Kind::kGenitive}) && (traits & kOwned) == 0) return false;
  if ((traits & kKin) != 0) return is_any_of(kind, {Kind::kOwner, Kind::kGenitive});
  if ((traits & (kMass | kDrink)) != 0) {
    return !determiner.plural &&
           is_any_of(kind, {Kind::kThe, Kind::kOwner, Kind::kThis, Kind::kBare, Kind::kGenitive});
  }
  if (kind == Kind::kBare && !determiner.plural) return false;
  // The plural of sheep is sheep, so only the determiner can show the number.
  if ((traits & kInvariant) != 0) {
    return !is_any_of(kind, {Kind::kThe, Kind::kOwner, Kind::kBare, Kind::kGenitive});
  }
  return true;
}

}  // namespace

int Sentence::weight_of(const Adjective& adjective, Fits fits) const {
  const bool used = std::find(used_adjectives_.begin(), used_adjectives_.end(), &adjective) !=
                    used_adjectives_.end();
  if (used || (fits & adjective.bit) == 0) return 0;
  // Weighted inversely to the number of nouns that it suits, so that all adjectives are frequent.
  static const std::vector<int> weights = [] {
    std::vector<int> table;
    for (const Adjective& entry : adjectives()) {
      const auto suits = [&](const Noun& noun) { return (noun.fits & entry.bit) != 0; };
      const auto suited = std::count_if(nouns().begin(), nouns().end(), suits);
      table.push_back(static_cast<int>(1000 / (10 + suited)));
    }
    return table;
  }();
  return weights[adjective.index];
}

std::string adjective_form(const Adjective& adjective, bool feminine, bool plural) {
  if (feminine) return plural ? plural_s(adjective.feminine) : std::string(adjective.feminine);
  return std::string(plural ? adjective.masculine_plural : adjective.masculine);
}

void Sentence::note_pair(const Noun& noun, const Adjective& adjective) {
  held_out_ = held_out_ || pair_is_held_out(noun, adjective);
}

void Sentence::append(const NounPhrase& phrase) {
  draft_.words += phrase.words;
  confirm();
}

const Noun& Sentence::choose_noun(const NounPhraseSpec& spec) {
  const bool is_theme = spec.role == Role::kTheme || spec.role == Role::kNegatedTheme;
  return chooser_.pick(nouns(), Reach::kPhrase, [&](const Noun& noun) {
    const bool used = std::find(used_.begin(), used_.end(), &noun) != used_.end();
    const bool suits = (noun.traits & spec.traits) != 0 && (noun.fits & spec.fits) == spec.fits;
    const bool owned_theme = is_theme && (noun.traits & kKin) != 0;
    return suits && !used && !owned_theme ? 1 : 0;
  });
}

const Determiner& Sentence::choose_determiner(const NounPhraseSpec& spec, const Noun& noun) {
  // In French, a possessor comes after the noun, so it may be further ahead.
  const Reach reach = spec.role == Role::kPossessor ? Reach::kPhrase : Reach::kNext;
  return chooser_.pick(determiners(), reach, [&](const Determiner& determiner) {
    const bool indefinite =
        determiner.kind == DeterminerKind::kA || determiner.kind == DeterminerKind::kBare;
    const bool number_suits = spec.plurality == Plurality::kAny ||
                              determiner.plural == (spec.plurality == Plurality::kPlural);
    const bool suits =
        determiner_suits(determiner, noun) && number_suits && !(spec.definite && indefinite);
    const bool small_number =
        determiner.kind == DeterminerKind::kNumber && spec.largest_number <= kSmallNumber;
    const int weight = determiner.weights[static_cast<std::size_t>(spec.role)];
    return !suits ? 0 : small_number ? weight / 9 : weight;
  });
}

std::vector<const Adjective*> Sentence::choose_adjectives(const NounPhraseSpec& spec,
                                                          const Noun& noun) {
  std::vector<const Adjective*> chosen;
  if (noun.fits == 0 || !chooser_.maybe(spec.adjective_percent)) return chosen;
  const Adjective& first =
      chooser_.pick(adjectives(), Reach::kPhrase,
                    [&](const Adjective& adjective) { return weight_of(adjective, noun.fits); });
  chosen.push_back(&first);
  // As in "the small black cat": a second adjective if both languages have a fixed order.
  const auto may_follow = [&](const Adjective& adjective) {
    const bool classifies =
        adjective.group == AdjectiveGroup::kColour || adjective.group == AdjectiveGroup::kOrigin;
    return classifies && weight_of(adjective, noun.fits) > 0;
  };
  const auto all = adjectives();
  const bool possible = first.before_noun && std::any_of(all.begin(), all.end(), may_follow);
  if (possible && chooser_.maybe(spec.adjective_percent / 2)) {
    chosen.push_back(&chooser_.pick(adjectives(), Reach::kPhrase, [&](const Adjective& adjective) {
      return may_follow(adjective) ? weight_of(adjective, noun.fits) : 0;
    }));
  }
  return chosen;
}

void Sentence::write_number(Phrase& phrase, int number, bool feminine) {
  for (const NumberChunk& chunk : number_chunks(number, feminine, "Sentence")) {
    const int unit = draft_.unit(WordKind::kNumber);
    for (const std::string& word : chunk.english) phrase.source.push_back({word, unit});
    for (const std::string& word : chunk.french) phrase.target.push_back({word, unit});
  }
}

void Sentence::write_determiner(Phrase& phrase, const NounPhraseSpec& spec,
                                const Determiner& determiner, bool feminine,
                                bool adjective_follows) {
  using Kind = DeterminerKind;
  const Kind kind = determiner.kind;
  const bool negated_theme = spec.role == Role::kNegatedTheme;
  const bool negated = negated_theme || spec.role == Role::kNegatedObject;
  const bool shared = spec.determiner_unit != kNoUnit;
  const int unit = shared ? spec.determiner_unit : draft_.unit(WordKind::kDeterminer);
  const std::string form(feminine ? determiner.feminine : determiner.masculine);
  const std::string before_vowel(feminine ? determiner.feminine_before_vowel
                                          : determiner.before_vowel);
  const Piece article = {form, unit, before_vowel};
  const auto partitive = [&](int of) { return Piece{"de", of, "d'"}; };

  if (kind == Kind::kA) {
    phrase.source.push_back(negated_theme ? Piece{"no", unit} : Piece{"a", unit, "an"});
    phrase.target.push_back(negated ? partitive(unit) : article);
    return;
  }
  if (kind == Kind::kBare) {
    if (negated_theme) phrase.source.push_back({"no", unit});
    if (negated || (determiner.plural && adjective_follows)) {
      phrase.target.push_back(partitive(unit));  // pas de pommes, de belles pommes
    } else if (determiner.plural) {
      phrase.target.push_back({"des", unit});
    } else {
      phrase.target.push_back(partitive(unit));
      const std::string definite(feminine ? "la" : "le");
      phrase.target.push_back({definite, unit, "l'"});
    }
    return;
  }
  if (kind == Kind::kNumber) {
    write_number(phrase, chooser_.number(2, spec.largest_number), feminine);
    return;
  }
  if (kind == Kind::kAllThe) {
    const int article_unit = draft_.unit(WordKind::kDeterminer);
    phrase.source.push_back({"all", unit});
    phrase.source.push_back({"the", article_unit});
    phrase.target.push_back({form, unit});
    phrase.target.push_back({"les", article_unit});
    return;
  }
  append_words(phrase.source, determiner.source, unit);
  phrase.target.push_back(article);
  if (kind == Kind::kMany) phrase.target.push_back(partitive(unit));
  if (kind == Kind::kTheNumber) write_number(phrase, chooser_.number(2, kSmallNumber), feminine);
}

NounPhrase Sentence::noun_phrase(const NounPhraseSpec& spec) {
  const Noun& noun = choose_noun(spec);
  used_.push_back(&noun);
  const Determiner& determiner = choose_determiner(spec, noun);
  const std::vector<const Adjective*> chosen = choose_adjectives(spec, noun);

  NounPhrase phrase;
  phrase.determiner = determiner.kind;
  phrase.features = {.plural = determiner.plural,
                     .feminine = noun.feminine,
                     .traits = noun.traits,
                     .fits = noun.fits,
                     .nouns = {&noun},
                     .adjectives = chosen,
                     .quantified = is_any_of(determiner.kind, kQuantifiers),
                     .indefinite = determiner.kind == DeterminerKind::kA};
  Phrase& words = phrase.words;

  Phrase possessor;  // written first in English, last in French
  if (determiner.kind == DeterminerKind::kGenitive) {
    const int of = draft_.unit(WordKind::kPreposition);
    const NounPhrase owner = noun_phrase({Role::kPossessor, kPerson, 0});
    possessor.target.push_back({"de", of, "d'"});
    possessor += owner.words;
    const bool only_mark = possessor.source.back().text.ends_with('s') && owner.features.plural;
    possessor.source.push_back({only_mark ? "'" : "'s", of, "", true});
    words.source = std::move(possessor.source);
  }
  const bool adjective_follows = !chosen.empty() && chosen[0]->before_noun;
  write_determiner(words, spec, determiner, noun.feminine, adjective_follows);

  const int noun_unit = draft_.unit(WordKind::kNoun);
  std::vector<Piece> after;
  for (const Adjective* const adjective : chosen) {
    note_pair(noun, *adjective);
    used_adjectives_.push_back(adjective);
    const int unit = draft_.unit(WordKind::kAdjective);
    words.source.push_back({std::string(adjective->source), unit});
    Piece piece = {adjective_form(*adjective, noun.feminine, determiner.plural), unit};
    if (adjective->before_noun) {
      const bool may_change = !noun.feminine && !determiner.plural;
      if (may_change) piece.before_vowel = adjective->before_vowel;
      words.target.push_back(std::move(piece));
    } else {
      after.push_back(std::move(piece));
    }
  }
  words.source.push_back(
      {std::string(determiner.plural ? noun.source_plural : noun.source_singular), noun_unit});
  Piece head = {std::string(determiner.plural ? noun.target_plural : noun.target_singular),
                noun_unit};
  head.blocks_elision = noun.h_aspire;
  words.target.push_back(std::move(head));
  words.target.insert(words.target.end(), after.begin(), after.end());
  words.target.insert(words.target.end(), possessor.target.begin(), possessor.target.end());
  return phrase;
}

}  // namespace attend::demo
