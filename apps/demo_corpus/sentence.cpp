#include "demo_corpus/sentence.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attend/text/words.h"

namespace attend::demo {
namespace {

// What an inanimate subject is.
constexpr Traits kInanimate =
    kThing | kReadable | kFood | kMass | kDrink | kFurniture | kPart | kPlant;

}  // namespace

Theme theme_of(Traits traits) {
  if ((traits & kPerson) != 0) return kActor;
  if ((traits & kLap) != 0) return kPet;
  if ((traits & kAnimal) != 0) return kBigAnimal;
  if ((traits & kVehicle) != 0) return kOnWheels;
  if ((traits & kBuilding) != 0) return kEdifice;
  if ((traits & kFurniture) != 0) return kBulky;
  if ((traits & (kFood | kMass | kDrink)) != 0) return kDish;
  return (traits & kThing) != 0 ? kObject : 0;
}

Derivation derive(Chooser& chooser) { return Sentence(chooser).write(); }

Sentence::Sentence(Chooser& chooser) : chooser_(chooser) {}

Derivation Sentence::write() {
  if (chooser_.maybe(9)) {
    const Adverbial& opening =
        chooser_.pick(adverbials(), Reach::kNext, [](const Adverbial&) { return 1; });
    opening_ = &opening;
    adverbial(opening);
    for (auto* const side : {&draft_.words.source, &draft_.words.target}) {
      side->push_back({",", kNoUnit, "", true});
    }
    confirm();
  }
  if (opening_ == nullptr && chooser_.maybe(6)) {
    existential();
  } else {
    predicate(subject());
  }
  return {draft_.finish(), held_out_};
}

void Sentence::adverbial(const Adverbial& adverbial) {
  std::vector<int> units;
  for (const std::string& word : split_words(adverbial.source)) {
    units.push_back(draft_.unit(WordKind::kAdverb));
    draft_.source(word, units.back());
  }
  const std::vector<std::string> french = split_words(adverbial.target);
  for (std::size_t i = 0; i < french.size(); ++i) {
    const char place = adverbial.alignment[i];
    draft_.target(french[i], place == '.' ? kNoUnit : units[static_cast<std::size_t>(place - '0')]);
  }
}

void Sentence::closing_adverbial(const VerbPlan& plan) {
  const bool can_follow = plan.tense != Tense::kCan && plan.polarity != Polarity::kNever &&
                          plan.frequency == Frequency::kNone;
  if (opening_ != nullptr || in_relative_clause_ || !can_follow || !chooser_.maybe(28)) return;
  const Time time = plan.tense == Tense::kPresent ? Time::kPresent
                    : plan.tense == Tense::kPast  ? Time::kPast
                                                  : Time::kFuture;
  adverbial(chooser_.pick(adverbials(), Reach::kNext, [&](const Adverbial& entry) {
    const bool denied = plan.polarity != Polarity::kPlain;
    return entry.time == time && !(entry.repeated && denied) ? 1 : 0;
  }));
}

// There is a cat under the table.
void Sentence::existential() {
  constexpr VerbPlan kPlans[] = {
      {Tense::kPresent, Polarity::kPlain, Frequency::kNone, 60},
      {Tense::kPresent, Polarity::kNot, Frequency::kNone, 20},
      {Tense::kPast, Polarity::kPlain, Frequency::kNone, 20},
      {Tense::kPast, Polarity::kNot, Frequency::kNone, 6},
      {Tense::kFuture, Polarity::kPlain, Frequency::kNone, 10},
  };
  std::vector<Option> options;
  for (const VerbPlan& plan : kPlans) options.push_back({plan.weight});
  const VerbPlan plan = kPlans[chooser_.choose(options, Reach::kVerb)];
  const bool negated = plan.polarity == Polarity::kNot;
  const bool plural = chooser_.maybe(50);

  const int there = draft_.unit(WordKind::kPronoun);
  const int verb = draft_.unit(WordKind::kVerb);
  const int no = negated ? draft_.unit(WordKind::kNegation) : kNoUnit;
  draft_.source("there", there);
  const bool past = plan.tense == Tense::kPast;
  const bool future = plan.tense == Tense::kFuture;
  if (future) {
    draft_.source("will be", verb);
  } else if (past) {
    draft_.source(plural ? "were" : "was", verb);
  } else {
    draft_.source(plural ? "are" : "is", verb);
  }
  draft_.target("il", there);
  if (negated) draft_.words.target.push_back({"ne", no, "n'"});
  draft_.target("y", there);
  draft_.target(past ? "avait" : future ? "aura" : "a", verb);
  if (negated) draft_.target("pas", no);
  confirm();

  constexpr Traits kThemes =
      kPerson | kAnimal | kThing | kFood | kMass | kDrink | kVehicle | kFurniture | kBuilding;
  const Role role = negated ? Role::kNegatedTheme : Role::kTheme;
  const NounPhrase theme =
      noun_phrase({.role = role,
                   .traits = kThemes,
                   .largest_number = 99,
                   .plurality = plural ? Plurality::kPlural : Plurality::kSingular,
                   .determiner_unit = no});
  append(theme);
  location(theme_of(theme.features.traits));
}

Subject Sentence::subject() {
  enum { kPronoun, kHuman, kCreature, kLifeless, kCarriage, kPlace, kHumans, kCreatures };
  switch (chooser_.choose({17, 38, 17, 11, 3, 8, 4, 2})) {
    case kPronoun:
      return pronoun_subject();
    case kHumans:
      return coordinated_subject(kPerson);
    case kCreatures:
      return coordinated_subject(kAnimal);
    case kHuman:
      return noun_subject(kPerson);
    case kCreature:
      return noun_subject(kAnimal);
    case kLifeless:
      return noun_subject(kInanimate);
    case kCarriage:
      return noun_subject(kVehicle);
    default:
      return noun_subject(kBuilding | kArea);
  }
}

Subject Sentence::pronoun_subject() {
  const Pronoun& pronoun = chooser_.pick(subject_pronouns(), Reach::kNext,
                                         [](const Pronoun& entry) { return entry.weight; });
  const int unit = draft_.unit(WordKind::kPronoun);
  draft_.source(pronoun.source, unit);
  draft_.words.target.push_back(
      {std::string(pronoun.target), unit, std::string(pronoun.before_vowel)});
  confirm();
  return {pronoun.first_person, pronoun.plural, pronoun.feminine, kPerson, fits_of_anyone()};
}

Subject Sentence::noun_subject(Traits traits) {
  const bool lifeless = (traits & (kPerson | kAnimal)) == 0;
  NounPhrase phrase = noun_phrase({.role = Role::kSubject, .traits = traits, .definite = lifeless});
  append(phrase);
  const bool may_be_told_apart = phrase.determiner == DeterminerKind::kThe ||
                                 phrase.determiner == DeterminerKind::kThis ||
                                 phrase.determiner == DeterminerKind::kA;
  if (!may_be_told_apart || opening_ != nullptr) return phrase.features;
  const Theme theme = theme_of(phrase.features.traits);
  if (lifeless && theme != 0 && chooser_.maybe(25)) {  // the key on the table
    location(theme);
    phrase.features.placed = true;
  } else if (chooser_.maybe(9)) {
    relative_clause(phrase.features);
  }
  return phrase.features;
}

Subject Sentence::coordinated_subject(Traits traits) {
  const NounPhraseSpec spec{.role = Role::kCoordinated, .traits = traits, .adjective_percent = 20};
  const NounPhrase first = noun_phrase(spec);
  append(first);
  conjunction();
  const NounPhrase second = noun_phrase(spec);
  append(second);

  const Subject& a = first.features;
  const Subject& b = second.features;
  Subject both{.plural = true,
               .feminine = a.feminine && b.feminine,
               .traits = a.traits & b.traits,
               .fits = a.fits & b.fits,
               .nouns = {a.nouns[0], b.nouns[0]},
               .adjectives = a.adjectives,
               .quantified = a.quantified || b.quantified,
               .indefinite = a.indefinite || b.indefinite};
  both.adjectives.insert(both.adjectives.end(), b.adjectives.begin(), b.adjectives.end());
  return both;
}

void Sentence::conjunction() {
  const int unit = draft_.unit(WordKind::kOther);
  draft_.source("and", unit);
  draft_.target("et", unit);
}

void Sentence::relative_clause(const Subject& head) {
  in_relative_clause_ = true;
  const int unit = draft_.unit(WordKind::kOther);
  if (head.is(kPerson | kAnimal)) {  // the man who sells flowers
    draft_.source(head.is(kPerson) ? "who" : "that", unit);
    draft_.target("qui", unit);
    confirm();
    constexpr void (Sentence::*kClauses[])(const Subject&) = {
        &Sentence::transitive, &Sentence::activity, &Sentence::stance, &Sentence::motion};
    (this->*kClauses[chooser_.choose({50, 20, 20, 10})])(head);
  } else {  // the book that the girl reads
    draft_.source("that", unit);
    draft_.words.target.push_back({"que", unit, "qu'"});
    const Subject agent = chooser_.maybe(30) ? pronoun_subject() : relative_subject();
    const Verb& verb = chooser_.pick(verbs(), Reach::kVerb, [&](const Verb& entry) {
      const bool takes = (entry.frames[0].object & head.traits) != 0 &&
                         (head.plural || !entry.is(kPluralObject)) && !entry.is(kStative);
      return entry.pattern == VerbPattern::kTransitive && takes ? 1 : 0;
    });
    // Present only: the past participle would agree with the object.
    write_verb(agent, verb, {Tense::kPresent, Polarity::kPlain, Frequency::kNone, 1}, nullptr);
  }
  in_relative_clause_ = false;
}

Subject Sentence::relative_subject() {
  const NounPhrase phrase =
      noun_phrase({.role = Role::kCoordinated, .traits = kPerson, .adjective_percent = 15});
  append(phrase);
  return phrase.features;
}

void Sentence::location(Theme theme) {
  const Preposition& preposition = chooser_.pick(
      prepositions(), Reach::kNext,
      [&](const Preposition& entry) { return (entry.themes & theme) != 0 ? entry.weight : 0; });
  // No "in two boxes".
  const bool holds = preposition.source == "in" || preposition.source == "on";
  joined(preposition.source, preposition.target,
         {.role = Role::kComplement,
          .traits = preposition.places,
          .adjective_percent = 42,
          .plurality = holds ? Plurality::kSingular : Plurality::kAny});
}

void Sentence::joined(std::string_view source, std::string_view target,
                      const NounPhraseSpec& complement) {
  const int unit = draft_.unit(WordKind::kPreposition);
  draft_.source(source, unit);
  draft_.target(target, unit);
  Piece& last = draft_.words.target.back();
  if (last.text == "de") last.before_vowel = "d'";
  confirm();
  append(noun_phrase(complement));
}

}  // namespace attend::demo
