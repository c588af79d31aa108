#include "attend/translation/tokenizer_fit.h"

#include <fmt/format.h>

#include <utility>

#include "translation/tokenizer_check.h"

namespace attend {
namespace {

std::string token_text(const Vocabulary& vocabulary, int64_t id) {
  return vocabulary.contains(id) ? fmt::format("{} ('{}')", id, vocabulary.piece(id))
                                 : fmt::format("{}", id);
}

std::optional<std::string> size_mismatch(const char* side, int64_t of_model, int64_t of_tokenizer) {
  if (of_model == 0 || of_model >= of_tokenizer) return std::nullopt;
  return fmt::format("expected a model of at least the tokenizer's {} {} tokens, got one of {}",
                     of_tokenizer, side, of_model);
}

std::optional<std::string> id_mismatch(const char* what, const char* side, const char* option,
                                       const Vocabulary& vocabulary, int64_t of_tokenizer,
                                       int64_t of_model) {
  if (of_model == of_tokenizer) return std::nullopt;
  return fmt::format("expected the tokenizer's {} token of the {}, {}, as the model's {}, got {}",
                     what, side, token_text(vocabulary, of_tokenizer), option,
                     token_text(vocabulary, of_model));
}

// The start token must decode to an empty text or a language code such as ">>fra<<".
std::optional<std::string> start_mismatch(const SubwordTokenizer& tokenizer, int64_t start_id) {
  const auto& vocabulary = tokenizer.target_vocabulary();
  if (!vocabulary.contains(start_id)) return std::nullopt;
  const auto text = tokenizer.decode_target({start_id});
  if (text.empty() || (text.starts_with(">>") && text.ends_with("<<"))) return std::nullopt;
  return fmt::format(
      "expected a token without text as the model's start_id, such as the tokenizer's padding {}, "
      "got {}",
      token_text(vocabulary, vocabulary.pad_id()), token_text(vocabulary, start_id));
}

}  // namespace

std::optional<std::string> tokenizer_mismatch(const IncrementalModel& model,
                                              const SubwordTokenizer& tokenizer) {
  const auto& source = tokenizer.source_vocabulary();
  const auto& target = tokenizer.target_vocabulary();
  const auto sizes = model.vocabulary_sizes();
  const auto special = model.special_tokens();
  if (auto why = size_mismatch("source", sizes.source, source.size())) return why;
  if (auto why = size_mismatch("target", sizes.target, tokenizer.target_vocab_size())) return why;
  if (auto why = id_mismatch("end", "target", "eos_id", target, target.eos_id(), special.eos_id)) {
    return why;
  }
  if (special.pad_id >= 0) {
    for (const auto& [side, vocabulary] : {std::pair("source", &source), {"target", &target}}) {
      if (auto why = id_mismatch("padding", side, "pad_id", *vocabulary, vocabulary->pad_id(),
                                 special.pad_id)) {
        return why;
      }
    }
  }
  return start_mismatch(tokenizer, special.start_id);
}

std::vector<int64_t> spare_tokens(const IncrementalModel& model,
                                  const SubwordTokenizer& tokenizer) {
  const auto& vocabulary = tokenizer.target_vocabulary();
  std::vector<int64_t> spare;
  for (int64_t id = 0; id < model.vocabulary_sizes().target; ++id) {
    if (!vocabulary.contains(id)) spare.push_back(id);
  }
  return spare;
}

SubwordTokenizer load_tokenizer_of(const IncrementalModel& model,
                                   const std::filesystem::path& folder) {
  auto tokenizer = SubwordTokenizer::load(folder);
  detail::check_tokenizer(model, tokenizer, folder);
  return tokenizer;
}

}  // namespace attend
