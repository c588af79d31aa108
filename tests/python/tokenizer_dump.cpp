// Writes what SubwordTokenizer does to a text, for tests/python/check_tokenizer.py to compare.
//
//   tokenizer_dump train FOLDER VOCAB_SIZE KIND FILE...          trains on the files, saves FOLDER
//       KIND: unigram, bpe, or one of them with "-separate" or "-restricted": a vocabulary for each
//       side, or one with the target's pieces first; their texts are the files' odd and even lines
//   tokenizer_dump copy FOLDER NEW_FOLDER                        loads and saves
//   tokenizer_dump encode FOLDER FILE...                         JSON Lines on stdout
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/text/lines.h"
#include "attend/text/subword_training.h"

namespace {

using Arguments = std::vector<std::string>;

void train(const Arguments& arguments) {
  std::vector<std::string> sentences;
  for (size_t i = 4; i < arguments.size(); ++i) {
    auto lines = attend::read_lines(arguments[i]);
    std::move(lines.begin(), lines.end(), std::back_inserter(sentences));
  }
  attend::SubwordTrainingOptions options;
  options.vocab_size = std::stoll(arguments[2]);
  options.model =
      arguments[3].starts_with("bpe") ? attend::SubwordModel::kBpe : attend::SubwordModel::kUnigram;
  options.tokenizer.source_language = "en";
  options.tokenizer.target_language = "fr";
  auto tokenizer = attend::train_subwords(sentences, options);
  std::array<std::vector<std::string>, 2> sides;
  for (size_t i = 0; i < sentences.size(); ++i) sides.at(i % 2).push_back(sentences[i]);
  if (arguments[3].ends_with("-separate")) {
    tokenizer = tokenizer.with_separate_vocabs(sides[0], sides[1]);
  } else if (arguments[3].ends_with("-restricted")) {
    tokenizer = tokenizer.with_restricted_vocab(sides[0], sides[1]);
  }
  tokenizer.save(arguments[1]);
}

void encode(const Arguments& arguments) {
  const auto tokenizer = attend::SubwordTokenizer::load(arguments[1]);
  for (size_t i = 2; i < arguments.size(); ++i) {
    for (const auto& text : attend::read_lines(arguments[i])) {
      const auto target = tokenizer.encode_target(text);
      const std::vector<int64_t> reversed(target.rbegin(), target.rend());
      const nlohmann::ordered_json record{
          {"text", text},
          {"source_ids", tokenizer.encode_source(text)},
          {"target_ids", target},
          {"target_text", tokenizer.decode_target(target)},
          // Ids in an order that no text has: as an untrained model makes them.
          {"reversed_text", tokenizer.decode_target(reversed)},
      };
      fmt::print("{}\n", record.dump());
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const Arguments arguments(argv + 1, argv + argc);
  if (arguments.size() >= 5 && arguments[0] == "train") {
    train(arguments);
  } else if (arguments.size() == 3 && arguments[0] == "copy") {
    attend::SubwordTokenizer::load(arguments[1]).save(arguments[2]);
  } else if (arguments.size() >= 3 && arguments[0] == "encode") {
    encode(arguments);
  } else {
    fmt::print(stderr, "usage: tokenizer_dump train|copy|encode FOLDER ...\n");
    return 2;
  }
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "tokenizer_dump: {}\n", e.what());
  return 1;
}
