#pragma once

#include <sentencepiece_processor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attend/text/subword_tokenizer.h"

namespace attend::detail {

using Processor = sentencepiece::SentencePieceProcessor;

/// The reason why `bytes` are no SentencePiece model; none where they are one, which is then loaded.
std::optional<std::string> load_model(Processor& processor, const std::string& bytes);

/// Length of the language code at the start of a text, such as ">>fra<<"; 0 where there is none.
size_t language_code_length(std::string_view text);

/// Takes the spaces before punctuation away, as transformers'
/// PreTrainedTokenizerBase.clean_up_tokenization does.
void clean_up_spaces(std::string& text);

/// One language of a tokenizer: the model that cuts its texts and the ids of the pieces.
class TextSide {
 public:
  TextSide() = default;
  TextSide(std::shared_ptr<const Processor> model, std::shared_ptr<const Vocabulary> pieces);

  const Processor& processor() const { return *processor_; }
  const std::shared_ptr<const Vocabulary>& vocabulary() const { return vocabulary_; }

  std::vector<std::string> pieces(std::string_view text) const;
  std::vector<int64_t> encode(std::string_view text) const;
  std::vector<Subword> subwords(std::string_view text) const;
  std::string decode(const std::vector<int64_t>& ids) const;
  std::string join(const std::vector<std::string>& pieces) const;
  std::vector<std::string> pieces_of(const std::vector<int64_t>& ids) const;

  /// The pieces that the model may cut a text into, special ones left out.
  std::vector<std::string> usable_pieces(const SpecialTokens& special) const;

  /// The same side, with a copy of its model, whose bytes are `model`, that cuts texts only into
  /// single characters and the pieces of `texts`.
  TextSide restricted(const std::string& model, std::span<const std::string> texts) const;
  /// The same side with another vocabulary.
  TextSide with_vocabulary(std::shared_ptr<const Vocabulary> vocabulary) const {
    return {processor_, std::move(vocabulary)};
  }

 private:
  std::optional<std::vector<int>> model_ids(std::string_view text) const;

  std::shared_ptr<const Processor> processor_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<int64_t> ids_of_model_;  // the vocabulary's id of each of the model's
};

}  // namespace attend::detail
