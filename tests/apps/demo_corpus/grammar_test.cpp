#include "demo_corpus/grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "demo_corpus/number_words.h"

namespace attend::demo_grammar_test {
namespace {

std::vector<std::string> words_of(const std::string& sentence) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (begin <= sentence.size()) {
    const std::size_t end = std::min(sentence.find(' ', begin), sentence.size());
    words.push_back(sentence.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::vector<const DemoPair*> held_out_of(const DemoCorpus& corpus) {
  std::vector<const DemoPair*> pairs;
  for (const auto* const part : {&corpus.validation, &corpus.test}) {
    for (const DemoPair& pair : *part) pairs.push_back(&pair);
  }
  return pairs;
}

// The "English word, French word" pairs that a link of this kind joins.
std::set<std::pair<std::string, std::string>> linked_words(const DemoPair& pair, WordKind kind) {
  const auto source = words_of(pair.source);
  const auto target = words_of(pair.target);
  std::set<std::pair<std::string, std::string>> linked;
  for (const AlignmentLink& link : pair.links) {
    if (link.kind != kind) continue;
    linked.emplace(source[static_cast<std::size_t>(link.source)],
                   target[static_cast<std::size_t>(link.target)]);
  }
  return linked;
}

// "big house" for an adjective right before its noun.
std::set<std::string> adjectives_with_nouns(const DemoPair& pair) {
  std::map<int, WordKind> kinds;
  for (const AlignmentLink& link : pair.links) kinds.emplace(link.source, link.kind);
  const auto words = words_of(pair.source);
  std::set<std::string> found;
  for (const auto& [place, kind] : kinds) {
    if (kind != WordKind::kAdjective) continue;
    int noun = place + 1;
    while (kinds.contains(noun) && kinds[noun] == WordKind::kAdjective) ++noun;
    if (!kinds.contains(noun) || kinds[noun] != WordKind::kNoun) continue;
    found.insert(words[static_cast<std::size_t>(place)] + " " +
                 words[static_cast<std::size_t>(noun)]);
  }
  return found;
}

// Words without commas, elided articles and genitives apart.
std::vector<std::string> forms_of(const std::string& sentence, bool english) {
  std::vector<std::string> forms;
  for (std::string word : words_of(sentence)) {
    if (word.ends_with(',')) word.pop_back();
    const std::size_t mark = word.find('\'');
    if (mark == std::string::npos) {
      forms.push_back(word);
      continue;
    }
    const std::size_t cut = english ? mark : mark + 1;
    forms.push_back(word.substr(0, cut));
    if (cut < word.size()) forms.push_back(word.substr(cut));
  }
  return forms;
}

struct HandCheckedPair {
  const char* phenomenon;
  const char* english;
  const char* french;
};

void PrintTo(const HandCheckedPair& pair, std::ostream* out) { *out << pair.english; }

class DemoGrammarHandCheckedTest : public testing::TestWithParam<HandCheckedPair> {};

TEST_P(DemoGrammarHandCheckedTest, IsTheOnlyTranslationAndIsAccepted) {
  const auto pairs = demo_translations(GetParam().english);
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0].source, GetParam().english);
  EXPECT_EQ(pairs[0].target, GetParam().french);
  EXPECT_TRUE(demo_accepts_french(GetParam().french));
}

// clang-format off
constexpr HandCheckedPair kHandChecked[] = {
    {"SitsMasculine", "The cat sits on the mat", "Le chat est assis sur le tapis"},
    {"SitsFeminine", "The mouse sits on the roof", "La souris est assise sur le toit"},
    {"SitsFemininePlural", "The girls sit in front of the door", "Les filles sont assises devant la porte"},
    {"SatImperfect", "The men sat near the river", "Les hommes étaient assis près de la rivière"},
    {"StandsInvariable", "The women stand behind the wall", "Les femmes sont debout derrière le mur"},
    {"LiesFeminine", "The cow does not lie under the bridge", "La vache n'est pas allongée sous le pont"},
    {"ElidedArticle", "The bird sees the tree", "L'oiseau voit l'arbre"},
    {"MuteH", "The man comes from the hotel", "L'homme vient de l'hôtel"},
    {"AspirateH", "The owl follows the hedgehog", "Le hibou suit le hérisson"},
    {"HarpIsNotElided", "She repairs the harp", "Elle répare la harpe"},
    {"ContractionDu", "The dog sleeps next to the desk", "Le chien dort à côté du bureau"},
    {"NoContractionBeforeElision", "The key is next to the wardrobe", "La clé est à côté de l'armoire"},
    {"ContractionDes", "The church is far from the shops", "L'église est loin des magasins"},
    {"ContractionAu", "We go to the market", "Nous allons au marché"},
    {"ContractionAux", "The baker gives bread to the children", "Le boulanger donne du pain aux enfants"},
    {"GenitiveElision", "The child's bag is empty", "Le sac de l'enfant est vide"},
    {"GenitivePlural", "The students' books are heavy", "Les livres des étudiants sont lourds"},
    {"GenitivePossessive", "My sister's house is blue", "La maison de ma sœur est bleue"},
    {"AdjectiveBefore", "The small cat sleeps in the house", "Le petit chat dort dans la maison"},
    {"AdjectiveAfter", "The black cat sleeps in the house", "Le chat noir dort dans la maison"},
    {"AdjectiveOnBothSides", "The small white mice eat cheese", "Les petites souris blanches mangent du fromage"},
    {"Bel", "He sees a beautiful bird", "Il voit un bel oiseau"},
    {"VieilHomme", "The old man reads a letter", "Le vieil homme lit une lettre"},
    {"Nouvel", "The new hotel is expensive", "Le nouvel hôtel est cher"},
    {"BeauBeforeAspirateH", "A beautiful owl sees the fox", "Un beau hibou voit le renard"},
    {"BeauPredicate", "The tree was beautiful", "L'arbre était beau"},
    {"BeauxPlural", "These castles are beautiful", "Ces châteaux sont beaux"},
    {"Blanche", "The dress is white", "La robe est blanche"},
    {"Fraiche", "The pear is very fresh", "La poire est très fraîche"},
    {"EuseFeminine", "The queen is happy today", "La reine est heureuse aujourd'hui"},
    {"EuxPlural", "The bears are dangerous", "Les ours sont dangereux"},
    {"AlAux", "The dogs are loyal", "Les chiens sont loyaux"},
    {"ChevalChevaux", "These horses are strong", "Ces chevaux sont forts"},
    {"Bijoux", "He sells the jewels", "Il vend les bijoux"},
    {"Negation", "The boy does not see the newspapers", "Le garçon ne voit pas les journaux"},
    {"NegationElision", "The nurse does not open the window", "L'infirmière n'ouvre pas la fenêtre"},
    {"NegationTurnsUnIntoDe", "He does not have a car", "Il n'a pas de voiture"},
    {"NegationTurnsPartitiveIntoDe", "I do not drink water", "Je ne bois pas d'eau"},
    {"Never", "She never eats meat", "Elle ne mange jamais de viande"},
    {"PartitiveMasculine", "The king drinks wine", "Le roi boit du vin"},
    {"PartitiveFeminine", "The queen eats soup", "La reine mange de la soupe"},
    {"PartitiveElided", "The donkey drinks cold water", "L'âne boit de l'eau froide"},
    {"DesBecomesDeBeforeAdjective", "She buys beautiful flowers", "Elle achète de belles fleurs"},
    {"DesWithFollowingAdjective", "She buys yellow flowers", "Elle achète des fleurs jaunes"},
    {"JeElision", "I open the box", "J'ouvre la boîte"},
    {"NousForm", "We eat the cake", "Nous mangeons le gâteau"},
    {"NousIrregular", "We drink the milk", "Nous buvons le lait"},
    {"PerfectWithAvoir", "The girls bought a cake yesterday", "Les filles ont acheté un gâteau hier"},
    {"PerfectWithEtre", "The girls arrived at the station", "Les filles sont arrivées à la gare"},
    {"PerfectNegated", "The boys did not come from the school", "Les garçons ne sont pas venus de l'école"},
    {"Future", "The student will write a long letter", "L'étudiant écrira une longue lettre"},
    {"FutureIrregular", "The doctors will see the bridge tomorrow", "Les médecins verront le pont demain"},
    {"GoingTo", "We are going to visit the castle", "Nous allons visiter le château"},
    {"Cannot", "The engineer cannot repair the clock", "L'ingénieur ne peut pas réparer l'horloge"},
    {"MustNot", "The students must not close the door", "Les étudiants ne doivent pas fermer la porte"},
    {"WantTo", "He does not want to sell his boat", "Il ne veut pas vendre son bateau"},
    {"ObjectPronounElision", "The girl loves him", "La fille l'aime"},
    {"ObjectPronounNegated", "The men do not see her", "Les hommes ne la voient pas"},
    {"ObjectPronounAfterModal", "We must help them", "Nous devons les aider"},
    {"MonBeforeFeminineVowel", "I love my nurse", "J'aime mon infirmière"},
    {"SaBeforeAdjective", "She carries her old umbrella", "Elle porte son vieux parapluie"},
    {"Leurs", "Their grandmothers dance", "Leurs grands-mères dansent"},
    {"Cet", "This hospital is clean", "Cet hôpital est propre"},
    {"CeBeforeAspirateH", "This hero is famous", "Ce héros est célèbre"},
    {"CetteCes", "These flowers are on this table", "Ces fleurs sont sur cette table"},
    {"Chaque", "Every child plays in the garden", "Chaque enfant joue dans le jardin"},
    {"ToutesLes", "All the doors are green", "Toutes les portes sont vertes"},
    {"BeaucoupDElision", "He draws many trees", "Il dessine beaucoup d'arbres"},
    {"MixedGenders", "The queen and the king are tired", "La reine et le roi sont fatigués"},
    {"Comparative", "The wolf is bigger than the fox", "Le loup est plus grand que le renard"},
    {"ComparativeElision", "The cow is as old as a donkey", "La vache est aussi vieille qu'un âne"},
    {"Less", "The hat is less expensive than the coat", "Le chapeau est moins cher que le manteau"},
    {"WhoClause", "The woman who sells apples is young", "La femme qui vend des pommes est jeune"},
    {"ThatClauseElision", "The letter that he reads is sad", "La lettre qu'il lit est triste"},
    {"AgreementAcrossAPhrase", "The lamp near the bed is green", "La lampe près du lit est verte"},
    {"ThereIsNo", "There is no tool in the box", "Il n'y a pas d'outil dans la boîte"},
    {"ThereWere", "There were three wolves in the forest", "Il y avait trois loups dans la forêt"},
    {"OpeningAdverbial", "Last week, the student came from the village", "La semaine dernière, l'étudiant est venu du village"},
    {"Frequency", "The doctor often reads the newspaper", "Le médecin lit souvent le journal"},
    {"Age", "I am twenty-one years old", "J'ai vingt et un ans"},
    {"Cost", "The car costs four thousand two hundred euros", "La voiture coûte quatre mille deux cents euros"},
    {"DistanceDe", "The village is eighty kilometres from the river", "Le village est à quatre-vingts kilomètres de la rivière"},
    {"FeminineNumber", "The farmer has twenty-one cows", "Le fermier a vingt et une vaches"},
    {"Sheep", "The farmer has four hundred and twelve sheep", "Le fermier a quatre cent douze moutons"},
};
// clang-format on

INSTANTIATE_TEST_SUITE_P(Phenomena, DemoGrammarHandCheckedTest, testing::ValuesIn(kHandChecked),
                         [](const auto& test) { return std::string(test.param.phenomenon); });

struct Number {
  int value;
  const char* english;
  const char* french;
};

TEST(DemoGrammarNumbers, AreWrittenAsHandChecked) {
  constexpr Number kNumbers[] = {
      {0, "zero", "zéro"},
      {1, "one", "un"},
      {10, "ten", "dix"},
      {16, "sixteen", "seize"},
      {17, "seventeen", "dix-sept"},
      {20, "twenty", "vingt"},
      {21, "twenty-one", "vingt et un"},
      {22, "twenty-two", "vingt-deux"},
      {31, "thirty-one", "trente et un"},
      {44, "forty-four", "quarante-quatre"},
      {58, "fifty-eight", "cinquante-huit"},
      {61, "sixty-one", "soixante et un"},
      {70, "seventy", "soixante-dix"},
      {71, "seventy-one", "soixante et onze"},
      {72, "seventy-two", "soixante-douze"},
      {77, "seventy-seven", "soixante-dix-sept"},
      {79, "seventy-nine", "soixante-dix-neuf"},
      {80, "eighty", "quatre-vingts"},
      {81, "eighty-one", "quatre-vingt-un"},
      {88, "eighty-eight", "quatre-vingt-huit"},
      {90, "ninety", "quatre-vingt-dix"},
      {91, "ninety-one", "quatre-vingt-onze"},
      {99, "ninety-nine", "quatre-vingt-dix-neuf"},
      {100, "one hundred", "cent"},
      {101, "one hundred and one", "cent un"},
      {180, "one hundred and eighty", "cent quatre-vingts"},
      {200, "two hundred", "deux cents"},
      {201, "two hundred and one", "deux cent un"},
      {412, "four hundred and twelve", "quatre cent douze"},
      {771, "seven hundred and seventy-one", "sept cent soixante et onze"},
      {1000, "one thousand", "mille"},
      {1001, "one thousand and one", "mille un"},
      {1100, "one thousand one hundred", "mille cent"},
      {1999, "one thousand nine hundred and ninety-nine", "mille neuf cent quatre-vingt-dix-neuf"},
      {2000, "two thousand", "deux mille"},
      {2080, "two thousand and eighty", "deux mille quatre-vingts"},
      {4200, "four thousand two hundred", "quatre mille deux cents"},
      {9999, "nine thousand nine hundred and ninety-nine",
       "neuf mille neuf cent quatre-vingt-dix-neuf"},
  };
  for (const Number& number : kNumbers) {
    EXPECT_EQ(english_number(number.value), number.english);
    EXPECT_EQ(french_number(number.value), number.french);
  }
}

TEST(DemoGrammarNumbers, AreAllDifferent) {
  std::set<std::string> english, french;
  for (int n = 0; n <= 9999; ++n) {
    english.insert(english_number(n));
    french.insert(french_number(n));
  }
  EXPECT_EQ(english.size(), 10000u);
  EXPECT_EQ(french.size(), 10000u);
}

template <typename Error, typename Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(DemoGrammarNumbers, OutOfRangeNamesTheRange) {
  EXPECT_EQ(message_of<std::out_of_range>([] { english_number(-1); }),
            "english_number: expected a number from 0 to 9999, got -1");
  EXPECT_EQ(message_of<std::out_of_range>([] { french_number(10000); }),
            "french_number: expected a number from 0 to 9999, got 10000");
}

TEST(DemoGrammarShowcase, IsTheCatOnTheMat) {
  const DemoPair pair = demo_showcase();
  EXPECT_EQ(pair.source, "The cat sits on the mat");
  EXPECT_EQ(pair.target, "Le chat est assis sur le tapis");
  const std::vector<AlignmentLink> expected = {
      {0, 0, WordKind::kDeterminer}, {1, 1, WordKind::kNoun},        {2, 2, WordKind::kVerb},
      {2, 3, WordKind::kVerb},       {3, 4, WordKind::kPreposition}, {4, 5, WordKind::kDeterminer},
      {5, 6, WordKind::kNoun},
  };
  EXPECT_EQ(pair.links, expected);
}

TEST(DemoGrammarShowcase, IsTheFirstOfADozen) {
  const auto showcases = demo_showcases();
  EXPECT_EQ(showcases.size(), 12u);
  EXPECT_EQ(showcases[0].source, demo_showcase().source);
  std::set<std::string> sentences;
  for (const DemoPair& pair : showcases) sentences.insert(pair.source);
  EXPECT_EQ(sentences.size(), showcases.size());
}

using LinkedWords = std::set<std::pair<std::string, std::string>>;

TEST(DemoGrammarLinks, JoinAnElidedArticleAndItsNounToOneWord) {
  const DemoPair pair = demo_translations("The bird is in the city").at(0);
  EXPECT_EQ(linked_words(pair, WordKind::kNoun),
            (LinkedWords{{"bird", "L'oiseau"}, {"city", "ville"}}));
  EXPECT_EQ(linked_words(pair, WordKind::kDeterminer),
            (LinkedWords{{"The", "L'oiseau"}, {"the", "la"}}));
}

TEST(DemoGrammarLinks, FollowTheReorderingOfAGenitive) {
  const DemoPair pair = demo_translations("The king's black horse drinks water").at(0);
  EXPECT_EQ(pair.target, "Le cheval noir du roi boit de l'eau");
  EXPECT_EQ(linked_words(pair, WordKind::kNoun),
            (LinkedWords{{"king's", "roi"}, {"horse", "cheval"}, {"water", "l'eau"}}));
  EXPECT_EQ(linked_words(pair, WordKind::kAdjective), (LinkedWords{{"black", "noir"}}));
  EXPECT_TRUE(linked_words(pair, WordKind::kPreposition).contains({"king's", "du"}));
}

TEST(DemoGrammarLinks, JoinAllWordsOfACompoundVerbAndOfANegation) {
  const DemoPair pair = demo_translations("The girl did not look at the car").at(0);
  EXPECT_EQ(pair.target, "La fille n'a pas regardé la voiture");
  EXPECT_EQ(linked_words(pair, WordKind::kVerb), (LinkedWords{{"did", "n'a"},
                                                              {"did", "regardé"},
                                                              {"look", "n'a"},
                                                              {"look", "regardé"},
                                                              {"at", "n'a"},
                                                              {"at", "regardé"}}));
  EXPECT_EQ(linked_words(pair, WordKind::kNegation), (LinkedWords{{"not", "n'a"}, {"not", "pas"}}));
}

class DemoGrammarCorpusTest : public testing::Test {
 protected:
  static constexpr DemoCorpusOptions kOptions = {
      .seed = 5, .train = 3000, .validation = 60, .test = 50};
  const DemoCorpus corpus_ = generate_demo_corpus(kOptions);
};

TEST_F(DemoGrammarCorpusTest, HasTheSizesAskedFor) {
  EXPECT_EQ(corpus_.train.size(), 3000u);
  EXPECT_EQ(corpus_.validation.size(), 60u);
  EXPECT_EQ(corpus_.test.size(), 50u);
}

TEST_F(DemoGrammarCorpusTest, IsAFunctionOfItsSeed) {
  const DemoCorpus same = generate_demo_corpus(kOptions);
  for (std::size_t i = 0; i < corpus_.train.size(); ++i) {
    ASSERT_EQ(corpus_.train[i].source, same.train[i].source);
    ASSERT_EQ(corpus_.train[i].target, same.train[i].target);
    ASSERT_EQ(corpus_.train[i].links, same.train[i].links);
  }
  for (std::size_t i = 0; i < corpus_.test.size(); ++i) {
    ASSERT_EQ(corpus_.test[i].source, same.test[i].source);
  }
  DemoCorpusOptions other_options = kOptions;
  other_options.seed = 6;
  const DemoCorpus other = generate_demo_corpus(other_options);
  EXPECT_NE(corpus_.train[0].source + corpus_.train[1].source,
            other.train[0].source + other.train[1].source);
}

// A change here changes every corpus that users have made: never by accident or by platform.
TEST_F(DemoGrammarCorpusTest, BeginsAsOnEveryPlatform) {
  EXPECT_EQ(corpus_.train[0].source,
            "A white hen that comes from the long river always drinks cold milk");
  EXPECT_EQ(corpus_.train[2999].target, "Il y a un vélo à côté de la forêt");
}

TEST_F(DemoGrammarCorpusTest, HasNoEnglishSentenceTwice) {
  std::set<std::string> sentences;
  for (const DemoPair& pair : corpus_.train) sentences.insert(pair.source);
  for (const DemoPair* const pair : held_out_of(corpus_)) sentences.insert(pair->source);
  EXPECT_EQ(sentences.size(), 3110u);
}

TEST_F(DemoGrammarCorpusTest, IsWrittenText) {
  for (const DemoPair& pair : corpus_.train) {
    for (const std::string& sentence : {pair.source, pair.target}) {
      ASSERT_TRUE(sentence[0] >= 'A' && sentence[0] <= 'Z') << sentence;
      ASSERT_EQ(sentence.find("  "), std::string::npos) << sentence;
      ASSERT_EQ(sentence.find(" ,"), std::string::npos) << sentence;
      ASSERT_EQ(sentence.find_first_of(".!?"), std::string::npos) << sentence;
      ASSERT_NE(sentence.back(), ' ') << sentence;
    }
  }
}

TEST_F(DemoGrammarCorpusTest, ElidesAndContractsEverywhere) {
  for (const DemoPair& pair : corpus_.train) {
    const std::string text = " " + pair.target + " ";
    for (const char* const wrong :
         {" de le ", " de les ", " à le ", " à les ", " de de ",    " de des ",    " ne a",
          " ne o",   " le a",    " la a",  " le é",   " la é",      " le o",       " la o",
          " de a",   " de o",    " que i", " que e",  " que u",     " ce o",       " ce a",
          " ma é",   " sa é",    " ma i",  " sa i",   " un beau o", " un vieux a", " un nouveau a",
          "l'héros", "l'hib",    "l'harp"}) {
      ASSERT_EQ(text.find(wrong), std::string::npos) << pair.target << " has" << wrong;
    }
  }
}

TEST_F(DemoGrammarCorpusTest, LinksAreInRangeSortedAndDistinct) {
  for (const DemoPair& pair : corpus_.train) {
    const auto source_size = static_cast<int>(words_of(pair.source).size());
    const auto target_size = static_cast<int>(words_of(pair.target).size());
    std::pair<int, int> last = {-1, -1};
    for (const AlignmentLink& link : pair.links) {
      ASSERT_TRUE(link.source >= 0 && link.source < source_size) << pair.source;
      ASSERT_TRUE(link.target >= 0 && link.target < target_size) << pair.source;
      const std::pair<int, int> place = {link.source, link.target};
      ASSERT_LT(last, place) << pair.source;
      last = place;
    }
  }
}

TEST_F(DemoGrammarCorpusTest, EveryWordIsLinkedButThoseWithoutACounterpart) {
  const std::set<std::string> english_only = {"and", "old"};  // in numbers, in ages
  const std::set<std::string> french_only = {"de", "du", "des", "la",  "La",
                                             "le", "Le", "les", "Les", "à"};
  for (const DemoPair& pair : corpus_.train) {
    std::set<int> source_linked, target_linked;
    for (const AlignmentLink& link : pair.links) {
      source_linked.insert(link.source);
      target_linked.insert(link.target);
    }
    const auto check = [&](const std::string& sentence, const std::set<int>& linked,
                           const std::set<std::string>& exempt) {
      const auto words = words_of(sentence);
      for (std::size_t i = 0; i < words.size(); ++i) {
        EXPECT_TRUE(linked.contains(static_cast<int>(i)) || exempt.contains(words[i]))
            << words[i] << " in " << sentence;
      }
    };
    check(pair.source, source_linked, english_only);
    check(pair.target, target_linked, french_only);
  }
}

TEST_F(DemoGrammarCorpusTest, ShowcasesAreInNoPart) {
  std::set<std::string> sources, targets;
  for (const DemoPair& pair : demo_showcases()) {
    sources.insert(pair.source);
    targets.insert(pair.target);
  }
  for (const DemoPair& pair : corpus_.train) {
    ASSERT_FALSE(sources.contains(pair.source) || targets.contains(pair.target)) << pair.source;
  }
}

TEST_F(DemoGrammarCorpusTest, FrenchIsAccepted) {
  for (std::size_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(demo_accepts_french(corpus_.train[i].target)) << corpus_.train[i].target;
  }
  for (const DemoPair* const pair : held_out_of(corpus_)) {
    ASSERT_TRUE(demo_accepts_french(pair->target)) << pair->target;
  }
}

TEST_F(DemoGrammarCorpusTest, AWrongFirstArticleIsRejected) {
  int tried = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    std::string french = corpus_.train[i].target;
    if (!french.starts_with("Le ") && !french.starts_with("La ")) continue;
    french[1] = french[1] == 'e' ? 'a' : 'e';
    ASSERT_FALSE(demo_accepts_french(french)) << french;
    ++tried;
  }
  EXPECT_GT(tried, 100);
}

struct Corruption {
  const char* fault;
  const char* right;
  const char* wrong;
};

TEST(DemoGrammarAcceptor, RejectsWhatIsNotFrench) {
  constexpr Corruption kCorruptions[] = {
      {"gender of the article", "Le chat est assis sur le tapis", "Le chat est assis sur la tapis"},
      {"gender of the participle", "Le chat est assis sur le tapis",
       "Le chat est assise sur le tapis"},
      {"gender of the adjective", "La maison est blanche", "La maison est blanc"},
      {"number of the adjective", "Les chevaux noirs dorment", "Les chevaux noir dorment"},
      {"number of the verb", "Les filles mangent du fromage", "Les filles mange du fromage"},
      {"plural of the noun", "Les chevaux dorment", "Les chevals dorment"},
      {"no elision of the article", "L'oiseau voit l'arbre", "Le oiseau voit l'arbre"},
      {"elision before an h aspiré", "Le hibou voit l'arbre", "L'hibou voit l'arbre"},
      {"no elision of ne", "L'infirmière n'ouvre pas la fenêtre",
       "L'infirmière ne ouvre pas la fenêtre"},
      {"no contraction", "Nous allons au marché", "Nous allons à le marché"},
      {"contraction before a vowel", "Nous allons à l'école", "Nous allons au école"},
      {"place of the adjective after", "Le chat noir dort", "Le noir chat dort"},
      {"place of the adjective before", "Le petit chat dort", "Le chat petit dort"},
      {"form before a vowel", "Le vieil homme dort", "Le vieux homme dort"},
      {"half a negation", "Il ne voit pas le loup", "Il ne voit le loup"},
      {"des before an adjective", "Elle achète de belles fleurs", "Elle achète des belles fleurs"},
      {"un after a negation", "Il n'a pas de voiture", "Il n'a pas une voiture"},
      {"mon before a consonant", "Ma maison est bleue", "Mon maison est bleue"},
      {"ma before a vowel", "J'aime mon infirmière", "J'aime ma infirmière"},
      {"no noun", "Le chat est assis sur le tapis", "Le chat est assis sur le"},
      {"no article", "Le chat est assis sur le tapis", "Le chat est assis sur tapis"},
      {"a word too many", "Le chat est assis sur le tapis", "Le chat est assis sur le tapis le"},
      {"no capital", "Le chat est assis sur le tapis", "le chat est assis sur le tapis"},
      {"a double space", "Le chat est assis sur le tapis", "Le chat  est assis sur le tapis"},
      {"an unknown word", "Le chat est assis sur le tapis", "Le chat est assis sur le zinc"},
      {"spelling of a number", "Le fermier a quatre-vingts moutons",
       "Le fermier a quatre-vingt moutons"},
      {"plural of cent", "Le fermier a deux cents moutons", "Le fermier a deux cent moutons"},
  };
  for (const Corruption& corruption : kCorruptions) {
    EXPECT_TRUE(demo_accepts_french(corruption.right)) << corruption.right;
    EXPECT_FALSE(demo_accepts_french(corruption.wrong)) << corruption.fault;
  }
}

TEST(DemoGrammarAcceptor, TakesAnyText) {
  EXPECT_FALSE(demo_accepts_french(""));
  EXPECT_FALSE(demo_accepts_french(" "));
  EXPECT_FALSE(demo_accepts_french(","));
  EXPECT_FALSE(demo_accepts_french("'"));
  EXPECT_FALSE(demo_accepts_french("\xff\xfe\n"));
  std::string repeated = "Le";
  for (int i = 0; i < 2000; ++i) repeated += " chat et le";
  EXPECT_FALSE(demo_accepts_french(repeated));
  EXPECT_TRUE(demo_translations("Colourless green ideas sleep furiously").empty());
}

TEST(DemoGrammarCorpusOptions, EmptyPartsAreAllowed) {
  const DemoCorpus corpus = generate_demo_corpus({.train = 0, .validation = 7, .test = 0});
  EXPECT_TRUE(corpus.train.empty());
  EXPECT_EQ(corpus.validation.size(), 7u);
  EXPECT_TRUE(corpus.test.empty());
}

TEST(DemoGrammarCorpusOptions, NegativeSizesAreRefused) {
  EXPECT_EQ(message_of<std::invalid_argument>([] { generate_demo_corpus({.train = -1}); }),
            "generate_demo_corpus: expected sizes of at least 0, got -1");
}

// The corpus of the demo. Slow by unit-test standards: a second or two each.
class DemoGrammarSlowTest : public testing::Test {
 protected:
  const DemoCorpus corpus_ = generate_demo_corpus();
};

TEST_F(DemoGrammarSlowTest, HeldOutFormsAreFrequentInTraining) {
  for (const bool english : {true, false}) {
    std::map<std::string, int> counts;
    for (const DemoPair& pair : corpus_.train) {
      for (const auto& form : forms_of(english ? pair.source : pair.target, english)) {
        ++counts[form];
      }
    }
    for (const DemoPair* const pair : held_out_of(corpus_)) {
      for (const auto& form : forms_of(english ? pair->source : pair->target, english)) {
        EXPECT_GE(counts[form], 20) << form << " in " << pair->source;
      }
    }
    EXPECT_GT(counts.size(), english ? 500u : 800u);
  }
}

TEST_F(DemoGrammarSlowTest, HeldOutSentencesHaveAPairThatNoTrainingSentenceHas) {
  std::set<std::string> trained;
  for (const DemoPair& pair : corpus_.train) trained.merge(adjectives_with_nouns(pair));
  int checked = 0;
  for (const DemoPair* const pair : held_out_of(corpus_)) {
    const auto adjectives = linked_words(*pair, WordKind::kAdjective);
    const auto pairs = adjectives_with_nouns(*pair);
    // A predicate adjective is not next to its noun, so this test leaves such sentences alone.
    if (pairs.size() != adjectives.size()) continue;
    EXPECT_TRUE(std::any_of(pairs.begin(), pairs.end(), [&](const std::string& words) {
      return !trained.contains(words);
    })) << pair->source;
    ++checked;
  }
  EXPECT_GT(checked, 400);
}

TEST_F(DemoGrammarSlowTest, WhatIsHeldOutDoesNotDependOnTheSeed) {
  std::set<std::string> trained;
  for (const DemoPair& pair : corpus_.train) trained.merge(adjectives_with_nouns(pair));
  const DemoCorpus other = generate_demo_corpus({.seed = 99, .train = 0, .validation = 300});
  int checked = 0;
  for (const DemoPair& pair : other.validation) {
    const auto pairs = adjectives_with_nouns(pair);
    if (pairs.size() != 1 || linked_words(pair, WordKind::kAdjective).size() != 1) continue;
    EXPECT_FALSE(trained.contains(*pairs.begin())) << pair.source;
    ++checked;
  }
  EXPECT_GT(checked, 50);
}

TEST_F(DemoGrammarSlowTest, EnglishHasOneFrench) {
  std::map<std::string, std::string> french;
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    const auto corpus = generate_demo_corpus({.seed = seed, .train = 10000});
    for (const DemoPair& pair : corpus.train) {
      const auto [known, is_new] = french.emplace(pair.source, pair.target);
      ASSERT_EQ(known->second, pair.target) << pair.source;
    }
  }
  // All derivations of a sentence, not only those that were sampled.
  for (std::size_t i = 0; i < 3000; ++i) {
    const auto pairs = demo_translations(corpus_.train[i].source);
    ASSERT_EQ(pairs.size(), 1u) << corpus_.train[i].source;
    ASSERT_EQ(pairs[0].target, corpus_.train[i].target);
    ASSERT_EQ(pairs[0].links, corpus_.train[i].links) << pairs[0].source;
  }
}

TEST_F(DemoGrammarSlowTest, FrenchOfTheWholeSampleIsAccepted) {
  for (std::size_t i = 0; i < 3000; ++i) {
    ASSERT_TRUE(demo_accepts_french(corpus_.train[i].target)) << corpus_.train[i].target;
  }
}

TEST_F(DemoGrammarSlowTest, SentencesAreOfTheIntendedLengthAndHaveNumbers) {
  double words = 0, with_number = 0;
  for (const DemoPair& pair : corpus_.train) {
    words += static_cast<double>(words_of(pair.source).size());
    if (!linked_words(pair, WordKind::kNumber).empty()) ++with_number;
  }
  const auto size = static_cast<double>(corpus_.train.size());
  EXPECT_GT(words / size, 8.0);
  EXPECT_LT(words / size, 11.0);
  EXPECT_GT(with_number / size, 0.08);
  EXPECT_LT(with_number / size, 0.13);
}

}  // namespace
}  // namespace attend::demo_grammar_test
