#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "demo_corpus/lexicon.h"
#include "demo_corpus/phrase.h"

namespace attend::demo {
namespace {

using Pattern = VerbPattern;

// Objects of "look at" and of "draw".
constexpr Traits kSight =
    kPerson | kAnimal | kThing | kFood | kVehicle | kFurniture | kBuilding | kPlant;
constexpr Traits kPicture = kAnimal | kThing | kFood | kVehicle | kBuilding | kPlant;

// clang-format off
constexpr VerbRow kVerbs[] = {
    {"eat", "eats", "ate", "", "manger", "mange", "mange", "mangeons", "mangent", "mangé", "manger", Pattern::kTransitive, {{kPerson, kFood | kMass}, {kGrazer, kFodder}}, kIndefinite | kTakesPlace},
    {"drink", "drinks", "drank", "", "boire", "bois", "boit", "buvons", "boivent", "bu", "boir", Pattern::kTransitive, {{kPerson, kDrink}, {kAnimal, kTrough}}, kIndefinite | kTakesPlace},
    {"buy", "buys", "bought", "", "acheter", "achète", "achète", "achetons", "achètent", "acheté", "achèter", Pattern::kTransitive, {{kPerson, kGoods}}, kIndefinite | kLarge},
    {"sell", "sells", "sold", "", "vendre", "vends", "vend", "vendons", "vendent", "vendu", "vendr", Pattern::kTransitive, {{kPerson, kGoods}}, kIndefinite | kLarge},
    {"have", "has", "had", "", "avoir", "ai", "a", "avons", "ont", "eu", "aur", Pattern::kTransitive, {{kPerson, kGoods | kLap | kBeast}}, kStative | kIndefinite | kLarge},
    {"read", "reads", "read", "", "lire", "lis", "lit", "lisons", "lisent", "lu", "lir", Pattern::kTransitive, {{kPerson, kReadable}}, kNoPast | kIndefinite | kTakesPlace},
    {"write", "writes", "wrote", "", "écrire", "écris", "écrit", "écrivons", "écrivent", "écrit", "écrir", Pattern::kTransitive, {{kPerson, kWritable}}, kIndefinite | kTakesPlace},
    {"see", "sees", "saw", "", "voir", "vois", "voit", "voyons", "voient", "vu", "verr", Pattern::kTransitive, {{kPerson | kAnimal, kSight}}, kIndefinite | kTakesPronoun | kTakesPlace},
    {"look", "looks", "looked", "at", "regarder", "regarde", "regarde", "regardons", "regardent", "regardé", "regarder", Pattern::kTransitive, {{kPerson | kAnimal, kSight}}, kTakesPronoun | kTakesPlace},
    {"look", "looks", "looked", "for", "chercher", "cherche", "cherche", "cherchons", "cherchent", "cherché", "chercher", Pattern::kTransitive, {{kPerson, kPortable | kPerson | kAnimal}}, kIndefinite | kTakesPronoun | kTakesPlace},
    {"listen", "listens", "listened", "to", "écouter", "écoute", "écoute", "écoutons", "écoutent", "écouté", "écouter", Pattern::kTransitive, {{kPerson, kPerson | kSinger}}, kTakesPronoun | kTakesPlace},
    {"wait", "waits", "waited", "for", "attendre", "attends", "attend", "attendons", "attendent", "attendu", "attendr", Pattern::kTransitive, {{kPerson, kPerson | kAwaited}}, kTakesPronoun | kTakesPlace},
    {"find", "finds", "found", "", "trouver", "trouve", "trouve", "trouvons", "trouvent", "trouvé", "trouver", Pattern::kTransitive, {{kPerson, kPortable | kLap}}, kIndefinite | kTakesPlace},
    {"open", "opens", "opened", "", "ouvrir", "ouvre", "ouvre", "ouvrons", "ouvrent", "ouvert", "ouvrir", Pattern::kTransitive, {{kPerson, kOpens}}, kTakesPlace},
    {"close", "closes", "closed", "", "fermer", "ferme", "ferme", "fermons", "ferment", "fermé", "fermer", Pattern::kTransitive, {{kPerson, kOpens}}},
    {"carry", "carries", "carried", "", "porter", "porte", "porte", "portons", "portent", "porté", "porter", Pattern::kTransitive, {{kPerson, kPortable}}, kIndefinite},
    {"wear", "wears", "wore", "", "porter", "porte", "porte", "portons", "portent", "porté", "porter", Pattern::kTransitive, {{kPerson, kClothes}}, kIndefinite},
    {"love", "loves", "loved", "", "aimer", "aime", "aime", "aimons", "aiment", "aimé", "aimer", Pattern::kTransitive, {{kPerson, kPerson | kLap | kVisited | kFood | kMass}}, kStative | kTakesPronoun},
    {"follow", "follows", "followed", "", "suivre", "suis", "suit", "suivons", "suivent", "suivi", "suivr", Pattern::kTransitive, {{kPerson, kPerson | kAnimal | kVehicle}, {kAnimal, kPerson | kAnimal}}, kTakesPronoun},
    {"help", "helps", "helped", "", "aider", "aide", "aide", "aidons", "aident", "aidé", "aider", Pattern::kTransitive, {{kPerson, kPerson}}, kTakesPronoun | kTakesPlace},
    {"call", "calls", "called", "", "appeler", "appelle", "appelle", "appelons", "appellent", "appelé", "appeller", Pattern::kTransitive, {{kPerson, kPerson | kPlayer}}, kTakesPronoun | kTakesPlace},
    {"draw", "draws", "drew", "", "dessiner", "dessine", "dessine", "dessinons", "dessinent", "dessiné", "dessiner", Pattern::kTransitive, {{kPerson, kPicture}}, kIndefinite | kTakesPlace},
    {"paint", "paints", "painted", "", "peindre", "peins", "peint", "peignons", "peignent", "peint", "peindr", Pattern::kTransitive, {{kPerson, kPaintable}}, kIndefinite | kTakesPlace},
    {"wash", "washes", "washed", "", "laver", "lave", "lave", "lavons", "lavent", "lavé", "laver", Pattern::kTransitive, {{kPerson, kWashable}}, kTakesPlace},
    {"repair", "repairs", "repaired", "", "réparer", "répare", "répare", "réparons", "réparent", "réparé", "réparer", Pattern::kTransitive, {{kPerson, kRepairable}}, kIndefinite | kTakesPlace},
    {"visit", "visits", "visited", "", "visiter", "visite", "visite", "visitons", "visitent", "visité", "visiter", Pattern::kTransitive, {{kPerson, kVisited}}, kIndefinite},
    {"count", "counts", "counted", "", "compter", "compte", "compte", "comptons", "comptent", "compté", "compter", Pattern::kTransitive, {{kPerson, kAnimal | kThing | kFood}}, kLarge | kPluralObject | kTakesPlace},
    {"give", "gives", "gave", "", "donner", "donne", "donne", "donnons", "donnent", "donné", "donner", Pattern::kDitransitive, {{kPerson, kPortable | kFood | kMass}}, kIndefinite},
    {"bring", "brings", "brought", "", "apporter", "apporte", "apporte", "apportons", "apportent", "apporté", "apporter", Pattern::kDitransitive, {{kPerson, kPortable | kFood | kMass | kDrink}}, kIndefinite},
    {"show", "shows", "showed", "", "montrer", "montre", "montre", "montrons", "montrent", "montré", "montrer", Pattern::kDitransitive, {{kPerson, kPortable | kVehicle | kVisited | kAnimal}}},
    {"send", "sends", "sent", "", "envoyer", "envoie", "envoie", "envoyons", "envoient", "envoyé", "enverr", Pattern::kDitransitive, {{kPerson, kPortable}}, kIndefinite},
    {"sleep", "sleeps", "slept", "", "dormir", "dors", "dort", "dormons", "dorment", "dormi", "dormir", Pattern::kActivity, {{kPerson | kAnimal, 0}}},
    {"run", "runs", "ran", "", "courir", "cours", "court", "courons", "courent", "couru", "courr", Pattern::kActivity, {{kPerson | kPlayer | kBeast, 0}}},
    {"sing", "sings", "sang", "", "chanter", "chante", "chante", "chantons", "chantent", "chanté", "chanter", Pattern::kActivity, {{kPerson | kSinger, kPerson}}},
    {"dance", "dances", "danced", "", "danser", "danse", "danse", "dansons", "dansent", "dansé", "danser", Pattern::kActivity, {{kPerson, kPerson}}},
    {"work", "works", "worked", "", "travailler", "travaille", "travaille", "travaillons", "travaillent", "travaillé", "travailler", Pattern::kActivity, {{kPerson, kPerson}}},
    {"play", "plays", "played", "", "jouer", "joue", "joue", "jouons", "jouent", "joué", "jouer", Pattern::kActivity, {{kPerson | kPlayer, kPerson | kPlayer}}},
    {"swim", "swims", "swam", "", "nager", "nage", "nage", "nageons", "nagent", "nagé", "nager", Pattern::kActivity, {{kPerson | kSwimmer, 0}}},
    {"go", "goes", "went", "", "aller", "vais", "va", "allons", "vont", "allé", "ir", Pattern::kGo, {{kPerson, kDestination}}, kWithEtre},
    {"come", "comes", "came", "", "venir", "viens", "vient", "venons", "viennent", "venu", "viendr", Pattern::kCome, {{kPerson | kAnimal, kArea | kBuilding}}, kWithEtre},
    {"arrive", "arrives", "arrived", "", "arriver", "arrive", "arrive", "arrivons", "arrivent", "arrivé", "arriver", Pattern::kArrive, {{kPerson, kDestination}}, kWithEtre},
    {"stay", "stays", "stayed", "", "rester", "reste", "reste", "restons", "restent", "resté", "rester", Pattern::kStay, {{kPerson | kAnimal, 0}}, kWithEtre},
    {"live", "lives", "lived", "", "habiter", "habite", "habite", "habitons", "habitent", "habité", "habiter", Pattern::kLive, {{kPerson, 0}}, kStative},
    {"cost", "costs", "cost", "", "coûter", "coûte", "coûte", "coûtons", "coûtent", "coûté", "coûter", Pattern::kCost, {{kGoods, 0}}, kStative | kNoPast},
    {"sit", "sits", "sat", "", "", "", "", "", "", "assis", "", Pattern::kStance, {{kPerson | kLap, 0}}, kStative},
    {"stand", "stands", "stood", "", "", "", "", "", "", "debout", "", Pattern::kStance, {{kPerson | kBeast, 0}}, kStative | kInvariable},
    {"lie", "lies", "lay", "", "", "", "", "", "", "allongé", "", Pattern::kStance, {{kPerson | kPlayer | kBeast, 0}}, kStative},
};

constexpr DeterminerRow kDeterminers[] = {
    //                                                                                          subj coord obj def neg compl recip theme negth poss
    {DeterminerKind::kThe, false, "the", "le", "la", "l'", "l'",                               {300, 400, 220, 260, 220, 400, 300, 0, 0, 300}},
    {DeterminerKind::kThe, true, "the", "les", "les", "", "",                                  {230, 0, 90, 110, 90, 90, 120, 0, 0, 100}},
    {DeterminerKind::kA, false, "a", "un", "une", "", "",                                      {70, 50, 230, 170, 200, 100, 100, 400, 300, 60}},
    {DeterminerKind::kOwner, false, "my", "mon", "ma", "", "mon",                              {40, 60, 30, 40, 30, 20, 40, 0, 0, 50}},
    {DeterminerKind::kOwner, true, "my", "mes", "mes", "", "",                                 {25, 0, 15, 20, 15, 8, 20, 0, 0, 15}},
    {DeterminerKind::kOwner, false, "his", "son", "sa", "", "son",                             {20, 20, 30, 40, 30, 20, 40, 0, 0, 20}},
    {DeterminerKind::kOwner, true, "his", "ses", "ses", "", "",                                {12, 0, 15, 20, 15, 8, 20, 0, 0, 10}},
    {DeterminerKind::kOwner, false, "her", "son", "sa", "", "son",                             {20, 20, 30, 40, 30, 20, 40, 0, 0, 20}},
    {DeterminerKind::kOwner, true, "her", "ses", "ses", "", "",                                {12, 0, 15, 20, 15, 8, 20, 0, 0, 10}},
    {DeterminerKind::kOwner, false, "our", "notre", "notre", "", "",                           {35, 30, 20, 25, 20, 14, 25, 0, 0, 30}},
    {DeterminerKind::kOwner, true, "our", "nos", "nos", "", "",                                {25, 0, 15, 18, 15, 8, 16, 0, 0, 12}},
    {DeterminerKind::kOwner, false, "their", "leur", "leur", "", "",                           {15, 10, 20, 25, 20, 14, 25, 0, 0, 15}},
    {DeterminerKind::kOwner, true, "their", "leurs", "leurs", "", "",                          {10, 0, 15, 18, 15, 8, 16, 0, 0, 10}},
    {DeterminerKind::kThis, false, "this", "ce", "cette", "cet", "",                           {70, 40, 40, 50, 40, 35, 30, 0, 0, 30}},
    {DeterminerKind::kThis, true, "these", "ces", "ces", "", "",                               {60, 0, 35, 45, 35, 12, 25, 0, 0, 15}},
    {DeterminerKind::kEvery, false, "every", "chaque", "chaque", "", "",                       {40, 0, 0, 0, 0, 0, 20, 0, 0, 0}},
    {DeterminerKind::kSome, true, "some", "quelques", "quelques", "", "",                      {40, 0, 40, 20, 0, 0, 15, 60, 0, 0}},
    {DeterminerKind::kSeveral, true, "several", "plusieurs", "plusieurs", "", "",              {35, 0, 35, 20, 0, 0, 15, 60, 0, 0}},
    {DeterminerKind::kMany, true, "many", "beaucoup", "beaucoup", "", "",                      {30, 0, 40, 10, 0, 0, 0, 70, 0, 0}},
    {DeterminerKind::kAllThe, true, "all the", "tous", "toutes", "", "",                       {35, 0, 30, 35, 0, 0, 15, 0, 0, 0}},
    {DeterminerKind::kNumber, true, "", "", "", "", "",                                        {0, 0, 330, 30, 0, 0, 0, 230, 0, 0}},
    {DeterminerKind::kTheNumber, true, "the", "les", "les", "", "",                            {12, 0, 6, 10, 0, 0, 5, 0, 0, 0}},
    {DeterminerKind::kBare, true, "", "des", "des", "", "",                                    {0, 0, 130, 0, 160, 0, 0, 70, 160, 0}},
    {DeterminerKind::kBare, false, "", "de", "de", "d'", "d'",                                 {0, 0, 300, 0, 300, 0, 0, 100, 100, 0}},
    {DeterminerKind::kGenitive, false, "", "le", "la", "l'", "l'",                             {60, 0, 50, 70, 50, 50, 30, 0, 0, 0}},
    {DeterminerKind::kGenitive, true, "", "les", "les", "", "",                                {30, 0, 25, 30, 25, 15, 15, 0, 0, 0}},
};

constexpr Theme kAnimate = kSitter | kStander | kLier | kPet | kBigAnimal | kActor;

constexpr PrepositionRow kPrepositions[] = {
    {"on", "sur", kSitter, kSeat, 60},
    {"on", "sur", kLier, kCouch, 60},
    {"on", "sur", kStander, kFooting, 25},
    {"on", "sur", kPet, kShelf | kFooting, 45},
    {"on", "sur", kObject, kShelf, 40},
    {"on", "sur", kDish, kTabletop, 80},
    {"on", "sur", kDweller, kIsland, 20},
    {"in", "dans", kSitter | kStander | kActor, kRoom, 40},
    {"in", "dans", kLier | kBigAnimal, kOpenAir, 40},
    {"in", "dans", kPet, kContainer | kHome | kOpenAir, 35},
    {"in", "dans", kObject, kContainer, 40},
    {"in", "dans", kBulky, kIndoors, 30},
    {"in", "dans", kOnWheels, kTown, 20},
    {"in", "dans", kEdifice, kTown, 30},
    {"in", "dans", kDweller, kHome, 60},
    {"in", "dans", kBather, kWater, 60},
    {"under", "sous", kSitter | kLier | kStander | kActor | kBigAnimal | kOnWheels, kTallCover, 12},
    {"under", "sous", kPet | kObject, kCover | kTallCover, 25},
    {"behind", "derrière", kAnimate | kDweller, kLandmark, 14},
    {"behind", "derrière", kObject | kBulky, kFixture, 14},
    {"behind", "derrière", kEdifice | kOnWheels, kSite, 14},
    {"in front of", "devant", kAnimate, kLandmark, 16},
    {"in front of", "devant", kObject | kBulky, kFixture, 14},
    {"in front of", "devant", kEdifice | kOnWheels, kSite, 14},
    {"next to", "à côté de", kAnimate | kDweller, kLandmark, 14},
    {"next to", "à côté de", kSitter | kStander | kLier | kPet, kPerson, 10},
    {"next to", "à côté de", kObject | kBulky | kDish, kFixture, 14},
    {"next to", "à côté de", kEdifice | kOnWheels, kSite, 14},
    {"near", "près de", kAnimate | kDweller | kBather, kLandmark, 16},
    {"near", "près de", kSitter | kStander | kLier | kPet, kPerson, 10},
    {"near", "près de", kObject | kBulky, kFixture, 14},
    {"near", "près de", kEdifice | kOnWheels, kSite | kTown, 18},
    {"far from", "loin de", kActor | kDweller, kBuilding, 8},
    {"far from", "loin de", kEdifice | kOnWheels, kSite | kTown, 18},
    {"opposite", "en face de", kEdifice | kDweller, kBuilding, 18},
};
// clang-format on

constexpr AdverbialRow kAdverbials[] = {
    {"every morning", "chaque matin", "01", Time::kPresent, true},
    {"every evening", "chaque soir", "01", Time::kPresent, true},
    {"today", "aujourd'hui", "0", Time::kPresent},
    {"now", "maintenant", "0", Time::kPresent},
    {"yesterday", "hier", "0", Time::kPast},
    {"this morning", "ce matin", "01", Time::kPast},
    {"last week", "la semaine dernière", ".10", Time::kPast},
    {"tomorrow", "demain", "0", Time::kFuture},
    {"this evening", "ce soir", "01", Time::kFuture},
    {"next week", "la semaine prochaine", ".10", Time::kFuture},
};

// No "they" and no "you": each has two translations.
constexpr PronounRow kSubjectPronouns[] = {
    {"I", "je", "j'", true, false, false, 40},
    {"we", "nous", "", true, true, false, 45},
    {"he", "il", "", false, false, false, 15},
    {"she", "elle", "", false, false, true, 15},
};

constexpr PronounRow kObjectPronouns[] = {
    {"him", "le", "l'", false, false, false, 30},
    {"her", "la", "l'", false, false, true, 30},
    {"them", "les", "", false, true, false, 30},
};

Marks whole(std::string_view source, std::string_view target) {
  return {fragments(source, Side::kSource), fragments(target, Side::kTarget)};
}

}  // namespace

std::string imperfect_stem(const VerbRow& verb) {
  constexpr std::string_view kEnding = "ons";
  return std::string(verb.nous.substr(0, verb.nous.size() - kEnding.size()));
}

std::span<const Verb> verbs() {
  static const auto table = make_table(kVerbs, [](const VerbRow& verb) {
    Marks marks{{std::string(verb.base), std::string(verb.third), std::string(verb.past)}, {}};
    for (const char* const ending : {"", "e", "s", "es"}) {
      marks.target.push_back(std::string(verb.participle) + ending);
    }
    if (verb.pattern == VerbPattern::kStance) return marks;
    for (const std::string_view form : {verb.infinitive, verb.je, verb.il, verb.nous, verb.ils}) {
      marks.target.emplace_back(form);
    }
    for (const char* const ending : {"a", "ont"}) {
      marks.target.push_back(std::string(verb.future) + ending);
    }
    for (const char* const ending : {"ait", "aient"}) {
      marks.target.push_back(imperfect_stem(verb) + ending);
    }
    return marks;
  });
  return table;
}

std::span<const Determiner> determiners() {
  static const auto table = make_table(kDeterminers, [](const DeterminerRow& determiner) {
    const auto kind = determiner.kind;
    // A number can be any word, and so can the owner in a genitive, so they have no marks.
    if (kind == DeterminerKind::kNumber) return Marks{};
    Marks marks;
    if (kind != DeterminerKind::kGenitive && kind != DeterminerKind::kBare) {
      marks.source = fragments(determiner.source, Side::kSource);
    }
    for (const std::string_view form :
         {determiner.masculine, determiner.feminine, determiner.before_vowel,
          determiner.feminine_before_vowel}) {
      if (!form.empty()) marks.target.emplace_back(form);
    }
    // The articles' contractions, and their form after a negation.
    const bool article = kind == DeterminerKind::kThe || kind == DeterminerKind::kGenitive ||
                         kind == DeterminerKind::kTheNumber;
    if (article && !determiner.plural) marks.target.insert(marks.target.end(), {"du", "au"});
    if (article && determiner.plural) marks.target.insert(marks.target.end(), {"des", "aux"});
    if (kind == DeterminerKind::kBare) marks.target.insert(marks.target.end(), {"du", "de", "d'"});
    if (kind == DeterminerKind::kA) {
      marks.source.insert(marks.source.end(), {"an", "no"});
      marks.target.insert(marks.target.end(), {"de", "d'"});
    }
    return marks;
  });
  return table;
}

std::span<const Preposition> prepositions() {
  static const auto table = make_table(kPrepositions, [](const PrepositionRow& preposition) {
    return whole(preposition.source, preposition.target);
  });
  return table;
}

std::span<const Adverbial> adverbials() {
  static const auto table = make_table(kAdverbials, [](const AdverbialRow& adverbial) {
    return whole(adverbial.source, adverbial.target);
  });
  return table;
}

std::span<const Pronoun> subject_pronouns() {
  static const auto table = make_table(kSubjectPronouns, [](const PronounRow& pronoun) {
    return Marks{{std::string(pronoun.source)},
                 {std::string(pronoun.target), std::string(pronoun.before_vowel)}};
  });
  return table;
}

std::span<const Pronoun> object_pronouns() {
  static const auto table = make_table(kObjectPronouns, [](const PronounRow& pronoun) {
    return Marks{{std::string(pronoun.source)},
                 {std::string(pronoun.target), std::string(pronoun.before_vowel)}};
  });
  return table;
}

}  // namespace attend::demo
