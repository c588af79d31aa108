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

/// Loads a SentencePiece model. Returns the problem if `bytes` are not one.
std::optional<std::string> load_model(Processor& processor, const std::string& bytes);

/// Length of the language code at the start of a text, such as ">>fra<<"; 0 if there is none.
size_t language_code_length(std::string_view text);

/// Removes spaces before punctuation, like transformers'
/// PreTrainedTokenizerBase.clean_up_tokenization.
void clean_up_spaces(std::string& text);

/// One side (source or target) of a tokenizer: its model and its vocabulary.
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

  /// The pieces that encoding can produce, without special tokens.
  std::vector<std::string> usable_pieces(const SpecialTokens& special) const;

  /// A copy of this side whose model only produces single characters and the pieces of `texts`.
  /// `model`: the bytes of the model's file.
  TextSide restricted(const std::string& model, std::span<const std::string> texts) const;
  /// A copy of this side with another vocabulary.
  TextSide with_vocabulary(std::shared_ptr<const Vocabulary> vocabulary) const {
    return {processor_, std::move(vocabulary)};
  }

 private:
  std::optional<std::vector<int>> model_ids(std::string_view text) const;

  std::shared_ptr<const Processor> processor_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<int64_t> ids_of_model_;  // vocabulary id by model id
};

}  // namespace attend::detail
