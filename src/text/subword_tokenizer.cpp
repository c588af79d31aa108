#include "attend/text/subword_tokenizer.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "attend/file_error.h"
#include "detail/atomic_file.h"
#include "detail/excerpt.h"
#include "detail/read_file.h"
#include "detail/utf8.h"
#include "text/text_side.h"
#include "text/tokenizer_files.h"
#include "text/word_indices.h"

namespace attend {
namespace {

using detail::Processor;
using detail::TextSide;

constexpr auto kSourceModelFile = "source.spm";
constexpr auto kTargetModelFile = "target.spm";
constexpr auto kVocabularyFile = "vocab.json";
constexpr auto kTargetVocabularyFile = "target_vocab.json";
constexpr auto kConfigFile = "tokenizer_config.json";
constexpr auto kSpecialTokensFile = "special_tokens_map.json";

}  // namespace

struct SubwordTokenizer::Impl {
  TextSide source, target;
  SpecialTokens special;
  bool clean_up_spaces = false;
  std::map<std::string, std::string> files;  // file name -> bytes, written by save
};

SubwordTokenizer::SubwordTokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

SubwordTokenizer SubwordTokenizer::load(const std::filesystem::path& folder) {
  auto impl = std::make_shared<Impl>();
  const auto read = [&](const char* name) -> const std::string& {
    return impl->files[name] = detail::read_regular_file(folder / name);
  };

  detail::TokenizerConfig config;
  if (std::filesystem::exists(folder / kSpecialTokensFile)) {
    const auto path = folder / kSpecialTokensFile;
    detail::read_special_tokens(path, read(kSpecialTokensFile), config.special);
  }
  if (std::filesystem::exists(folder / kConfigFile)) {
    detail::read_tokenizer_config(folder / kConfigFile, read(kConfigFile), config);
  }
  impl->special = config.special;
  impl->clean_up_spaces = config.clean_up_spaces;

  const auto read_vocabulary = [&](const char* name) {
    return std::make_shared<const Vocabulary>(
        detail::parse_vocabulary(folder / name, read(name), config.special));
  };
  const auto source_vocabulary = read_vocabulary(kVocabularyFile);
  for (const auto& [token, id] : config.added_tokens) {
    if (!source_vocabulary->contains(token) || source_vocabulary->id(token) != id) {
      throw FileError(folder / kConfigFile,
                      fmt::format("expected added tokens as in {}, got {}: '{}'", kVocabularyFile,
                                  id, detail::excerpt(token)));
    }
  }
  const auto target_vocabulary =
      config.separate_vocabs ? read_vocabulary(kTargetVocabularyFile) : source_vocabulary;

  const auto read_model = [&](const char* name) {
    auto processor = std::make_shared<Processor>();
    if (const auto problem = detail::load_model(*processor, read(name))) {
      throw FileError(folder / name, *problem);
    }
    return processor;
  };
  impl->source = {read_model(kSourceModelFile), source_vocabulary};
  impl->target = {read_model(kTargetModelFile), target_vocabulary};
  return SubwordTokenizer(std::move(impl));
}

SubwordTokenizer SubwordTokenizer::from_joint_model(std::string model,
                                                    const SubwordTokenizerOptions& options) {
  TORCH_CHECK_VALUE(options.model_max_length > 0,
                    "SubwordTokenizer: expected model_max_length > 0, got ",
                    options.model_max_length);
  auto processor = std::make_shared<Processor>();
  const auto problem = detail::load_model(*processor, model);
  TORCH_CHECK_VALUE(!problem, "SubwordTokenizer: ", problem.value_or(""));

  auto impl = std::make_shared<Impl>();
  std::vector<std::string> pieces;
  for (int id = 0; id < processor->GetPieceSize(); ++id) {
    const auto& piece = pieces.emplace_back(processor->IdToPiece(id));
    TORCH_CHECK_VALUE(!detail::find_invalid_utf8(piece),
                      "SubwordTokenizer: expected pieces in UTF-8, got other bytes in piece ", id);
  }
  pieces.push_back(impl->special.pad);
  auto vocabulary = detail::dump_vocabulary(pieces);

  impl->source = {std::move(processor),
                  std::make_shared<const Vocabulary>(std::move(pieces), impl->special)};
  impl->target = impl->source;

  impl->files = {{kConfigFile, detail::new_tokenizer_config(impl->special, options)},
                 {kVocabularyFile, std::move(vocabulary)},
                 {kSourceModelFile, model},
                 {kTargetModelFile, std::move(model)}};
  return SubwordTokenizer(std::move(impl));
}

std::shared_ptr<SubwordTokenizer::Impl> SubwordTokenizer::with_restricted_models(
    std::span<const std::string> source, std::span<const std::string> target) const {
  TORCH_CHECK(!separate_vocabs(),
              "SubwordTokenizer: expected a joint vocabulary, got separate ones");
  TORCH_CHECK(vocab_size() == impl_->source.processor().GetPieceSize() + 1,
              "SubwordTokenizer: expected a vocabulary of the ",
              impl_->source.processor().GetPieceSize(), " pieces of its model and ",
              impl_->special.pad, ", got one of ", vocab_size());
  auto impl = std::make_shared<Impl>(*impl_);
  const auto restrict_side = [&](TextSide& side, std::span<const std::string> texts,
                                 const char* model_file) {
    auto& model = impl->files.at(model_file);
    side = side.restricted(model, texts);
    model = side.processor().serialized_model_proto();
  };
  restrict_side(impl->source, source, kSourceModelFile);
  restrict_side(impl->target, target, kTargetModelFile);
  return impl;
}

SubwordTokenizer SubwordTokenizer::with_separate_vocabs(std::span<const std::string> source,
                                                        std::span<const std::string> target) const {
  auto impl = with_restricted_models(source, target);
  const auto& special = impl->special;
  const auto set_vocabulary = [&](TextSide& side, const char* vocabulary_file) {
    std::vector<std::string> pieces{special.eos, special.unk, special.pad};
    std::ranges::move(side.usable_pieces(special), std::back_inserter(pieces));
    impl->files[vocabulary_file] = detail::dump_vocabulary(pieces);
    side = side.with_vocabulary(std::make_shared<const Vocabulary>(std::move(pieces), special));
  };
  set_vocabulary(impl->source, kVocabularyFile);
  set_vocabulary(impl->target, kTargetVocabularyFile);
  auto& config = impl->files[kConfigFile];
  config = detail::with_separate_vocabs(config);
  return SubwordTokenizer(std::move(impl));
}

SubwordTokenizer SubwordTokenizer::with_restricted_vocab(
    std::span<const std::string> source, std::span<const std::string> target) const {
  auto impl = with_restricted_models(source, target);
  const auto& special = impl->special;
  std::vector<std::string> pieces{special.eos, special.unk};
  std::ranges::move(impl->target.usable_pieces(special), std::back_inserter(pieces));
  const std::set<std::string> of_target(pieces.begin(), pieces.end());
  std::ranges::copy_if(impl->source.usable_pieces(special), std::back_inserter(pieces),
                       [&](const std::string& piece) { return !of_target.contains(piece); });
  pieces.push_back(special.pad);
  impl->files[kVocabularyFile] = detail::dump_vocabulary(pieces);
  const auto vocabulary = std::make_shared<const Vocabulary>(std::move(pieces), special);
  impl->source = impl->source.with_vocabulary(vocabulary);
  impl->target = impl->target.with_vocabulary(vocabulary);
  return SubwordTokenizer(std::move(impl));
}

void SubwordTokenizer::save(const std::filesystem::path& folder) const {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw FileError(folder, "cannot create the folder: " + error.message());
  for (const auto& [name, bytes] : impl_->files)
    detail::write_file_atomically(folder / name, bytes);
}

std::vector<int64_t> SubwordTokenizer::encode_source(std::string_view text) const {
  return impl_->source.encode(text);
}

std::vector<int64_t> SubwordTokenizer::encode_target(std::string_view text) const {
  return impl_->target.encode(text);
}

std::vector<Subword> SubwordTokenizer::source_subwords(std::string_view text) const {
  return impl_->source.subwords(text);
}

std::vector<Subword> SubwordTokenizer::target_subwords(std::string_view text) const {
  return impl_->target.subwords(text);
}

std::vector<Subword> SubwordTokenizer::decoded_subwords(const std::vector<int64_t>& ids) const {
  auto pieces = impl_->target.pieces_of(ids);
  const auto words = detail::word_indices(pieces, impl_->special);
  std::vector<Subword> subwords;
  subwords.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    subwords.push_back({std::move(pieces[i]), ids[i], words[i]});
  }
  return subwords;
}

std::string SubwordTokenizer::decode_target(const std::vector<int64_t>& ids) const {
  auto text = impl_->target.decode(ids);
  if (impl_->clean_up_spaces) detail::clean_up_spaces(text);
  return text;
}

std::string SubwordTokenizer::normalize_source(std::string_view text) const {
  return impl_->source.join(impl_->source.pieces(text));
}

std::string SubwordTokenizer::normalize_target(std::string_view text) const {
  return impl_->target.join(impl_->target.pieces(text));
}

const Vocabulary& SubwordTokenizer::source_vocabulary() const {
  return *impl_->source.vocabulary();
}
const Vocabulary& SubwordTokenizer::target_vocabulary() const {
  return *impl_->target.vocabulary();
}
bool SubwordTokenizer::separate_vocabs() const {
  return impl_->source.vocabulary() != impl_->target.vocabulary();
}

int64_t SubwordTokenizer::target_vocab_size() const {
  const auto& vocabulary = target_vocabulary();
  auto last = std::max(vocabulary.eos_id(), vocabulary.unk_id());
  for (const auto& piece : impl_->target.usable_pieces(impl_->special)) {
    last = std::max(last, vocabulary.id(piece));
  }
  for (auto id = last + 1; id < vocabulary.size(); ++id) {
    if (vocabulary.contains(id) && detail::language_code_length(vocabulary.piece(id)) > 0)
      last = id;
  }
  // No text contains the padding. Count it only if it directly follows the target's ids, not if
  // pieces of the source are between.
  if (vocabulary.pad_id() == last + 1) ++last;
  return last + 1;
}

const std::string& SubwordTokenizer::source_model() const {
  return impl_->files.at(kSourceModelFile);
}
const std::string& SubwordTokenizer::target_model() const {
  return impl_->files.at(kTargetModelFile);
}

}  // namespace attend
