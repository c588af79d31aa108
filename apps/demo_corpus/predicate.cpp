#include <algorithm>
#include <string_view>
#include <vector>

#include "demo_corpus/sentence.h"

namespace attend::demo {
namespace {

// A noun is only compared with one that has the same one of these traits.
constexpr Traits kKinds = kPerson | kAnimal | kThing | kReadable | kFood | kMass | kDrink |
                          kVehicle | kFurniture | kPart | kBuilding | kArea | kPlant;

}  // namespace

void Sentence::predicate(const Subject& subject) {
  const bool person = subject.is(kPerson);
  const bool animal = subject.is(kAnimal);
  const bool lifeless = !person && !animal;
  const bool several_nouns = subject.nouns.size() > 1;
  const bool timed = opening_ != nullptr;
  const bool shows_gender = !subject.first_person;  // "I" does not show the gender
  const bool is_described = shows_gender && !subject.indefinite;
  const bool is_timeless = !timed && !several_nouns;
  const bool has_place = theme_of(subject.traits) != 0 && !subject.placed && !(lifeless && timed);

  struct Choice {
    bool possible;
    int of_person;
    int of_animal;
    int of_thing;
    void (Sentence::*write)(const Subject&);
  };
  const Choice choices[] = {
      {true, 42, 26, 0, &Sentence::transitive},
      {true, 13, 0, 0, &Sentence::ditransitive},
      {true, 14, 14, 0, &Sentence::activity},
      {true, 15, 7, 0, &Sentence::motion},
      {shows_gender, 12, 26, 0, &Sentence::stance},
      {is_described, 11, 14, 30, &Sentence::adjective},
      {has_place, 5, 5, 38, &Sentence::whereabouts},
      {is_described && is_timeless, 3, 6, 12, &Sentence::comparison},
      {is_timeless && !subject.indefinite, 7, 4, 0, &Sentence::age},
      {is_timeless && subject.is(kGoods), 0, 0, 22, &Sentence::cost},
      {is_timeless && subject.is(kTown | kSite | kIsland), 0, 0, 18, &Sentence::distance},
  };
  std::vector<Option> options;
  for (const Choice& choice : choices) {
    const int weight = person ? choice.of_person : animal ? choice.of_animal : choice.of_thing;
    options.push_back({choice.possible ? weight : 0});
  }
  (this->*choices[chooser_.choose(options, Reach::kVerb)].write)(subject);
}

const Verb& Sentence::choose_verb(const Subject& subject, VerbPattern pattern) {
  return chooser_.pick(verbs(), Reach::kVerb, [&](const Verb& verb) {
    const bool timeless = verb.is(kStative) && pattern != VerbPattern::kStance;
    if (verb.pattern != pattern || (timeless && opening_ != nullptr)) return 0;
    const auto suits = [&](const VerbFrame& frame) { return subject.is(frame.subject); };
    return suits(verb.frames[0]) || suits(verb.frames[1]) ? 1 : 0;
  });
}

void Sentence::transitive(const Subject& subject) {
  const Verb& verb = choose_verb(subject, VerbPattern::kTransitive);
  const VerbPlan plan = choose_plan(subject, &verb);
  const VerbFrame& frame = subject.is(verb.frames[0].subject) ? verb.frames[0] : verb.frames[1];
  // In the past tense the participle would agree with the pronoun.
  const bool may_take_pronoun =
      verb.is(kTakesPronoun) && !in_relative_clause_ && plan.tense != Tense::kPast;
  if (may_take_pronoun && chooser_.maybe(12)) {
    const Pronoun& object = chooser_.pick(object_pronouns(), Reach::kVerb,
                                          [](const Pronoun& entry) { return entry.weight; });
    write_verb(subject, verb, plan, &object);
  } else {
    write_verb(subject, verb, plan, nullptr);
    const bool negated = plan.polarity != Polarity::kPlain;
    const Role role = negated                ? Role::kNegatedObject
                      : verb.is(kIndefinite) ? Role::kObject
                                             : Role::kDefiniteObject;
    const NounPhraseSpec spec{
        .role = role,
        .traits = frame.object,
        .largest_number = verb.is(kLarge) ? 9999 : kSmallNumber,
        .definite = negated && !verb.is(kIndefinite),
        .plurality = verb.is(kPluralObject) ? Plurality::kPlural : Plurality::kAny};
    append(noun_phrase(spec));
    if (!negated && !in_relative_clause_ && chooser_.maybe(10)) {  // bread and cheese
      conjunction();
      append(noun_phrase(spec));
    }
  }
  if (in_relative_clause_) return;
  if (verb.is(kTakesPlace) && chooser_.maybe(45)) location(theme_of(subject.traits));
  if (!verb.is(kStative)) closing_adverbial(plan);
}

// The girl gives an apple to the horse.
void Sentence::ditransitive(const Subject& subject) {
  const Verb& verb = choose_verb(subject, VerbPattern::kDitransitive);
  const VerbPlan plan = choose_plan(subject, &verb);
  write_verb(subject, verb, plan, nullptr);
  const bool negated = plan.polarity != Polarity::kPlain;
  const Role role = negated                ? Role::kNegatedObject
                    : verb.is(kIndefinite) ? Role::kObject
                                           : Role::kDefiniteObject;
  const NounPhrase object = noun_phrase({.role = role,
                                         .traits = verb.frames[0].object,
                                         .adjective_percent = 28,
                                         .definite = negated && !verb.is(kIndefinite)});
  append(object);
  const bool feeds = (object.features.traits & kFodder) != 0;
  joined("to", "à",
         {.role = Role::kRecipient,
          .traits = feeds ? kPerson | kGrazer : kPerson,
          .adjective_percent = 16});
  closing_adverbial(plan);
}

void Sentence::activity(const Subject& subject) {
  const Verb& verb = choose_verb(subject, VerbPattern::kActivity);
  const VerbPlan plan = choose_plan(subject, &verb);
  write_verb(subject, verb, plan, nullptr);
  const bool has_company = verb.frames[0].object != 0;
  const bool swims = verb.base == "swim";
  const bool sleeps = verb.base == "sleep";
  const Theme theme = theme_of(subject.traits);
  switch (chooser_.choose({10, 60, has_company ? 30 : 0})) {
    case 0:
      break;
    case 1:
      location(swims ? kBather : sleeps && theme == kActor ? kLier : theme);
      break;
    default:
      joined("with", "avec", {.role = Role::kComplement, .traits = verb.frames[0].object});
      if (chooser_.maybe(35)) location(theme);
  }
  closing_adverbial(plan);
}

void Sentence::motion(const Subject& subject) {
  constexpr VerbPattern kPatterns[] = {VerbPattern::kCome, VerbPattern::kStay, VerbPattern::kGo,
                                       VerbPattern::kArrive, VerbPattern::kLive};
  const bool only_comes = in_relative_clause_;
  const int of_people = subject.is(kPerson) && !only_comes ? 10 : 0;
  const int lives = opening_ != nullptr ? 0 : of_people;
  const VerbPattern pattern =
      kPatterns[chooser_.choose({10, only_comes ? 0 : 10, of_people, of_people, lives})];
  const Verb& verb = choose_verb(subject, pattern);
  const VerbPlan plan = choose_plan(subject, &verb);
  write_verb(subject, verb, plan, nullptr);
  NounPhraseSpec place{.role = Role::kComplement, .traits = verb.frames[0].object};
  switch (pattern) {
    case VerbPattern::kGo:
      joined("to", "à", place);
      break;
    case VerbPattern::kArrive:
      joined("at", "à", place);
      break;
    case VerbPattern::kCome:
      place.definite = true;
      joined("from", "de", place);
      break;
    case VerbPattern::kLive:
      location(kDweller);
      break;
    default:
      location(theme_of(subject.traits));
  }
  if (!verb.is(kStative)) closing_adverbial(plan);
}

// The cat sits on the mat.
void Sentence::stance(const Subject& subject) {
  const Verb& verb = choose_verb(subject, VerbPattern::kStance);
  const VerbPlan plan = choose_plan(subject, &verb);
  write_verb(subject, verb, plan, nullptr);
  const Theme posture = verb.base == "sit" ? kSitter : verb.base == "stand" ? kStander : kLier;
  const Theme theme = theme_of(subject.traits);
  location(theme == kActor ? posture : theme);
  closing_adverbial(plan);
}

bool Sentence::may_be_said(const Adjective& adjective, const Subject& subject) const {
  const auto excludes = [&](const Adjective* other) { return other->group == adjective.group; };
  return (subject.fits & adjective.bit) != 0 && adjective.predicate &&
         std::none_of(subject.adjectives.begin(), subject.adjectives.end(), excludes);
}

void Sentence::write_predicate_adjective(const Subject& subject, const Adjective& adjective,
                                         int unit) {
  for (const Noun* const noun : subject.nouns) note_pair(*noun, adjective);
  used_adjectives_.push_back(&adjective);
  draft_.target(adjective_form(adjective, subject.feminine, subject.plural), unit);
}

void Sentence::adjective(const Subject& subject) {
  const Adjective& adjective =
      chooser_.pick(adjectives(), Reach::kVerb, [&](const Adjective& entry) {
        const bool timely = entry.temporary || opening_ == nullptr;
        return may_be_said(entry, subject) && timely ? weight_of(entry, subject.fits) : 0;
      });
  const VerbPlan plan =
      adjective.temporary ? choose_plan(subject, nullptr) : choose_lasting_plan(subject);
  write_copula(subject, plan);
  const bool gradable = adjective.compared || adjective.group == AdjectiveGroup::kSize ||
                        adjective.group == AdjectiveGroup::kHeat ||
                        adjective.group == AdjectiveGroup::kCare;
  if (gradable && chooser_.maybe(20)) {
    const int very = draft_.unit(WordKind::kAdverb);
    draft_.source("very", very);
    draft_.target("très", very);
  }
  const int unit = draft_.unit(WordKind::kAdjective);
  draft_.source(adjective.source, unit);
  write_predicate_adjective(subject, adjective, unit);
  confirm();
  if (adjective.temporary) closing_adverbial(plan);
}

// The key is on the table.
void Sentence::whereabouts(const Subject& subject) {
  const VerbPlan plan = choose_plan(subject, nullptr);
  write_copula(subject, plan);
  location(theme_of(subject.traits));
  if (subject.is(kPerson | kAnimal)) closing_adverbial(plan);
}

// The horse is bigger than the dog.
void Sentence::comparison(const Subject& subject) {
  const Adjective& adjective =
      chooser_.pick(adjectives(), Reach::kVerb, [&](const Adjective& entry) {
        const bool possible = entry.compared && may_be_said(entry, subject);
        return possible ? weight_of(entry, subject.fits) : 0;
      });
  write_copula(subject, choose_lasting_plan(subject));
  const bool inflects = !adjective.comparative.empty();
  enum { kMore, kAs, kLess };
  const auto degree = chooser_.choose({50, 30, inflects ? 0 : 15});
  const int degree_unit = draft_.unit(WordKind::kAdverb);
  const int unit = draft_.unit(WordKind::kAdjective);
  if (degree == kMore && inflects) {  // bigger: plus grand
    draft_.source(adjective.comparative, unit);
    draft_.target("plus", unit);
  } else {
    draft_.source(degree == kMore ? "more" : degree == kAs ? "as" : "less", degree_unit);
    draft_.source(adjective.source, unit);
    draft_.target(degree == kMore ? "plus" : degree == kAs ? "aussi" : "moins", degree_unit);
  }
  write_predicate_adjective(subject, adjective, unit);
  const int than = draft_.unit(WordKind::kOther);
  draft_.source(degree == kAs ? "as" : "than", than);
  draft_.words.target.push_back({"que", than, "qu'"});
  confirm();
  append(noun_phrase({.role = Role::kComplement,
                      .traits = subject.traits & kKinds,
                      .adjective_percent = 16,
                      .fits = adjective.bit}));
}

// My uncle is eighty years old: in French he has eighty years.
void Sentence::age(const Subject& subject) {
  const int verb = draft_.unit(WordKind::kVerb);
  const int years = draft_.unit(WordKind::kNoun);
  const bool animal = subject.is(kAnimal);
  const bool child = subject.is(kChild);
  const bool anyone = subject.nouns.empty();
  draft_.source(subject.plural ? "are" : subject.first_person ? "am" : "is", verb);
  draft_.target(
      subject.first_person ? (subject.plural ? "avons" : "ai") : (subject.plural ? "ont" : "a"),
      verb);
  confirm();
  const int youngest = animal || child || anyone ? 2 : 20;
  const int oldest = animal ? 20 : child ? 15 : 99;
  write_number(draft_.words, chooser_.number(youngest, oldest), false);
  draft_.source("years", years);
  draft_.target("ans", years);
  draft_.source("old", kNoUnit);
}

void Sentence::cost(const Subject& subject) {
  const Verb& verb = choose_verb(subject, VerbPattern::kCost);
  write_verb(subject, verb, choose_plan(subject, &verb), nullptr);
  const bool vehicle = subject.is(kVehicle | kBuilding);
  const bool furniture = subject.is(kFurniture);
  const bool edible = subject.is(kFood | kMass | kDrink);
  const int dearest = vehicle ? 9999 : furniture ? 999 : edible ? 40 : 400;
  write_number(draft_.words, chooser_.number(vehicle ? 100 : 2, dearest), false);
  const int euros = draft_.unit(WordKind::kNoun);
  draft_.source("euros", euros);
  draft_.target("euros", euros);
}

// The village is twelve kilometres from the city: in French it is at twelve kilometres of it.
void Sentence::distance(const Subject& subject) {
  write_copula(subject, {Tense::kPresent, Polarity::kPlain, Frequency::kNone, 1});
  draft_.target("à", kNoUnit);
  write_number(draft_.words, chooser_.number(2, 400), false);
  const int kilometres = draft_.unit(WordKind::kNoun);
  draft_.source("kilometres", kilometres);
  draft_.target("kilomètres", kilometres);
  confirm();
  joined("from", "de",
         {.role = Role::kComplement,
          .traits = kTown | kSite | kIsland,
          .adjective_percent = 16,
          .definite = true});
}

}  // namespace attend::demo
