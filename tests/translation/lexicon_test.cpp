#include "attend/translation/lexicon.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "attend/file_error.h"
#include "attend/text/subword_training.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::lexicon_test {
namespace {

constexpr int64_t kEnd = 99;

// Writes the pairs with end tokens, and reads them.
TokenFile corpus_of(const testing_support::TemporaryFolder& folder, std::vector<TokenPair> pairs) {
  TokenFileWriter writer(folder.path() / "tokens.bin");
  for (auto& pair : pairs) {
    pair.source.push_back(kEnd);
    pair.target.push_back(kEnd);
    writer.add(pair);
  }
  return writer.commit("");
}

using Probabilities = std::map<int64_t, double>;

Probabilities by_token(const std::vector<LexiconEntry>& entries) {
  Probabilities found;
  for (const auto& entry : entries) found[entry.token] = entry.probability;
  return found;
}

Probabilities normalised(Probabilities counts) {
  double sum = 0;
  for (const auto& [token, count] : counts) sum += count;
  for (auto& [token, count] : counts) count /= sum;
  return counts;
}

void expect_near(const std::vector<LexiconEntry>& entries, const Probabilities& expected) {
  EXPECT_TRUE(std::ranges::is_sorted(entries, std::ranges::greater{}, &LexiconEntry::probability));
  auto found = by_token(entries);
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [token, probability] : expected) {
    EXPECT_NEAR(found[token], probability, 1e-6) << token;
  }
}

std::vector<TokenPair> three_pairs() { return {{{0, 1}, {0, 1}}, {{0}, {0, 0, 2}}, {{1}, {2}}}; }

TEST(LearnLexicon, OneIterationByHand) {
  const testing_support::TemporaryFolder folder;
  const auto corpus = corpus_of(folder, three_pairs());
  const auto lexicon = learn_lexicon(corpus, {.iterations = 1, .min_probability = 0});
  // With NULL, 3, 2 and 2 source tokens share each target token.
  ASSERT_EQ(lexicon.of_source.size(), 2U);
  expect_near(lexicon.of_source[0],
              normalised({{0, 1. / 3 + 2 * 1. / 2}, {1, 1. / 3}, {2, 1. / 2}}));
  expect_near(lexicon.of_source[1], normalised({{0, 1. / 3}, {1, 1. / 3}, {2, 1. / 2}}));
  expect_near(lexicon.of_none, {{0, 1. / 2}, {1, 1. / 8}, {2, 3. / 8}});
}

TEST(LearnLexicon, TwoIterationsByHand) {
  const testing_support::TemporaryFolder folder;
  const auto corpus = corpus_of(folder, three_pairs());
  const auto lexicon = learn_lexicon(corpus, {.iterations = 2, .min_probability = 0});
  // After the first iteration p(t | 0) = 8/13, 2/13, 3/13; p(t | 1) = 2/7, 2/7, 3/7; p(t | NULL) = 1/2,
  // 1/8, 3/8. The sums that each target token may come from:
  const double first_0 = 8. / 13 + 2. / 7 + 1. / 2, first_1 = 2. / 13 + 2. / 7 + 1. / 8,
               second_0 = 8. / 13 + 1. / 2, second_2 = 3. / 13 + 3. / 8, third_2 = 3. / 7 + 3. / 8;
  expect_near(lexicon.of_source[0], normalised({{0, 8. / 13 / first_0 + 2 * (8. / 13) / second_0},
                                                {1, 2. / 13 / first_1},
                                                {2, 3. / 13 / second_2}}));
  expect_near(lexicon.of_source[1],
              normalised({{0, 2. / 7 / first_0}, {1, 2. / 7 / first_1}, {2, 3. / 7 / third_2}}));
  expect_near(lexicon.of_none, normalised({{0, 1. / 2 / first_0 + 2 * (1. / 2) / second_0},
                                           {1, 1. / 8 / first_1},
                                           {2, 3. / 8 / second_2 + 3. / 8 / third_2}}));
}

std::vector<TokenPair> random_pairs(size_t count, int64_t sources, int64_t targets) {
  std::mt19937 random(5);
  const auto draw = [&](int64_t below) {
    return static_cast<int64_t>(random() % static_cast<uint32_t>(below));
  };
  std::vector<TokenPair> pairs(count);
  for (auto& pair : pairs) {
    for (auto n = 1 + draw(6); n > 0; --n) pair.source.push_back(draw(sources));
    for (const auto id : pair.source) pair.target.push_back((id * 3 + draw(3)) % targets);
  }
  return pairs;
}

// The definition, on a dense table.
std::vector<std::vector<double>> dense_model1(const std::vector<TokenPair>& pairs, size_t sources,
                                              size_t targets, int iterations) {
  const size_t null = sources;
  std::vector<std::vector<double>> table(sources + 1, std::vector<double>(targets, 1.0));
  for (int i = 0; i < iterations; ++i) {
    std::vector<std::vector<double>> counts(sources + 1, std::vector<double>(targets));
    for (const auto& pair : pairs) {
      auto origins = pair.source;
      origins.push_back(static_cast<int64_t>(null));
      for (const auto target : pair.target) {
        const auto t = static_cast<size_t>(target);
        double sum = 0;
        for (const auto s : origins) sum += table[static_cast<size_t>(s)][t];
        for (const auto s : origins) {
          counts[static_cast<size_t>(s)][t] += table[static_cast<size_t>(s)][t] / sum;
        }
      }
    }
    for (size_t s = 0; s <= sources; ++s) {
      const auto total = std::accumulate(counts[s].begin(), counts[s].end(), 0.0);
      for (size_t t = 0; t < targets; ++t) table[s][t] = counts[s][t] / total;
    }
  }
  return table;
}

TEST(LearnLexicon, IsModel1) {
  constexpr size_t kSources = 23, kTargets = 31;
  const testing_support::TemporaryFolder folder;
  const auto pairs = random_pairs(1500, kSources, kTargets);
  const auto expected = dense_model1(pairs, kSources, kTargets, 4);
  const auto lexicon =
      learn_lexicon(corpus_of(folder, pairs), {.iterations = 4, .min_probability = 0});
  ASSERT_EQ(lexicon.of_source.size(), kSources);
  for (size_t s = 0; s <= kSources; ++s) {
    for (const auto& entry : s < kSources ? lexicon.of_source[s] : lexicon.of_none) {
      EXPECT_NEAR(entry.probability, expected[s][static_cast<size_t>(entry.token)], 1e-5) << s;
    }
  }
}

TEST(LearnLexicon, IsTheSameWithAnyNumberOfThreads) {
  const testing_support::TemporaryFolder folder;
  const auto corpus = corpus_of(folder, random_pairs(700, 40, 50));
  const auto threads = torch::get_num_threads();
  std::vector<Lexicon> learned;
  for (const int count : {1, 2, 5}) {
    torch::set_num_threads(count);
    learned.push_back(learn_lexicon(corpus));
  }
  torch::set_num_threads(threads);
  for (const auto& lexicon : learned) {
    EXPECT_EQ(by_token(lexicon.of_none), by_token(learned[0].of_none));
    for (size_t s = 0; s < learned[0].of_source.size(); ++s) {
      EXPECT_EQ(by_token(lexicon.of_source[s]), by_token(learned[0].of_source[s])) << s;
    }
  }
}

TEST(LearnLexicon, KeepsTheMostProbable) {
  const testing_support::TemporaryFolder folder;
  const auto corpus = corpus_of(folder, random_pairs(700, 11, 50));
  const LexiconOptions all{.min_probability = 0};
  auto few = all, probable = all;
  few.best = 2;
  probable.min_probability = 0.1;
  const auto whole = learn_lexicon(corpus, all), best = learn_lexicon(corpus, few),
             above = learn_lexicon(corpus, probable);
  size_t left_out = 0;
  for (size_t s = 0; s < 11; ++s) {
    ASSERT_EQ(best.of_source[s].size(), 2U);
    EXPECT_EQ(best.of_source[s][1].token, whole.of_source[s][1].token);
    for (const auto& [token, probability] : by_token(whole.of_source[s])) {
      EXPECT_EQ(by_token(above.of_source[s]).contains(token), probability >= 0.1);
      left_out += probability < 0.1 ? 1 : 0;
    }
  }
  EXPECT_GT(left_out, 0U);
}

// 1,500 target tokens beside one source token, the last 1,000 of them twice.
TEST(LearnLexicon, ASourceTokenKeepsAThousand) {
  std::vector<TokenPair> pairs;
  for (int64_t t = 0; t < 1500; ++t) pairs.push_back({{7}, {100 + t}});
  for (int64_t t = 500; t < 1500; ++t) pairs.push_back({{7}, {100 + t}});
  const testing_support::TemporaryFolder folder;
  const auto lexicon =
      learn_lexicon(corpus_of(folder, pairs), {.best = 2000, .min_probability = 0});
  EXPECT_EQ(lexicon.of_none.size(), 1500U);
  const auto kept = by_token(lexicon.of_source[7]);
  EXPECT_EQ(kept.size(), 1000U);
  EXPECT_EQ(kept.begin()->first, 600);
}

TEST(LearnLexicon, ReadsAtMostSoManyPairs) {
  const testing_support::TemporaryFolder folder, other;
  auto pairs = random_pairs(3 * TokenFile::kBlockPairs, 20, 30);
  const auto lexicon = learn_lexicon(corpus_of(folder, pairs), {.max_pairs = 1030});
  // Blocks 0 and 1 of 3 are those at 0/2 and 1/2.
  pairs.resize(1030);
  const auto expected = learn_lexicon(corpus_of(other, pairs));
  EXPECT_EQ(by_token(lexicon.of_none), by_token(expected.of_none));
}

TEST(LearnLexicon, BadOptionsAreNamed) {
  const testing_support::TemporaryFolder folder;
  const auto corpus = corpus_of(folder, three_pairs());
  EXPECT_THROW_MESSAGE(learn_lexicon(corpus, {.iterations = 0}), c10::ValueError,
                       "LexiconOptions: expected iterations > 0, got 0");
  EXPECT_THROW_MESSAGE(learn_lexicon(corpus, {.min_probability = 1}), c10::ValueError,
                       "LexiconOptions: expected min_probability in [0, 1), got 1");
}

SubwordTokenizer tokenizer() {
  return train_subwords({"the cat sits on the mat", "a dog sleeps under the old tree",
                         "le chat est assis sur le tapis", "un chien dort sous le vieil arbre"},
                        {.vocab_size = 60});
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(LexiconFile, ARoundTripChangesNothing) {
  const auto subwords = tokenizer();
  const testing_support::TemporaryFolder folder;
  Lexicon lexicon;
  lexicon.of_source.resize(static_cast<size_t>(subwords.vocab_size()));
  lexicon.of_source[5] = {{8, 0.75}, {4, 0.125}, {9, 0.125}};
  lexicon.of_source[12] = {{5, 1.0}};
  lexicon.of_none = {{4, 0.5}, {10, 0.0009765625}};
  const auto path = folder.path() / kLexiconFile;
  save_lexicon(path, lexicon, subwords);
  const auto& vocabulary = subwords.source_vocabulary();
  EXPECT_TRUE(text_of(path).starts_with(vocabulary.piece(4) + " NULL 0.5\n" + vocabulary.piece(10) +
                                        " NULL 0.0009765625\n" + vocabulary.piece(8) + " " +
                                        vocabulary.piece(5) + " 0.75\n"));
  const auto loaded = load_lexicon(path, subwords);
  EXPECT_EQ(by_token(loaded.of_none), by_token(lexicon.of_none));
  ASSERT_EQ(loaded.of_source.size(), lexicon.of_source.size());
  for (size_t s = 0; s < loaded.of_source.size(); ++s) {
    ASSERT_EQ(loaded.of_source[s].size(), lexicon.of_source[s].size()) << s;
    for (size_t i = 0; i < loaded.of_source[s].size(); ++i) {
      EXPECT_EQ(loaded.of_source[s][i].token, lexicon.of_source[s][i].token);
    }
  }
}

// As extract_lex writes it: in any order, with words that the vocabulary lacks and NULL on either side.
TEST(LexiconFile, ForeignOnesAreRead) {
  const auto subwords = tokenizer();
  const auto& vocabulary = subwords.source_vocabulary();
  const auto a = vocabulary.piece(4), b = vocabulary.piece(5);
  const testing_support::TemporaryFolder folder;
  const auto path =
      folder.write("foreign", a + " " + b + " 0.25\r\n" + b + "\t" + b + "  0.5\r\nNULL " + a +
                                  " 1e-3\r\n" + a + " NULL 1\r\n" + a + " unheard 0.1\r\n");
  const auto lexicon = load_lexicon(path, subwords);
  ASSERT_EQ(lexicon.of_source[5].size(), 2U);
  EXPECT_EQ(lexicon.of_source[5][0].token, 5);
  EXPECT_EQ(lexicon.of_source[5][1].probability, 0.25);
  EXPECT_TRUE(lexicon.of_source[4].empty());
  ASSERT_EQ(lexicon.of_none.size(), 1U);
  EXPECT_EQ(lexicon.of_none[0].token, 4);
}

TEST(LexiconFile, BrokenOnesAreNamed) {
  const auto subwords = tokenizer();
  const auto& vocabulary = subwords.source_vocabulary();
  const auto good = vocabulary.piece(4) + " " + vocabulary.piece(5) + " 0.25\n";
  const testing_support::TemporaryFolder folder;
  const auto refuses = [&](const std::string& text, const std::string& problem) {
    const auto path = folder.write("broken", text);
    try {
      load_lexicon(path, subwords);
      ADD_FAILURE() << "expected: " << problem;
    } catch (const FileError& error) {
      EXPECT_EQ(error.what(), path.string() + ": " + problem);
    }
  };
  const std::string form = "expected target token, source token and probability, got ";
  refuses("", "expected a lexicon, got an empty file");
  refuses(good + "\n", "line 2: " + form + "\"\"");
  refuses(good + good + "a b\n", "line 3: " + form + "\"a b\"");
  refuses("a b c\n", "line 1: " + form + "\"a b c\"");
  refuses("a b 0.5x\n", "line 1: " + form + "\"a b 0.5x\"");
  refuses("a b 0.5 0.5\n", "line 1: " + form + "\"a b 0.5 0.5\"");
  refuses("a b 1.5\n", "line 1: expected a probability in [0, 1], got 1.5");
  refuses("a b -0.5\n", "line 1: expected a probability in [0, 1], got -0.5");
  refuses("a b nan\n", "line 1: expected a probability in [0, 1], got nan");
  refuses(good + "unheard b 0.5\n" + good + "b unseen 0.5\nc unseen 0.5\n",
          "line 2: expected tokens of the model's vocabulary in at least half of the lines, got "
          "\"unheard\" and 2 other lines without");
  EXPECT_THROW(load_lexicon(folder.path() / "none", subwords), FileError);
}

using Ids = std::vector<int64_t>;

Ids in_order(Ids ids) {
  std::ranges::sort(ids);
  return ids;
}

TEST(Shortlist, HasFrequentTokensTheBestAndTheSame) {
  const auto subwords = tokenizer();
  const auto size = subwords.vocab_size();
  Lexicon lexicon;
  lexicon.of_source.resize(static_cast<size_t>(size));
  lexicon.of_source[5] = {{8, 0.7}, {20, 0.2}, {9, 0.1}};
  lexicon.of_source[12] = {{20, 1.0}};
  lexicon.of_none = {{30, 0.5}, {subwords.unk_id(), 0.2}, {31, 0.2}, {32, 0.1}};
  const auto listed = [&](int64_t frequent, int64_t best, const Ids& source) {
    return target_shortlist(lexicon, subwords, {.frequent = frequent, .best = best})(source);
  };
  EXPECT_EQ(listed(2, 2, {5}), in_order({30, 31, 8, 20, 5}));
  EXPECT_EQ(listed(2, 2, {12, 5, 12}), in_order({30, 31, 20, 12, 8, 5}));
  EXPECT_EQ(listed(0, 3, {5, subwords.eos_id()}), in_order({8, 20, 9, 5}));
  EXPECT_EQ(listed(0, 0, {5, 6}), in_order({5, 6}));
  EXPECT_EQ(listed(1, 1, {}), Ids{30});
  // Beyond the lexicon's, the vocabulary's first ids, without special tokens.
  auto first = Ids{30, 31, 32};
  for (int64_t id = 0; first.size() < 6; ++id) {
    if (!subwords.target_vocabulary().is_special(id)) first.push_back(id);
  }
  EXPECT_EQ(listed(6, 1, {}), in_order(first));
  // All but the unknown token, the end and the padding.
  EXPECT_EQ(listed(1000, 1, {}).size(), static_cast<size_t>(size - 3));
  EXPECT_THROW_MESSAGE(listed(-1, 1, {}), c10::ValueError,
                       "ShortlistOptions: expected frequent and best >= 0, got -1 and 1");
}

// A token of the same spelling has another id in the target's vocabulary.
TEST(Shortlist, KnowsSeparateVocabularies) {
  const std::vector<std::string> source{"the cat sits on the mat"},
      target{"le chat est assis sur le tapis"};
  const auto subwords = tokenizer().with_separate_vocabs(source, target);
  const auto& sources = subwords.source_vocabulary();
  const auto& targets = subwords.target_vocabulary();
  const auto chosen = target_shortlist({}, subwords, {.frequent = 0, .best = 5});
  int others = 0;
  for (int64_t id = 0; id < sources.size(); ++id) {
    if (sources.is_special(id)) continue;
    const auto& piece = sources.piece(id);
    const auto expected = targets.contains(piece) ? Ids{targets.id(piece)} : Ids{};
    EXPECT_EQ(chosen(Ids{id}), expected) << piece;
    if (targets.contains(piece) && targets.id(piece) != id) ++others;
  }
  EXPECT_GT(others, 0);
}

}  // namespace
}  // namespace attend::lexicon_test
