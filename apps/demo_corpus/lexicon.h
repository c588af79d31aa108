#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attend::demo {

/// Fragments (see `fragments`) of an entry's words on each side. A sentence without any of them
/// does not contain the entry. Empty: the entry can never be ruled out.
struct Marks {
  std::vector<std::string> source;
  std::vector<std::string> target;
};

/// A row of one of the tables below, with its marks and index.
template <typename Row>
struct Entry : Row {
  Marks marks;
  std::size_t index;  // in its table
};

/// A noun's properties: a set of the bits below.
using Traits = std::uint64_t;

/// The adjectives that can describe a noun: a set of `Adjective::bit`.
using Fits = std::uint64_t;

// clang-format off
// What it is; one of them for each noun.
inline constexpr Traits kPerson      = 1ULL << 0;
inline constexpr Traits kAnimal      = 1ULL << 1;
inline constexpr Traits kThing       = 1ULL << 2; // that a hand can hold
inline constexpr Traits kFood        = 1ULL << 3; // that one counts
inline constexpr Traits kMass        = 1ULL << 4; // food that one does not count; singular only
inline constexpr Traits kDrink       = 1ULL << 5; // likewise
inline constexpr Traits kVehicle     = 1ULL << 6;
inline constexpr Traits kFurniture   = 1ULL << 7;
inline constexpr Traits kPart        = 1ULL << 8; // of a house
inline constexpr Traits kBuilding    = 1ULL << 9;
inline constexpr Traits kArea        = 1ULL << 10;// garden, city, river
inline constexpr Traits kPlant       = 1ULL << 11;
// Which determiners it takes.
inline constexpr Traits kKin         = 1ULL << 12;// my brother, the king's brother
inline constexpr Traits kOwned       = 1ULL << 13;// may be somebody's
inline constexpr Traits kUnique      = 1ULL << 14;// no plural: father
inline constexpr Traits kInvariant   = 1ULL << 15;// English plural like its singular: sheep
// Who it is.
inline constexpr Traits kChild       = 1ULL << 16;
inline constexpr Traits kLap         = 1ULL << 17;// an animal that sits on chairs
inline constexpr Traits kBeast       = 1ULL << 18;// an animal that stands
inline constexpr Traits kSinger      = 1ULL << 19;
inline constexpr Traits kPlayer      = 1ULL << 20;
inline constexpr Traits kSwimmer     = 1ULL << 21;
inline constexpr Traits kGrazer      = 1ULL << 22;// eats fruit and bread
// What one does with it.
inline constexpr Traits kReadable    = 1ULL << 23;
inline constexpr Traits kWritable    = 1ULL << 24;
inline constexpr Traits kClothes     = 1ULL << 25;
inline constexpr Traits kOpens       = 1ULL << 26;
inline constexpr Traits kPaintable   = 1ULL << 27;
inline constexpr Traits kWashable    = 1ULL << 28;
inline constexpr Traits kRepairable  = 1ULL << 29;
inline constexpr Traits kGoods       = 1ULL << 30;// bought and sold
inline constexpr Traits kPortable    = 1ULL << 31;// carried, found, lost, sent
inline constexpr Traits kVisited     = 1ULL << 32;
inline constexpr Traits kAwaited     = 1ULL << 33;
inline constexpr Traits kFodder      = 1ULL << 34;// that animals eat
// Where it lets others be.
inline constexpr Traits kSeat        = 1ULL << 35;
inline constexpr Traits kCouch       = 1ULL << 36;// one lies on it
inline constexpr Traits kFooting     = 1ULL << 37;// one stands on it
inline constexpr Traits kShelf       = 1ULL << 38;// things lie on it
inline constexpr Traits kTabletop    = 1ULL << 39;// food stands on it
inline constexpr Traits kContainer   = 1ULL << 40;
inline constexpr Traits kRoom        = 1ULL << 41;// people are in it
inline constexpr Traits kOpenAir     = 1ULL << 42;// animals are in it
inline constexpr Traits kHome        = 1ULL << 43;// people live in it
inline constexpr Traits kIsland      = 1ULL << 44;
inline constexpr Traits kWater       = 1ULL << 45;
inline constexpr Traits kCover       = 1ULL << 46;// pets and things are under it
inline constexpr Traits kTallCover   = 1ULL << 47;// anyone is under it
inline constexpr Traits kLandmark    = 1ULL << 48;// people are near it
inline constexpr Traits kFixture     = 1ULL << 49;// things are near it
inline constexpr Traits kSite        = 1ULL << 50;// buildings are near it
inline constexpr Traits kDestination = 1ULL << 51;// one goes to it: à la gare
inline constexpr Traits kTown        = 1ULL << 52;// buildings are in it
inline constexpr Traits kTrough      = 1ULL << 53;// animals drink it
inline constexpr Traits kIndoors     = 1ULL << 54;// furniture is in it
// clang-format on

struct NounRow {
  std::string_view source_singular;
  std::string_view source_plural;
  std::string_view target_singular;
  std::string_view target_plural;
  bool feminine;
  Traits traits;
  Fits fits;
  bool h_aspire = false;  // no elision before it
};
using Noun = Entry<NounRow>;

/// A noun never has two adjectives of one group, such as small and big.
enum class AdjectiveGroup {
  kSize,
  kAge,
  kLook,
  kColour,
  kMood,
  kOrigin,
  kCare,
  kHeat,
  kWorth,
  kUse
};

struct AdjectiveRow {
  std::string_view source;
  std::string_view masculine;
  std::string_view masculine_plural;
  std::string_view feminine;  // its plural adds an s
  AdjectiveGroup group;
  Fits bit;
  bool before_noun = false;            // in French
  std::string_view before_vowel = {};  // masculine singular: bel; empty: as before a consonant
  bool predicate = true;               // may follow "to be"
  bool temporary = false;              // today it is, tomorrow it is not
  bool compared = false;               // the car is as old as the house
  std::string_view comparative = {};   // English; empty: with "more"
};
using Adjective = Entry<AdjectiveRow>;

enum class VerbPattern {
  kTransitive,    // sees a bird
  kDitransitive,  // gives a book to the teacher
  kActivity,      // sings [in the garden] [with the queen]
  kGo,            // goes to the market
  kCome,          // comes from the village
  kArrive,        // arrives at the station
  kStay,          // stays in the house
  kLive,          // lives in the village
  kStance,        // sits on the chair: a participle in French
  kCost,          // costs ten euros
};

/// Who does it (any of these traits) and to whom.
struct VerbFrame {
  Traits subject = 0;
  Traits object = 0;
};

// clang-format off
using VerbFeatures = unsigned;
inline constexpr VerbFeatures kStative      = 1U << 0;  // its past is the French imperfect
inline constexpr VerbFeatures kNoPast       = 1U << 1;  // English writes it as the present: read
inline constexpr VerbFeatures kWithEtre     = 1U << 2;  // est arrivé
inline constexpr VerbFeatures kInvariable   = 1U << 3;  // the participle does not agree: debout
inline constexpr VerbFeatures kIndefinite   = 1U << 4;  // takes "apples", "bread"
inline constexpr VerbFeatures kLarge        = 1U << 5;  // takes large numbers
inline constexpr VerbFeatures kTakesPronoun = 1U << 6;  // sees him
inline constexpr VerbFeatures kTakesPlace   = 1U << 7;  // reads a book in the garden
inline constexpr VerbFeatures kPluralObject = 1U << 8;  // counts the apples
// clang-format on

struct VerbRow {
  // English: base, third person, past, particle (looks at).
  std::string_view base;
  std::string_view third;
  std::string_view past;
  std::string_view particle;
  // French: infinitive, present (je, il, nous, ils), past participle, stem of the future.
  std::string_view infinitive;
  std::string_view je;
  std::string_view il;
  std::string_view nous;
  std::string_view ils;
  std::string_view participle;
  std::string_view future;
  VerbPattern pattern;
  VerbFrame frames[2];
  VerbFeatures features = 0;

  bool is(VerbFeatures feature) const { return (features & feature) != 0; }
};
using Verb = Entry<VerbRow>;

struct Modal {
  std::string_view base;
  std::string_view third;
  std::string_view je;
  std::string_view il;
  std::string_view nous;
  std::string_view ils;
};

enum class DeterminerKind {
  kThe,
  kA,
  kOwner,  // my, his
  kThis,
  kEvery,
  kSome,
  kSeveral,
  kMany,
  kAllThe,
  kNumber,
  kTheNumber,
  kBare,      // apples, bread
  kGenitive,  // the farmer's
};

/// The position of a noun phrase, on which the weights of its determiners depend.
enum class Role {
  kSubject,
  kCoordinated,  // or in a relative clause: short
  kObject,
  kDefiniteObject,
  kNegatedObject,
  kComplement,  // of a preposition
  kRecipient,
  kTheme,  // there is ...
  kNegatedTheme,
  kPossessor,
};
inline constexpr std::size_t kRoles = static_cast<std::size_t>(Role::kPossessor) + 1;

struct DeterminerRow {
  DeterminerKind kind;
  bool plural;
  std::string_view source;
  std::string_view masculine;  // French singular, or the plural of both genders
  std::string_view feminine;
  std::string_view before_vowel;  // l', cet
  std::string_view feminine_before_vowel;
  int weights[kRoles];  // in the order of Role
};
using Determiner = Entry<DeterminerRow>;

/// The kinds of things that can be at a place.
using Theme = unsigned;
inline constexpr Theme kSitter = 1U << 0;
inline constexpr Theme kStander = 1U << 1;
inline constexpr Theme kLier = 1U << 2;
inline constexpr Theme kPet = 1U << 3;  // an animal that sits on chairs
inline constexpr Theme kBigAnimal = 1U << 4;
inline constexpr Theme kActor = 1U << 5;  // a person who does something
inline constexpr Theme kObject = 1U << 6;
inline constexpr Theme kDish = 1U << 7;
inline constexpr Theme kOnWheels = 1U << 8;
inline constexpr Theme kBulky = 1U << 9;
inline constexpr Theme kEdifice = 1U << 10;
inline constexpr Theme kDweller = 1U << 11;
inline constexpr Theme kBather = 1U << 12;

/// A preposition with the themes and places that it can join.
struct PrepositionRow {
  std::string_view source;
  std::string_view target;
  Theme themes;
  Traits places;
  int weight;
};
using Preposition = Entry<PrepositionRow>;

/// The times that an adverbial can refer to.
enum class Time { kPresent, kPast, kFuture };

struct AdverbialRow {
  std::string_view source;
  std::string_view target;
  std::string_view alignment;  // for each French word the number of the English one, or a dot
  Time time;
  bool repeated = false;  // every morning: not with a negation
};
using Adverbial = Entry<AdverbialRow>;

struct PronounRow {
  std::string_view source;
  std::string_view target;
  std::string_view before_vowel;
  bool first_person;
  bool plural;
  bool feminine;
  int weight;
};
using Pronoun = Entry<PronounRow>;

/// Makes the entries of a table; `marks` gives the marks of a row.
template <typename Row, std::size_t kRows, typename MarksOf>
std::vector<Entry<Row>> make_table(const Row (&rows)[kRows], const MarksOf& marks) {
  std::vector<Entry<Row>> table;
  for (const Row& row : rows) table.push_back({row, marks(row), table.size()});
  return table;
}

std::span<const Noun> nouns();
std::span<const Adjective> adjectives();
std::span<const Verb> verbs();
std::span<const Determiner> determiners();
std::span<const Preposition> prepositions();
std::span<const Adverbial> adverbials();
std::span<const Pronoun> subject_pronouns();
std::span<const Pronoun> object_pronouns();

inline constexpr Modal kCanVerb = {"can", "can", "peux", "peut", "pouvons", "peuvent"};
inline constexpr Modal kMustVerb = {"must", "must", "dois", "doit", "devons", "doivent"};
inline constexpr Modal kWantVerb = {"want", "wants", "veux", "veut", "voulons", "veulent"};
inline constexpr Modal kGoingVerb = {"going", "going", "vais", "va", "allons", "vont"};

/// The adjectives that can describe "he" and "she".
Fits fits_of_anyone();

/// `word` with an s, unless it ends in one.
std::string plural_s(std::string_view word);

/// The stem of the French imperfect, from the present form of nous.
std::string imperfect_stem(const VerbRow& verb);

}  // namespace attend::demo
