#include "attend/text/subword_training.h"

#include <fmt/format.h>
#include <sentencepiece_trainer.h>
#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "detail/utf8.h"

namespace attend {
namespace {

using sentencepiece::SentencePieceTrainer;
using Arguments = std::unordered_map<std::string, std::string>;

// The trainer's floating-point sums depend on the number of threads. A fixed number makes the
// result the same on every machine.
constexpr int kThreads = 16;

// </s> and <unk>, which are pieces of the model; <pad> is added to the vocabulary.
constexpr int64_t kMetaPieces = 2;

constexpr int64_t kLargestVocabulary = 10'000'000;

// The BPE trainer aborts the process for a word with more characters: it stores positions in 16
// bits, one of them a sign bit.
constexpr size_t kLongestWord = 1 << 15;

// U+2581, SentencePiece's replacement for a space.
constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";

// U+2585, reserved by SentencePiece, which skips sentences that contain it.
constexpr std::string_view kReserved = "\xE2\x96\x85";

// Iterates over sentences without copying them. Leaves out those that SentencePiece would skip.
class SentenceList : public sentencepiece::SentenceIterator {
 public:
  SentenceList(const std::vector<std::string>& sentences, int64_t max_length)
      : sentences_(sentences), max_length_(static_cast<size_t>(max_length)) {
    skip_unused();
  }

  bool done() const override { return at_ == sentences_.size(); }
  void Next() override {
    ++at_;
    skip_unused();
  }
  const std::string& value() const override { return sentences_[at_]; }
  size_t index() const { return at_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void skip_unused() {
    while (!done() && !is_used(value())) ++at_;
  }
  bool is_used(const std::string& sentence) const {
    return !sentence.empty() && sentence.size() <= max_length_ &&
           sentence.find(kReserved) == std::string::npos;
  }

  const std::vector<std::string>& sentences_;
  size_t max_length_;
  size_t at_ = 0;
};

std::string model_name(SubwordModel model) {
  switch (model) {
    case SubwordModel::kUnigram:
      return "unigram";
    case SubwordModel::kBpe:
      return "bpe";
  }
  TORCH_CHECK_VALUE(false, "train_subwords: expected a SubwordModel, got ",
                    static_cast<int>(model));
}

std::string normalization_name(Normalization normalization) {
  switch (normalization) {
    case Normalization::kNmtNfkc:
      return "nmt_nfkc";
    case Normalization::kNmtNfkcCaseFold:
      return "nmt_nfkc_cf";
    case Normalization::kNfkc:
      return "nfkc";
    case Normalization::kIdentity:
      return "identity";
  }
  TORCH_CHECK_VALUE(false, "train_subwords: expected a Normalization, got ",
                    static_cast<int>(normalization));
}

void check_options(const SubwordTrainingOptions& options) {
  TORCH_CHECK_VALUE(options.vocab_size > 0, "train_subwords: expected vocab_size > 0, got ",
                    options.vocab_size);
  TORCH_CHECK_VALUE(options.vocab_size <= kLargestVocabulary,
                    "train_subwords: expected vocab_size <= ", kLargestVocabulary, ", got ",
                    options.vocab_size);
  TORCH_CHECK_VALUE(options.character_coverage >= 0.98 && options.character_coverage <= 1.0,
                    "train_subwords: expected character_coverage in [0.98, 1], got ",
                    options.character_coverage);
  TORCH_CHECK_VALUE(
      options.max_sentence_length >= 10 && options.max_sentence_length <= (int64_t{1} << 30),
      "train_subwords: expected max_sentence_length in [10, 2^30], got ",
      options.max_sentence_length);
}

std::string train(const std::vector<std::string>& sentences, const SubwordTrainingOptions& options,
                  const std::string& model, int64_t pieces) {
  const Arguments arguments{
      {"model_type", model},
      {"vocab_size", std::to_string(pieces)},
      // Train fewer pieces if the text does not support more; the caller checks the size.
      {"hard_vocab_limit", "false"},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"split_by_unicode_script", options.split_by_unicode_script ? "true" : "false"},
      {"normalization_rule_name", normalization_name(options.normalization)},
      {"max_sentence_length", std::to_string(options.max_sentence_length)},
      {"eos_id", "0"},
      {"unk_id", "1"},
      {"bos_id", "-1"},
      {"pad_id", "-1"},
      {"byte_fallback", "false"},
      {"shuffle_input_sentence", "false"},
      {"num_threads", std::to_string(kThreads)},
      {"minloglevel", "2"},  // log errors only
  };
  SentenceList list(sentences, options.max_sentence_length);
  std::string bytes;
  const auto status = SentencePieceTrainer::Train(arguments, &list, &bytes);
  TORCH_CHECK_VALUE(
      status.ok(),
      "train_subwords: expected text that SentencePiece can train on, got: ", status.ToString());
  return bytes;
}

std::unique_ptr<sentencepiece::SentencePieceProcessor> load_trained(const std::string& model) {
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(model);
  TORCH_INTERNAL_ASSERT(status.ok(), status.ToString());
  return processor;
}

// A model of single characters, whose pieces are those that every other model must contain; nullptr
// if the sentences have no text. The unigram trainer aborts the process in such cases, so they are
// checked with this model first.
std::unique_ptr<sentencepiece::SentencePieceProcessor> character_model(
    const std::vector<std::string>& sentences, const SubwordTrainingOptions& options) {
  constexpr int64_t kEveryCharacter = 0x110000 + kMetaPieces;
  if (SentenceList(sentences, options.max_sentence_length).done()) return nullptr;
  return load_trained(train(sentences, options, "char", kEveryCharacter));
}

// The length in characters of the longest word of a sentence after normalisation.
size_t longest_word(const std::string& sentence,
                    const sentencepiece::SentencePieceProcessor& characters) {
  std::vector<std::string> pieces;
  const auto status = characters.Encode(sentence, &pieces);
  TORCH_CHECK(status.ok(), "train_subwords: expected a text that SentencePiece encodes, got: ",
              status.ToString());
  size_t longest = 0, length = 0;
  for (const auto& piece : pieces) {  // adjacent unknown characters are one piece
    for (std::string_view rest = piece; !rest.empty();) {
      const auto character = rest.substr(0, detail::first_code_point(rest).length);
      length = character == kEscapedSpace ? 0 : length + 1;
      longest = std::max(longest, length);
      rest.remove_prefix(character.size());
    }
  }
  return longest;
}

// Rejects words for which the BPE trainer would abort the process.
void check_words(const std::vector<std::string>& sentences, const SubwordTrainingOptions& options,
                 const sentencepiece::SentencePieceProcessor& characters) {
  // Normalisation gives at most 6 characters per byte (NFKC: U+3316, 3 bytes, becomes 6), so
  // shorter sentences need no check.
  constexpr size_t kMostOfAByte = 6;
  SentenceList list(sentences, options.max_sentence_length);
  for (; !list.done(); list.Next()) {
    if (list.value().size() <= kLongestWord / kMostOfAByte) continue;
    const auto length = longest_word(list.value(), characters);
    TORCH_CHECK_VALUE(length <= kLongestWord, "train_subwords: expected words of at most ",
                      kLongestWord, " characters for BPE, got one of ", length, " in sentences[",
                      list.index(), "]");
  }
}

}  // namespace

SubwordTokenizer train_subwords(const std::vector<std::string>& sentences,
                                const SubwordTrainingOptions& options) {
  check_options(options);
  for (size_t i = 0; i < sentences.size(); ++i) {
    TORCH_CHECK_VALUE(!detail::find_invalid_utf8(sentences[i]),
                      "train_subwords: expected UTF-8, got other bytes in sentences[", i, "]");
  }
  const auto character_pieces = character_model(sentences, options);
  const auto characters =
      character_pieces ? character_pieces->GetPieceSize() - kMetaPieces : int64_t{0};
  TORCH_CHECK_VALUE(characters > 0, "train_subwords: expected sentences with text of at most ",
                    options.max_sentence_length, " bytes, got ", sentences.size(),
                    " sentences without any");
  const auto smallest = characters + kMetaPieces + 1;
  TORCH_CHECK_VALUE(options.vocab_size >= smallest,
                    "train_subwords: expected vocab_size >= ", smallest, ", which the ", characters,
                    " characters of the text need ", "(character_coverage ",
                    options.character_coverage, "), got ", options.vocab_size);

  if (options.model == SubwordModel::kBpe) check_words(sentences, options, *character_pieces);

  auto model = train(sentences, options, model_name(options.model), options.vocab_size - 1);
  const auto size = load_trained(model)->GetPieceSize() + 1;
  TORCH_CHECK_VALUE(options.shrink_to_fit || size == options.vocab_size,
                    "train_subwords: expected vocab_size <= ", size,
                    ", the largest that the text supports, got ", options.vocab_size);
  return SubwordTokenizer::from_joint_model(std::move(model), options.tokenizer);
}

}  // namespace attend
