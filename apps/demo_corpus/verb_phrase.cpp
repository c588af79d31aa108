#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "demo_corpus/sentence.h"

namespace attend::demo {
namespace {

constexpr VerbPlan kPlans[] = {
    {Tense::kPresent, Polarity::kPlain, Frequency::kNone, 30},
    {Tense::kPresent, Polarity::kNot, Frequency::kNone, 9},
    {Tense::kPresent, Polarity::kNever, Frequency::kNone, 4},
    {Tense::kPresent, Polarity::kPlain, Frequency::kAlways, 4},
    {Tense::kPresent, Polarity::kPlain, Frequency::kOften, 4},
    {Tense::kPast, Polarity::kPlain, Frequency::kNone, 18},
    {Tense::kPast, Polarity::kNot, Frequency::kNone, 5},
    {Tense::kPast, Polarity::kNever, Frequency::kNone, 2},
    {Tense::kFuture, Polarity::kPlain, Frequency::kNone, 24},
    {Tense::kFuture, Polarity::kNot, Frequency::kNone, 5},
    {Tense::kGoingTo, Polarity::kPlain, Frequency::kNone, 4},
    {Tense::kGoingTo, Polarity::kNot, Frequency::kNone, 1},
    {Tense::kCan, Polarity::kPlain, Frequency::kNone, 4},
    {Tense::kCan, Polarity::kNot, Frequency::kNone, 2},
    {Tense::kMust, Polarity::kPlain, Frequency::kNone, 4},
    {Tense::kMust, Polarity::kNot, Frequency::kNone, 1},
    {Tense::kWant, Polarity::kPlain, Frequency::kNone, 4},
    {Tense::kWant, Polarity::kNot, Frequency::kNone, 2},
};

// French persons, in the order of the tables.
std::string_view by_person(const Subject& subject, std::string_view je, std::string_view il,
                           std::string_view nous, std::string_view ils) {
  if (subject.first_person) return subject.plural ? nous : je;
  return subject.plural ? ils : il;
}

std::string_view of_modal(const Subject& subject, const Modal& modal) {
  return by_person(subject, modal.je, modal.il, modal.nous, modal.ils);
}

bool is_third_singular(const Subject& subject) { return !subject.plural && !subject.first_person; }

std::string_view english_be(const Subject& subject, Tense tense) {
  if (tense == Tense::kPast) return subject.plural ? "were" : "was";
  if (subject.plural) return "are";
  return subject.first_person ? "am" : "is";
}

std::string_view french_be(const Subject& subject, Tense tense) {
  if (tense == Tense::kPast) return by_person(subject, "étais", "était", "étions", "étaient");
  if (tense == Tense::kFuture) return by_person(subject, "serai", "sera", "serons", "seront");
  return by_person(subject, "suis", "est", "sommes", "sont");
}

std::string participle(const Verb& verb, const Subject& subject, bool agrees) {
  std::string form(verb.participle);
  if (!agrees || verb.is(kInvariable)) return form;
  if (subject.feminine) form += 'e';
  return subject.plural ? plural_s(form) : form;
}

const Modal& modal_of(Tense tense) {
  if (tense == Tense::kCan) return kCanVerb;
  if (tense == Tense::kMust) return kMustVerb;
  return tense == Tense::kWant ? kWantVerb : kGoingVerb;
}

bool is_modal(Tense tense) {
  return tense == Tense::kGoingTo || tense == Tense::kCan || tense == Tense::kMust ||
         tense == Tense::kWant;
}

bool said_at(Tense tense, Time time) {
  if (tense == Tense::kPresent) return time == Time::kPresent;
  if (tense == Tense::kPast) return time == Time::kPast;
  return time == Time::kFuture && tense != Tense::kCan;
}

}  // namespace

// verb: null for "to be".
VerbPlan Sentence::choose_plan(const Subject& subject, const Verb* verb) {
  const bool is_stance = verb != nullptr && verb->pattern == VerbPattern::kStance;
  // To be and to have: no "is sitting now", no "can have".
  const bool stative = verb == nullptr || verb->is(kStative);
  // First persons only use forms that do not show gender and are frequent enough to be learned.
  const bool past_shows_gender = stative || verb->is(kWithEtre);
  const auto weight = [&](const VerbPlan& plan) {
    if (stative && is_modal(plan.tense)) return 0;
    if (stative && plan.polarity == Polarity::kNever) return 0;
    if (stative && !is_stance && plan.frequency != Frequency::kNone) return 0;
    if (is_stance && plan.tense == Tense::kFuture) return 0;
    if (subject.quantified && plan.polarity != Polarity::kPlain) return 0;
    if (verb != nullptr && verb->is(kNoPast) && plan.tense == Tense::kPast) return 0;
    if (subject.first_person && plan.tense == Tense::kFuture) return 0;
    if (subject.first_person && plan.tense == Tense::kPast && past_shows_gender) return 0;
    const bool simple = plan.tense == Tense::kPresent || plan.tense == Tense::kPast;
    if (in_relative_clause_ && !(simple && plan.frequency == Frequency::kNone)) return 0;
    if (in_relative_clause_ && plan.polarity == Polarity::kNever) return 0;
    if (opening_ != nullptr && !in_relative_clause_) {
      const bool repeats = plan.frequency != Frequency::kNone || plan.polarity == Polarity::kNever;
      const bool denies_habit = opening_->repeated && plan.polarity != Polarity::kPlain;
      if (repeats || denies_habit || !said_at(plan.tense, opening_->time)) return 0;
    }
    // Participles that agree have four forms; a higher weight makes each of them frequent.
    const bool agrees = verb != nullptr && verb->is(kWithEtre) && plan.tense == Tense::kPast;
    return agrees ? 3 * plan.weight : plan.weight;
  };
  std::vector<Option> options;
  for (const VerbPlan& plan : kPlans) options.push_back({weight(plan)});
  return kPlans[chooser_.choose(options, Reach::kVerb)];
}

// A plan of "to be" for lasting properties.
VerbPlan Sentence::choose_lasting_plan(const Subject& subject) {
  constexpr VerbPlan kLasting[] = {
      {Tense::kPresent, Polarity::kPlain, Frequency::kNone, 60},
      {Tense::kPresent, Polarity::kNot, Frequency::kNone, 14},
      {Tense::kPast, Polarity::kPlain, Frequency::kNone, 20},
      {Tense::kPast, Polarity::kNot, Frequency::kNone, 6},
  };
  std::vector<Option> options;
  for (const VerbPlan& plan : kLasting) {
    options.push_back({subject.quantified && plan.polarity != Polarity::kPlain ? 0 : plan.weight});
  }
  return kLasting[chooser_.choose(options, Reach::kVerb)];
}

void Sentence::write_verb(const Subject& subject, const Verb& verb, const VerbPlan& plan,
                          const Pronoun* object) {
  VerbUnits units;
  units.verb = draft_.unit(WordKind::kVerb);
  if (is_modal(plan.tense)) units.modal = draft_.unit(WordKind::kVerb);
  if (plan.polarity != Polarity::kPlain) units.negation = draft_.unit(WordKind::kNegation);
  if (plan.frequency != Frequency::kNone) units.frequency = draft_.unit(WordKind::kAdverb);
  if (object != nullptr) units.pronoun = draft_.unit(WordKind::kPronoun);
  write_english_verb(subject, verb, plan, object, units);
  write_french_verb(subject, verb, plan, object, units);
  confirm();
}

void Sentence::write_english_verb(const Subject& subject, const Verb& verb, const VerbPlan& plan,
                                  const Pronoun* object, const VerbUnits& units) {
  const auto& [unit, modal, negation, frequency, pronoun] = units;
  const bool third = is_third_singular(subject);
  const std::string_view conjugated = third ? verb.third : verb.base;
  const auto write = [&](std::string_view text, int of) { draft_.source(text, of); };
  const bool is_not = plan.polarity == Polarity::kNot;
  if (plan.polarity == Polarity::kNever && plan.tense != Tense::kFuture) write("never", negation);
  if (plan.frequency == Frequency::kAlways) write("always", frequency);
  if (plan.frequency == Frequency::kOften) write("often", frequency);
  switch (plan.tense) {
    case Tense::kPresent:
      if (is_not) {
        write(third ? "does" : "do", unit);
        write("not", negation);
      }
      write(is_not ? verb.base : conjugated, unit);
      break;
    case Tense::kPast:
      if (is_not) {
        write("did", unit);
        write("not", negation);
      }
      write(is_not ? verb.base : verb.past, unit);
      break;
    case Tense::kFuture:
      write("will", unit);
      if (is_not) write("not", negation);
      write(verb.base, unit);
      break;
    case Tense::kGoingTo:
      write(english_be(subject, Tense::kPresent), modal);
      if (is_not) write("not", negation);
      write("going to", modal);
      write(verb.base, unit);
      break;
    case Tense::kCan:
      if (is_not) {  // one word in English, three in French
        draft_.words.source.push_back({"can", modal});
        draft_.words.source.push_back({"not", negation, "", true});
      } else {
        write("can", modal);
      }
      write(verb.base, unit);
      break;
    case Tense::kMust:
      write("must", modal);
      if (is_not) write("not", negation);
      write(verb.base, unit);
      break;
    case Tense::kWant:
      if (is_not) {
        write(third ? "does" : "do", modal);
        write("not", negation);
      }
      write(third && !is_not ? kWantVerb.third : kWantVerb.base, modal);
      write("to", modal);
      write(verb.base, unit);
      break;
  }
  write(verb.particle, unit);
  if (object != nullptr) write(object->source, pronoun);
}

void Sentence::write_french_verb(const Subject& subject, const Verb& verb, const VerbPlan& plan,
                                 const Pronoun* object, const VerbUnits& units) {
  const auto& [unit, modal, negation, frequency, pronoun] = units;
  std::vector<Piece>& french = draft_.words.target;
  const auto write_object = [&] {
    if (object == nullptr) return;
    french.push_back(
        {std::string(object->target), units.pronoun, std::string(object->before_vowel)});
  };
  const bool is_stance = verb.pattern == VerbPattern::kStance;
  const bool compound = is_stance || (plan.tense == Tense::kPast && !verb.is(kStative));
  if (plan.polarity != Polarity::kPlain) french.push_back({"ne", negation, "n'"});
  if (!is_modal(plan.tense)) write_object();
  if (is_stance) {
    draft_.target(french_be(subject, plan.tense), unit);
  } else if (compound && verb.is(kWithEtre)) {
    draft_.target(french_be(subject, Tense::kPresent), unit);
  } else if (compound) {
    draft_.target(by_person(subject, "ai", "a", "avons", "ont"), unit);
  } else if (plan.tense == Tense::kPast) {
    draft_.target(imperfect_stem(verb) + (subject.plural ? "aient" : "ait"), unit);
  } else if (plan.tense == Tense::kFuture) {
    draft_.target(std::string(verb.future) + (subject.plural ? "ont" : "a"), unit);
  } else if (is_modal(plan.tense)) {
    draft_.target(of_modal(subject, modal_of(plan.tense)), modal);
  } else {
    draft_.target(by_person(subject, verb.je, verb.il, verb.nous, verb.ils), unit);
  }
  if (plan.polarity == Polarity::kNot) draft_.target("pas", negation);
  if (plan.polarity == Polarity::kNever) draft_.target("jamais", negation);
  if (plan.frequency == Frequency::kAlways) draft_.target("toujours", frequency);
  if (plan.frequency == Frequency::kOften) draft_.target("souvent", frequency);
  if (is_modal(plan.tense)) {
    write_object();
    draft_.target(verb.infinitive, unit);
  } else if (compound) {
    draft_.target(participle(verb, subject, is_stance || verb.is(kWithEtre)), unit);
  }
}

void Sentence::write_copula(const Subject& subject, const VerbPlan& plan) {
  const int unit = draft_.unit(WordKind::kVerb);
  const bool is_not = plan.polarity == Polarity::kNot;
  const int negation = is_not ? draft_.unit(WordKind::kNegation) : kNoUnit;
  const bool future = plan.tense == Tense::kFuture;
  draft_.source(future ? "will" : english_be(subject, plan.tense), unit);
  if (is_not) {
    draft_.source("not", negation);
    draft_.words.target.push_back({"ne", negation, "n'"});
  }
  if (future) draft_.source("be", unit);
  draft_.target(french_be(subject, plan.tense), unit);
  if (is_not) draft_.target("pas", negation);
  confirm();
}

}  // namespace attend::demo
