#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "demo_corpus/chooser.h"
#include "demo_corpus/lexicon.h"
#include "demo_corpus/phrase.h"

namespace attend::demo {

/// A sentence, and whether it contains a held-out (noun, adjective) pair.
struct Derivation {
  DemoPair pair;
  bool held_out = false;
};

/// Derives one sentence in both languages, with all decisions made by `chooser`.
///
/// Throws: DeadEnd if the decisions lead to no sentence.
Derivation derive(Chooser& chooser);

/// The properties of a sentence's subject.
struct Subject {
  bool first_person = false;
  bool plural = false;
  bool feminine = false;
  Traits traits = 0;
  Fits fits = 0;                                  // adjectives that can describe it
  std::vector<const Noun*> nouns = {};            // none for a pronoun, two with "and"
  std::vector<const Adjective*> adjectives = {};  // that already describe it
  bool quantified = false;                        // every boy: no negation, which is ambiguous
  bool indefinite = false;                        // a boy: gets no further description
  bool placed = false;                            // already has a place: the key on the table

  bool is(Traits any_of) const { return (traits & any_of) != 0; }
};

enum class Plurality { kAny, kSingular, kPlural };

inline constexpr int kSmallNumber = 12;

struct NounPhraseSpec {
  Role role;
  Traits traits;  // the noun has one of these
  int adjective_percent = 46;
  int largest_number = kSmallNumber;
  bool definite = false;  // neither "a" nor a bare noun
  Plurality plurality = Plurality::kAny;
  Fits fits = 0;                  // and takes these adjectives
  int determiner_unit = kNoUnit;  // a unit shared with other words: no ... -> ne ... pas de
};

struct NounPhrase {
  Phrase words;
  Subject features;
  DeterminerKind determiner;
};

enum class Tense { kPresent, kPast, kFuture, kGoingTo, kCan, kMust, kWant };
enum class Polarity { kPlain, kNot, kNever };
enum class Frequency { kNone, kAlways, kOften };

struct VerbPlan {
  Tense tense;
  Polarity polarity;
  Frequency frequency;
  int weight;
};

/// The units of a verb's words; kNoUnit for words that it does not have.
struct VerbUnits {
  int verb = kNoUnit, modal = kNoUnit, negation = kNoUnit, frequency = kNoUnit, pronoun = kNoUnit;
};

/// One derivation. Member functions append their constituent to the draft, except that noun phrases
/// are returned, because other words may have to come first.
class Sentence {
 public:
  explicit Sentence(Chooser& chooser);

  Derivation write();

 private:
  // Noun phrases (demo_noun_phrase.cpp)
  NounPhrase noun_phrase(const NounPhraseSpec& spec);
  const Noun& choose_noun(const NounPhraseSpec& spec);
  const Determiner& choose_determiner(const NounPhraseSpec& spec, const Noun& noun);
  std::vector<const Adjective*> choose_adjectives(const NounPhraseSpec& spec, const Noun& noun);
  void write_number(Phrase& phrase, int number, bool feminine);
  void write_determiner(Phrase& phrase, const NounPhraseSpec& spec, const Determiner& determiner,
                        bool feminine, bool adjective_follows);
  int weight_of(const Adjective& adjective, Fits fits) const;
  void note_pair(const Noun& noun, const Adjective& adjective);
  void append(const NounPhrase& phrase);

  // Verbs (demo_verb_phrase.cpp)
  VerbPlan choose_plan(const Subject& subject, const Verb* verb);
  VerbPlan choose_lasting_plan(const Subject& subject);
  void write_verb(const Subject& subject, const Verb& verb, const VerbPlan& plan,
                  const Pronoun* object);
  void write_english_verb(const Subject& subject, const Verb& verb, const VerbPlan& plan,
                          const Pronoun* object, const VerbUnits& units);
  void write_french_verb(const Subject& subject, const Verb& verb, const VerbPlan& plan,
                         const Pronoun* object, const VerbUnits& units);
  void write_copula(const Subject& subject, const VerbPlan& plan);

  // The sentence and its subject (demo_sentence.cpp)
  void existential();
  Subject subject();
  Subject pronoun_subject();
  Subject noun_subject(Traits traits);
  Subject coordinated_subject(Traits traits);
  void conjunction();
  void relative_clause(const Subject& head);
  Subject relative_subject();
  void location(Theme theme);
  void joined(std::string_view source, std::string_view target, const NounPhraseSpec& complement);
  void adverbial(const Adverbial& adverbial);
  void closing_adverbial(const VerbPlan& plan);
  void confirm() { chooser_.confirm(draft_.words); }

  // Predicates (demo_predicate.cpp)
  void predicate(const Subject& subject);
  void transitive(const Subject& subject);
  void ditransitive(const Subject& subject);
  void activity(const Subject& subject);
  void motion(const Subject& subject);
  void stance(const Subject& subject);
  bool may_be_said(const Adjective& adjective, const Subject& subject) const;
  void write_predicate_adjective(const Subject& subject, const Adjective& adjective, int unit);
  void adjective(const Subject& subject);
  void whereabouts(const Subject& subject);
  void comparison(const Subject& subject);
  void age(const Subject& subject);
  void cost(const Subject& subject);
  void distance(const Subject& subject);
  const Verb& choose_verb(const Subject& subject, VerbPattern pattern);

  Chooser& chooser_;
  Draft draft_;
  std::vector<const Noun*> used_;  // each noun is used only once
  std::vector<const Adjective*> used_adjectives_;
  const Adverbial* opening_ = nullptr;  // before the subject
  bool in_relative_clause_ = false;     // such clauses are kept simple
  bool held_out_ = false;
};

/// The theme for prepositions of place; 0 for what cannot have a place.
Theme theme_of(Traits traits);

std::string adjective_form(const Adjective& adjective, bool feminine, bool plural);

}  // namespace attend::demo
