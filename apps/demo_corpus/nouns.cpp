#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "demo_corpus/lexicon.h"
#include "demo_corpus/phrase.h"

namespace attend::demo {
namespace {

// clang-format off
constexpr Fits kSmall     = 1ULL << 0;
constexpr Fits kBig       = 1ULL << 1;
constexpr Fits kBeautiful = 1ULL << 2;
constexpr Fits kOld       = 1ULL << 3;
constexpr Fits kNew       = 1ULL << 4;
constexpr Fits kGood      = 1ULL << 5;
constexpr Fits kYoung     = 1ULL << 6;
constexpr Fits kLong      = 1ULL << 7;
constexpr Fits kRed       = 1ULL << 8;
constexpr Fits kBlue      = 1ULL << 9;
constexpr Fits kGreen     = 1ULL << 10;
constexpr Fits kYellow    = 1ULL << 11;
constexpr Fits kWhite     = 1ULL << 12;
constexpr Fits kBlack     = 1ULL << 13;
constexpr Fits kGrey      = 1ULL << 14;
constexpr Fits kHappy     = 1ULL << 15;
constexpr Fits kSad       = 1ULL << 16;
constexpr Fits kTired     = 1ULL << 17;
constexpr Fits kStrong    = 1ULL << 18;
constexpr Fits kBrave     = 1ULL << 19;
constexpr Fits kLoyal     = 1ULL << 20;
constexpr Fits kLazy      = 1ULL << 21;
constexpr Fits kFamous    = 1ULL << 22;
constexpr Fits kFrench    = 1ULL << 23;
constexpr Fits kEnglish   = 1ULL << 24;
constexpr Fits kItalian   = 1ULL << 25;
constexpr Fits kCostly    = 1ULL << 26;
constexpr Fits kHeavy     = 1ULL << 27;
constexpr Fits kRound     = 1ULL << 28;
constexpr Fits kEmpty     = 1ULL << 29;
constexpr Fits kClean     = 1ULL << 30;
constexpr Fits kDry       = 1ULL << 31;
constexpr Fits kCold      = 1ULL << 32;
constexpr Fits kHot       = 1ULL << 33;
constexpr Fits kFresh     = 1ULL << 34;
constexpr Fits kDelicious = 1ULL << 35;
constexpr Fits kRoyal     = 1ULL << 36;
constexpr Fits kMedieval  = 1ULL << 37;
constexpr Fits kQuiet     = 1ULL << 38;
constexpr Fits kDangerous = 1ULL << 39;

constexpr Fits kSizes   = kSmall | kBig;
constexpr Fits kNations = kFrench | kEnglish | kItalian;
constexpr Fits kColours = kRed | kBlue | kGreen | kYellow | kWhite | kBlack | kGrey;
constexpr Fits kFur     = kWhite | kBlack | kGrey;
constexpr Fits kMoods   = kHappy | kSad | kTired;
constexpr Fits kPeople  = kMoods | kBrave | kLazy | kYoung;
constexpr Fits kWorkers = kPeople | kOld | kGood | kNew | kNations;
constexpr Fits kMade    = kSizes | kOld | kNew | kBeautiful;  // what craftsmen make

using Group = AdjectiveGroup;

constexpr AdjectiveRow kAdjectives[] = {
    // English, masculine, its plural, feminine
    {"small", "petit", "petits", "petite", Group::kSize, kSmall, true, {}, true, false, true, "smaller"},
    {"big", "grand", "grands", "grande", Group::kSize, kBig, true, {}, true, false, true, "bigger"},
    {"beautiful", "beau", "beaux", "belle", Group::kLook, kBeautiful, true, "bel", true, false, true},
    {"old", "vieux", "vieux", "vieille", Group::kAge, kOld, true, "vieil", true, false, true, "older"},
    {"new", "nouveau", "nouveaux", "nouvelle", Group::kAge, kNew, true, "nouvel", false},
    {"good", "bon", "bons", "bonne", Group::kWorth, kGood, true, {}, true},
    {"young", "jeune", "jeunes", "jeune", Group::kAge, kYoung, true, {}, true, false, true, "younger"},
    {"long", "long", "longs", "longue", Group::kSize, kLong, true},
    {"red", "rouge", "rouges", "rouge", Group::kColour, kRed},
    {"blue", "bleu", "bleus", "bleue", Group::kColour, kBlue},
    {"green", "vert", "verts", "verte", Group::kColour, kGreen},
    {"yellow", "jaune", "jaunes", "jaune", Group::kColour, kYellow},
    {"white", "blanc", "blancs", "blanche", Group::kColour, kWhite},
    {"black", "noir", "noirs", "noire", Group::kColour, kBlack},
    {"grey", "gris", "gris", "grise", Group::kColour, kGrey},
    {"happy", "heureux", "heureux", "heureuse", Group::kMood, kHappy, false, {}, true, true, true, "happier"},
    {"sad", "triste", "tristes", "triste", Group::kMood, kSad, false, {}, true, true, true, "sadder"},
    {"tired", "fatigué", "fatigués", "fatiguée", Group::kMood, kTired, false, {}, true, true, true},
    {"strong", "fort", "forts", "forte", Group::kUse, kStrong, false, {}, true, false, true, "stronger"},
    {"brave", "courageux", "courageux", "courageuse", Group::kUse, kBrave, false, {}, true, false, true, "braver"},
    {"loyal", "loyal", "loyaux", "loyale", Group::kUse, kLoyal},
    {"lazy", "paresseux", "paresseux", "paresseuse", Group::kUse, kLazy, false, {}, true, false, true, "lazier"},
    {"famous", "célèbre", "célèbres", "célèbre", Group::kUse, kFamous, false, {}, true, false, true},
    {"French", "français", "français", "française", Group::kOrigin, kFrench},
    {"English", "anglais", "anglais", "anglaise", Group::kOrigin, kEnglish},
    {"Italian", "italien", "italiens", "italienne", Group::kOrigin, kItalian},
    {"expensive", "cher", "chers", "chère", Group::kWorth, kCostly, false, {}, true, false, true},
    {"heavy", "lourd", "lourds", "lourde", Group::kUse, kHeavy, false, {}, true, false, true, "heavier"},
    {"round", "rond", "ronds", "ronde", Group::kLook, kRound},
    {"empty", "vide", "vides", "vide", Group::kUse, kEmpty, false, {}, true, true},
    {"clean", "propre", "propres", "propre", Group::kCare, kClean, false, {}, true, true, true, "cleaner"},
    {"dry", "sec", "secs", "sèche", Group::kCare, kDry, false, {}, true, true},
    {"cold", "froid", "froids", "froide", Group::kHeat, kCold, false, {}, true, true},
    {"hot", "chaud", "chauds", "chaude", Group::kHeat, kHot, false, {}, true, true},
    {"fresh", "frais", "frais", "fraîche", Group::kHeat, kFresh, false, {}, true, true},
    {"delicious", "délicieux", "délicieux", "délicieuse", Group::kWorth, kDelicious},
    {"royal", "royal", "royaux", "royale", Group::kOrigin, kRoyal, false, {}, false},
    {"medieval", "médiéval", "médiévaux", "médiévale", Group::kOrigin, kMedieval, false, {}, false},
    {"quiet", "tranquille", "tranquilles", "tranquille", Group::kUse, kQuiet, false, {}, true, true, true, "quieter"},
    {"dangerous", "dangereux", "dangereux", "dangereuse", Group::kUse, kDangerous, false, {}, true, false, true},
};

constexpr bool kF = true;   // feminine
constexpr bool kM = false;  // masculine

constexpr Traits kWorker = kPerson | kOwned;
constexpr Traits kFamily = kPerson | kKin | kOwned;
constexpr Traits kBought = kOwned | kGoods;
constexpr Traits kItem   = kThing | kOwned | kGoods | kPortable;
constexpr Traits kMeal   = kMass | kOwned | kGoods;
constexpr Traits kLiquid = kDrink | kOwned | kGoods;
constexpr Traits kFarm   = kAnimal | kOwned | kGoods;
constexpr Traits kHouse  = kBuilding | kRoom | kIndoors | kLandmark | kSite;

constexpr NounRow kNouns[] = {
    // People
    {"man", "men", "homme", "hommes", kM, kPerson, kPeople | kOld | kStrong | kFamous},
    {"woman", "women", "femme", "femmes", kF, kPerson, kPeople | kOld | kStrong | kFamous | kBeautiful},
    {"boy", "boys", "garçon", "garçons", kM, kPerson | kChild, kPeople | kSmall | kStrong | kNations},
    {"girl", "girls", "fille", "filles", kF, kPerson | kChild, kPeople | kSmall | kStrong | kNations | kBeautiful},
    {"child", "children", "enfant", "enfants", kM, kPerson | kChild | kOwned, kPeople | kSmall},
    {"king", "kings", "roi", "rois", kM, kPerson, kPeople | kOld | kGood | kNew | kFamous},
    {"queen", "queens", "reine", "reines", kF, kPerson, kPeople | kOld | kGood | kNew | kFamous | kBeautiful},
    {"farmer", "farmers", "fermier", "fermiers", kM, kPerson, kWorkers | kStrong},
    {"baker", "bakers", "boulanger", "boulangers", kM, kWorker, kWorkers | kFamous},
    {"teacher", "teachers", "professeur", "professeurs", kM, kWorker, kWorkers | kFamous},
    {"doctor", "doctors", "médecin", "médecins", kM, kWorker, kWorkers | kFamous},
    {"nurse", "nurses", "infirmière", "infirmières", kF, kWorker, kWorkers | kLoyal},
    {"engineer", "engineers", "ingénieur", "ingénieurs", kM, kPerson, kWorkers | kFamous},
    {"student", "students", "étudiant", "étudiants", kM, kWorker, kPeople | kGood | kNew | kNations},
    {"neighbour", "neighbours", "voisin", "voisins", kM, kWorker, kWorkers | kStrong},
    {"hero", "heroes", "héros", "héros", kM, kPerson, kMoods | kYoung | kOld | kFamous | kStrong | kFrench | kEnglish, true},
    {"brother", "brothers", "frère", "frères", kM, kFamily, kPeople | kStrong | kLoyal},
    {"sister", "sisters", "sœur", "sœurs", kF, kFamily, kPeople | kLoyal | kBeautiful},
    {"father", "fathers", "père", "pères", kM, kFamily | kUnique, kMoods | kBrave | kOld | kStrong | kFamous},
    {"mother", "mothers", "mère", "mères", kF, kFamily | kUnique, kMoods | kBrave | kYoung | kOld | kFamous},
    {"uncle", "uncles", "oncle", "oncles", kM, kFamily, kPeople | kOld | kStrong | kLoyal},
    {"grandmother", "grandmothers", "grand-mère", "grands-mères", kF, kFamily, kMoods | kOld | kBrave},
    // Animals
    {"cat", "cats", "chat", "chats", kM, kAnimal | kOwned | kLap | kPlayer, kMade | kYoung | kFur | kMoods | kLazy},
    {"dog", "dogs", "chien", "chiens", kM, kFarm | kLap | kPlayer | kSwimmer, kSizes | kGood | kBeautiful | kOld | kYoung | kFur | kMoods | kBrave | kLoyal | kLazy | kDangerous | kStrong},
    {"horse", "horses", "cheval", "chevaux", kM, kFarm | kBeast | kGrazer, kSizes | kGood | kBeautiful | kOld | kYoung | kFur | kMoods | kBrave | kLoyal | kStrong},
    {"cow", "cows", "vache", "vaches", kF, kFarm | kBeast | kGrazer, kSizes | kBeautiful | kOld | kYoung | kWhite | kBlack | kTired},
    {"sheep", "sheep", "mouton", "moutons", kM, kFarm | kBeast | kGrazer | kInvariant, kSmall | kOld | kYoung | kFur | kTired},
    {"hen", "hens", "poule", "poules", kF, kFarm | kLap | kGrazer, kSmall | kBeautiful | kOld | kYoung | kFur},
    {"goose", "geese", "oie", "oies", kF, kFarm | kBeast | kGrazer | kSwimmer, kSmall | kBeautiful | kOld | kYoung | kWhite | kGrey},
    {"donkey", "donkeys", "âne", "ânes", kM, kFarm | kBeast | kGrazer, kSizes | kBeautiful | kOld | kYoung | kFur | kMoods | kBrave | kLazy},
    {"rabbit", "rabbits", "lapin", "lapins", kM, kFarm | kLap | kGrazer, kSmall | kBeautiful | kOld | kYoung | kFur},
    {"mouse", "mice", "souris", "souris", kF, kAnimal | kLap | kGrazer, kSmall | kOld | kYoung | kFur | kTired},
    {"bird", "birds", "oiseau", "oiseaux", kM, kAnimal | kLap | kSinger | kGrazer, kSizes | kBeautiful | kYoung | kOld | kColours | kTired},
    {"owl", "owls", "hibou", "hiboux", kM, kAnimal | kLap, kSizes | kBeautiful | kYoung | kOld | kWhite | kGrey, true},
    {"hedgehog", "hedgehogs", "hérisson", "hérissons", kM, kAnimal | kLap, kSmall | kYoung | kOld | kTired, true},
    {"bear", "bears", "ours", "ours", kM, kAnimal | kBeast | kSwimmer, kSizes | kBeautiful | kYoung | kOld | kWhite | kBlack | kStrong | kDangerous | kTired},
    {"wolf", "wolves", "loup", "loups", kM, kAnimal | kBeast, kBig | kBeautiful | kYoung | kOld | kFur | kStrong | kDangerous | kTired},
    {"fox", "foxes", "renard", "renards", kM, kAnimal | kBeast, kSizes | kBeautiful | kYoung | kOld | kGrey | kTired},
    // Food and drink
    {"apple", "apples", "pomme", "pommes", kF, kFood | kBought | kFodder, kSmall | kBeautiful | kGood | kRed | kGreen | kYellow | kFresh | kDelicious},
    {"orange", "oranges", "orange", "oranges", kF, kFood | kBought, kSmall | kBeautiful | kGood | kFresh | kDelicious | kCostly},
    {"pear", "pears", "poire", "poires", kF, kFood | kBought | kFodder, kSmall | kBeautiful | kGood | kGreen | kYellow | kFresh | kDelicious},
    {"tomato", "tomatoes", "tomate", "tomates", kF, kFood | kBought, kSmall | kBeautiful | kGood | kRed | kGreen | kYellow | kRound | kFresh | kDelicious},
    {"egg", "eggs", "œuf", "œufs", kM, kFood | kBought, kSmall | kGood | kWhite | kFresh | kCold | kHot},
    {"cake", "cakes", "gâteau", "gâteaux", kM, kFood | kBought | kFodder, kSizes | kBeautiful | kGood | kRound | kDelicious | kDry | kCold | kHot | kCostly},
    {"bread", "", "pain", "", kM, kMeal | kFodder, kGood | kFresh | kDry | kHot | kWhite | kBlack | kDelicious | kFrench | kItalian},
    {"cheese", "", "fromage", "", kM, kMeal | kFodder, kGood | kFresh | kDry | kDelicious | kCostly | kWhite | kNations},
    {"soup", "", "soupe", "", kF, kMeal, kGood | kHot | kCold | kDelicious | kGreen | kRed | kItalian},
    {"meat", "", "viande", "", kF, kMeal, kGood | kFresh | kCold | kHot | kDry | kDelicious | kCostly | kRed | kWhite},
    {"water", "", "eau", "", kF, kLiquid | kTrough, kGood | kHot | kCold | kFresh | kClean},
    {"milk", "", "lait", "", kM, kLiquid | kTrough, kGood | kHot | kCold | kFresh | kDelicious},
    {"coffee", "", "café", "", kM, kLiquid, kGood | kHot | kCold | kStrong | kBlack | kDelicious | kCostly | kItalian},
    {"wine", "", "vin", "", kM, kLiquid, kGood | kOld | kNew | kRed | kWhite | kDelicious | kCostly | kNations},
    // Things
    {"book", "books", "livre", "livres", kM, kItem | kReadable | kWritable, kMade | kGood | kColours | kHeavy | kCostly | kFamous | kNations},
    {"letter", "letters", "lettre", "lettres", kF, kItem | kReadable | kWritable | kAwaited | kOpens, kOld | kNew | kBeautiful | kLong | kSad | kNations},
    {"newspaper", "newspapers", "journal", "journaux", kM, kItem | kReadable, kOld | kNew | kGood | kCostly | kFamous | kNations},
    {"story", "stories", "histoire", "histoires", kF, kOwned | kReadable | kWritable, kBeautiful | kOld | kNew | kGood | kLong | kSad | kNations},
    {"key", "keys", "clé", "clés", kF, kItem, kSizes | kOld | kNew | kHeavy},
    {"box", "boxes", "boîte", "boîtes", kF, kItem | kContainer | kOpens, kMade | kColours | kRound | kHeavy | kEmpty | kClean},
    {"knife", "knives", "couteau", "couteaux", kM, kItem | kWashable, kMade | kGood | kLong | kClean | kDangerous | kCostly},
    {"hat", "hats", "chapeau", "chapeaux", kM, kItem | kClothes, kMade | kColours | kRound | kDry | kCostly},
    {"coat", "coats", "manteau", "manteaux", kM, kItem | kClothes | kWashable, kMade | kLong | kColours | kHeavy | kClean | kDry | kHot | kCostly},
    {"dress", "dresses", "robe", "robes", kF, kItem | kClothes | kWashable, kSmall | kOld | kNew | kBeautiful | kLong | kColours | kClean | kDry | kCostly},
    {"shoe", "shoes", "chaussure", "chaussures", kF, kItem | kClothes | kRepairable, kMade | kColours | kClean | kDry | kCostly},
    {"bag", "bags", "sac", "sacs", kM, kItem | kContainer | kOpens, kMade | kColours | kHeavy | kEmpty | kClean | kCostly},
    {"basket", "baskets", "panier", "paniers", kM, kItem | kContainer, kMade | kRound | kHeavy | kEmpty | kYellow},
    {"umbrella", "umbrellas", "parapluie", "parapluies", kM, kItem | kOpens, kMade | kColours | kDry},
    {"lamp", "lamps", "lampe", "lampes", kF, kItem | kRepairable | kFixture, kMade | kColours | kRound | kCostly},
    {"clock", "clocks", "horloge", "horloges", kF, kItem | kRepairable, kMade | kRound | kHeavy | kCostly},
    {"flower", "flowers", "fleur", "fleurs", kF, kItem, kSizes | kBeautiful | kFresh | kRed | kBlue | kYellow | kWhite},
    {"tool", "tools", "outil", "outils", kM, kItem | kRepairable, kSizes | kOld | kNew | kGood | kHeavy | kDangerous | kClean | kCostly},
    {"harp", "harps", "harpe", "harpes", kF, kItem | kRepairable, kMade | kHeavy | kCostly, true},
    {"gift", "gifts", "cadeau", "cadeaux", kM, kItem | kAwaited | kOpens, kSmall | kBeautiful | kHeavy | kCostly | kRoyal},
    {"jewel", "jewels", "bijou", "bijoux", kM, kItem, kSmall | kOld | kNew | kBeautiful | kHeavy | kCostly | kFamous | kRoyal},
    // Vehicles
    {"car", "cars", "voiture", "voitures", kF, kVehicle | kBought | kWashable | kRepairable | kLandmark | kRoom | kContainer, kMade | kColours | kClean | kCostly | kNations},
    {"bicycle", "bicycles", "vélo", "vélos", kM, kVehicle | kBought | kWashable | kRepairable | kPaintable, kMade | kColours | kHeavy | kClean | kCostly},
    {"boat", "boats", "bateau", "bateaux", kM, kVehicle | kBought | kRepairable | kPaintable | kAwaited | kRoom, kMade | kColours | kHeavy | kClean | kCostly | kRoyal | kNations},
    {"plane", "planes", "avion", "avions", kM, kVehicle | kRepairable | kAwaited, kMade | kWhite | kGrey | kHeavy | kRoyal | kNations},
    {"train", "trains", "train", "trains", kM, kVehicle | kAwaited | kRoom, kOld | kNew | kLong | kRed | kBlue | kGreen | kClean | kEmpty | kRoyal | kNations},
    // Furniture and parts of a house
    {"table", "tables", "table", "tables", kF, kFurniture | kBought | kPaintable | kWashable | kShelf | kTabletop | kCover | kLandmark | kFixture | kFooting, kMade | kLong | kRound | kHeavy | kClean | kCostly | kWhite | kBlack | kGreen},
    {"chair", "chairs", "chaise", "chaises", kF, kFurniture | kBought | kPaintable | kRepairable | kSeat | kShelf | kCover | kFixture | kFooting, kMade | kColours | kHeavy | kClean},
    {"bed", "beds", "lit", "lits", kM, kFurniture | kBought | kSeat | kCouch | kShelf | kCover | kLandmark | kFixture, kMade | kWhite | kHeavy | kClean | kCostly | kRoyal},
    {"sofa", "sofas", "canapé", "canapés", kM, kFurniture | kBought | kSeat | kCouch | kShelf | kFixture, kMade | kColours | kLong | kHeavy | kClean | kCostly | kItalian},
    {"desk", "desks", "bureau", "bureaux", kM, kFurniture | kBought | kPaintable | kShelf | kTabletop | kCover | kLandmark | kFixture, kMade | kHeavy | kClean | kCostly | kWhite | kBlack | kEnglish},
    {"bench", "benches", "banc", "bancs", kM, kFurniture | kBought | kPaintable | kRepairable | kSeat | kCouch | kShelf | kFooting | kCover, kMade | kLong | kColours | kHeavy | kEmpty | kClean | kDry},
    {"wardrobe", "wardrobes", "armoire", "armoires", kF, kFurniture | kBought | kPaintable | kOpens | kContainer | kLandmark | kFixture, kMade | kHeavy | kEmpty | kCostly | kWhite | kMedieval | kEnglish},
    {"mat", "mats", "tapis", "tapis", kM, kFurniture | kBought | kWashable | kSeat | kCouch | kShelf | kFooting, kMade | kColours | kRound | kClean | kDry | kCostly},
    {"door", "doors", "porte", "portes", kF, kPart | kPaintable | kOpens | kWashable | kRepairable | kLandmark | kFixture, kMade | kColours | kHeavy},
    {"window", "windows", "fenêtre", "fenêtres", kF, kPart | kPaintable | kOpens | kWashable | kRepairable | kLandmark | kFixture, kMade | kRound | kClean},
    {"wall", "walls", "mur", "murs", kM, kPart | kPaintable | kWashable | kRepairable | kLandmark, kOld | kNew | kLong | kColours | kMedieval},
    {"roof", "roofs", "toit", "toits", kM, kPart | kPaintable | kRepairable | kFooting, kOld | kNew | kRed | kGrey | kBlack | kDry},
    // Places
    {"house", "houses", "maison", "maisons", kF, kHouse | kBought | kPaintable | kRepairable | kHome, kMade | kColours | kEmpty | kClean | kQuiet | kCostly | kCold | kMedieval},
    {"church", "churches", "église", "églises", kF, kHouse | kPaintable | kVisited | kDestination, kSizes | kOld | kNew | kBeautiful | kWhite | kFamous | kMedieval | kCold | kEmpty},
    {"school", "schools", "école", "écoles", kF, kHouse | kVisited | kDestination | kPaintable, kSizes | kOld | kNew | kBeautiful | kGood | kFamous | kEmpty | kNations},
    {"castle", "castles", "château", "châteaux", kM, kHouse | kVisited | kDestination | kHome, kSizes | kOld | kBeautiful | kEmpty | kCold | kQuiet | kFamous | kRoyal | kMedieval},
    {"hotel", "hotels", "hôtel", "hôtels", kM, kHouse | kDestination | kHome, kMade | kGood | kClean | kQuiet | kFamous | kCostly | kEmpty | kItalian},
    {"hospital", "hospitals", "hôpital", "hôpitaux", kM, kHouse | kVisited | kDestination, kSizes | kOld | kNew | kGood | kFamous | kClean | kEmpty | kRoyal | kEnglish},
    {"library", "libraries", "bibliothèque", "bibliothèques", kF, kHouse | kVisited | kDestination, kMade | kQuiet | kEmpty | kFamous | kRoyal},
    {"shop", "shops", "magasin", "magasins", kM, kHouse | kVisited | kPaintable, kMade | kGood | kClean | kCostly | kEmpty | kNations},
    {"station", "stations", "gare", "gares", kF, kHouse | kDestination, kMade | kClean | kEmpty | kFamous},
    {"bridge", "bridges", "pont", "ponts", kM, kBuilding | kFooting | kTallCover | kLandmark | kSite | kRepairable, kMade | kLong | kDangerous | kFamous | kMedieval},
    {"market", "markets", "marché", "marchés", kM, kArea | kVisited | kDestination | kSite, kMade | kFamous | kMedieval},
    {"village", "villages", "village", "villages", kM, kArea | kVisited | kRoom | kOpenAir | kHome | kTown | kDestination, kSizes | kOld | kBeautiful | kQuiet | kMedieval | kFamous | kNations},
    {"city", "cities", "ville", "villes", kF, kArea | kVisited | kRoom | kHome | kTown, kSizes | kOld | kNew | kBeautiful | kClean | kQuiet | kMedieval | kFamous | kNations},
    {"garden", "gardens", "jardin", "jardins", kM, kArea | kOwned | kVisited | kRoom | kOpenAir, kSizes | kOld | kNew | kBeautiful | kQuiet | kRoyal | kEnglish | kFrench},
    {"forest", "forests", "forêt", "forêts", kF, kArea | kVisited | kRoom | kOpenAir | kSite | kTown, kSizes | kOld | kBeautiful | kQuiet | kDangerous | kRoyal},
    {"street", "streets", "rue", "rues", kF, kArea | kRoom | kOpenAir | kHome, kSmall | kOld | kLong | kBeautiful | kClean | kQuiet | kDangerous | kEmpty | kMedieval},
    {"field", "fields", "champ", "champs", kM, kArea | kOwned | kOpenAir, kSizes | kBeautiful | kGreen | kYellow | kDry},
    {"river", "rivers", "rivière", "rivières", kF, kArea | kWater | kLandmark | kSite | kDestination, kSizes | kBeautiful | kLong | kDangerous | kQuiet | kCold | kFamous},
    {"island", "islands", "île", "îles", kF, kArea | kVisited | kIsland, kSizes | kBeautiful | kQuiet | kDangerous | kDry | kFamous | kNations},
    {"tree", "trees", "arbre", "arbres", kM, kPlant | kLandmark | kFixture | kTallCover, kSizes | kOld | kYoung | kBeautiful | kGreen},
};
// clang-format on

}  // namespace

Fits fits_of_anyone() { return kPeople | kOld | kStrong | kFamous | kNations; }

std::string plural_s(std::string_view word) {
  return std::string(word) + (word.ends_with('s') ? "" : "s");
}

std::span<const Noun> nouns() {
  static const auto table = make_table(kNouns, [](const NounRow& noun) {
    return Marks{{std::string(noun.source_singular), std::string(noun.source_plural)},
                 {std::string(noun.target_singular), std::string(noun.target_plural)}};
  });
  return table;
}

std::span<const Adjective> adjectives() {
  static const auto table = make_table(kAdjectives, [](const AdjectiveRow& adjective) {
    return Marks{{std::string(adjective.source), std::string(adjective.comparative)},
                 {std::string(adjective.masculine), std::string(adjective.masculine_plural),
                  std::string(adjective.feminine), plural_s(adjective.feminine),
                  std::string(adjective.before_vowel)}};
  });
  return table;
}

}  // namespace attend::demo
