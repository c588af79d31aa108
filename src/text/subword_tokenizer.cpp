#include "attend/text/subword_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "attend/file_error.h"
#include "detail/atomic_file.h"
#include "detail/excerpt.h"
#include "detail/read_file.h"
#include "detail/utf8.h"
#include "text/model_bytes.h"

namespace attend {
namespace {

using Json = nlohmann::json;
using Processor = sentencepiece::SentencePieceProcessor;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr std::string_view kWhitespace = " \t\n\v\f\r";

constexpr auto kSourceModelFile = "source.spm";
constexpr auto kTargetModelFile = "target.spm";
constexpr auto kVocabularyFile = "vocab.json";
constexpr auto kTargetVocabularyFile = "target_vocab.json";
constexpr auto kConfigFile = "tokenizer_config.json";
constexpr auto kSpecialTokensFile = "special_tokens_map.json";

// ---- Reading the files of a folder --------------------------------------------------------------

Json parse_json_object(const std::filesystem::path& path, const std::string& bytes) {
  auto json = Json::parse(bytes, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    throw FileError(path, fmt::format("expected a JSON object, got {}",
                                      json.is_discarded() ? "malformed JSON" : json.type_name()));
  }
  return json;
}

std::vector<std::string> parse_pieces(const std::filesystem::path& path, const std::string& bytes) {
  const auto json = parse_json_object(path, bytes);
  // Ids far beyond the number of pieces are no vocabulary, and would only eat memory.
  const auto limit = static_cast<int64_t>(2 * json.size() + 1024);
  std::vector<std::string> pieces;
  for (const auto& [piece, id_json] : json.items()) {
    const int64_t id = id_json.is_number_integer() ? id_json.get<int64_t>() : -1;
    if (piece.empty() || id < 0 || id >= limit) {
      throw FileError(path, fmt::format("expected pieces with ids in [0, {}), got '{}': {}", limit,
                                        detail::excerpt(piece), detail::brief(id_json)));
    }
    const auto index = static_cast<size_t>(id);
    if (index >= pieces.size()) pieces.resize(index + 1);
    if (!pieces[index].empty()) {
      throw FileError(path, fmt::format("expected every id once, got {} for '{}' and '{}'", id,
                                        detail::excerpt(pieces[index]), detail::excerpt(piece)));
    }
    pieces[index] = piece;
  }
  return pieces;
}

Vocabulary parse_vocabulary(const std::filesystem::path& path, const std::string& bytes,
                            const SpecialTokens& special) {
  auto pieces = parse_pieces(path, bytes);
  try {
    return Vocabulary(std::move(pieces), special);
  } catch (const c10::ValueError& e) {
    throw FileError(path, e.what_without_backtrace());
  }
}

// As Python's json.dump(..., indent=2) writes it: in the order of the ids, ASCII only.
std::string dump_vocabulary(const std::vector<std::string>& pieces) {
  std::string json = "{";
  for (size_t id = 0; id < pieces.size(); ++id) {
    const auto piece = Json(pieces[id]).dump(-1, ' ', /*ensure_ascii=*/true);
    json += fmt::format("{}\n  {}: {}", id == 0 ? "" : ",", piece, id);
  }
  return json + "\n}";
}

struct Config {
  SpecialTokens special;
  bool separate_vocabs = false;
  bool clean_up_spaces = false;
  std::map<std::string, int64_t> added_tokens;
};

// A special token is written as its spelling or as an object that holds it.
void read_token(const std::filesystem::path& path, const Json& json, const char* key,
                std::string& token) {
  if (!json.contains(key) || json[key].is_null()) return;
  const auto& value =
      json[key].is_object() && json[key].contains("content") ? json[key]["content"] : json[key];
  if (!value.is_string()) {
    throw FileError(path,
                    fmt::format("expected a string for {}, got {}", key, detail::brief(value)));
  }
  token = value.get<std::string>();
}

void read_flag(const std::filesystem::path& path, const Json& json, const char* key, bool& flag) {
  if (!json.contains(key) || json[key].is_null()) return;
  if (!json[key].is_boolean()) {
    throw FileError(
        path, fmt::format("expected true or false for {}, got {}", key, detail::brief(json[key])));
  }
  flag = json[key].get<bool>();
}

void read_special_tokens(const std::filesystem::path& path, const Json& json,
                         SpecialTokens& special) {
  read_token(path, json, "pad_token", special.pad);
  read_token(path, json, "eos_token", special.eos);
  read_token(path, json, "unk_token", special.unk);
}

// transformers lists the special tokens here, and whatever was added to the vocabulary later.
void read_added_tokens(const std::filesystem::path& path, const Json& json, Config& config) {
  if (!json.contains("added_tokens_decoder")) return;
  for (const auto& [id, token] : json["added_tokens_decoder"].items()) {
    int64_t number = -1;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
    if (error != std::errc() || end != id.data() + id.size() || !token.is_object() ||
        !token.contains("content") || !token["content"].is_string()) {
      throw FileError(path,
                      fmt::format("expected an id and a token in added_tokens_decoder, got {}: {}",
                                  detail::excerpt(id), detail::brief(token)));
    }
    config.added_tokens[token["content"].get<std::string>()] = number;
  }
}

void read_config(const std::filesystem::path& path, const std::string& bytes, Config& config) {
  const auto json = parse_json_object(path, bytes);
  read_special_tokens(path, json, config.special);
  read_flag(path, json, "separate_vocabs", config.separate_vocabs);
  read_flag(path, json, "clean_up_tokenization_spaces", config.clean_up_spaces);
  read_added_tokens(path, json, config);
  if (json.contains("sp_model_kwargs") && !json["sp_model_kwargs"].empty()) {
    throw FileError(path, fmt::format("expected no sp_model_kwargs, got {}",
                                      detail::brief(json["sp_model_kwargs"])));
  }
}

// The reason why `bytes` are no SentencePiece model; none where they are one.
std::optional<std::string> load_model(Processor& processor, const std::string& bytes) {
  // SentencePiece takes an empty file for an empty model.
  if (bytes.empty()) return "expected a SentencePiece model, got an empty file";
  if (const auto unsafe = detail::unsafe_part(bytes)) {
    return "expected a SentencePiece model, got " + *unsafe;
  }
  const auto status = processor.LoadFromSerializedProto(bytes);
  if (!status.ok()) return "expected a SentencePiece model, got: " + status.ToString();
  if (processor.GetPieceSize() == 0)
    return "expected a SentencePiece model, got one without pieces";
  return std::nullopt;
}

// ---- Text ---------------------------------------------------------------------------------------

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kWhitespace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhitespace) - first + 1);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

// transformers' PreTrainedTokenizerBase.clean_up_tokenization, in its order.
void clean_up_spaces(std::string& text) {
  constexpr auto kReplacements = std::to_array<std::pair<std::string_view, std::string_view>>({
      {" .", "."},
      {" ?", "?"},
      {" !", "!"},
      {" ,", ","},
      {" ' ", "'"},
      {" n't", "n't"},
      {" 'm", "'m"},
      {" 's", "'s"},
      {" 've", "'ve"},
      {" 're", "'re"},
  });
  for (const auto& [from, to] : kReplacements) replace_all(text, from, to);
}

// Length of the language code at the start of a text, such as ">>fra<<"; 0 where there is none.
size_t language_code_length(std::string_view text) {
  if (!text.starts_with(">>")) return 0;
  const auto end = text.find("<<");
  return end == std::string_view::npos ? 0 : end + 2;
}

struct Span {
  size_t begin = 0, end = 0;  // bytes
};

std::vector<Span> split_words(std::string_view text) {
  std::vector<Span> words;
  for (size_t begin = 0; (begin = text.find_first_not_of(kWhitespace, begin)) != text.npos;) {
    const auto end = std::min(text.find_first_of(kWhitespace, begin), text.size());
    words.push_back({begin, end});
    begin = end;
  }
  return words;
}

// Sets `word` of subwords from the bytes of the text that each stands for; both are in order. A
// subword that touches no word (a lone "▁") joins the next one's, or the last one's at the end.
void assign_words(std::vector<Subword>& subwords, const std::vector<Span>& spans,
                  const std::vector<Span>& words) {
  size_t next = 0;
  for (size_t i = 0; i < subwords.size(); ++i) {
    while (next < words.size() && words[next].end <= spans[i].begin) ++next;
    const bool touches = next < words.size() && words[next].begin < spans[i].end;
    if (touches) subwords[i].word = static_cast<int64_t>(next);
  }
  auto following = static_cast<int64_t>(words.size()) - 1;
  for (auto i = subwords.rbegin(); i != subwords.rend(); ++i) {
    if (i->word < 0) i->word = following;
    following = i->word;
  }
}

// ---- One language -------------------------------------------------------------------------------

struct TextSide {
  TextSide() = default;
  TextSide(std::shared_ptr<const Processor> model, std::shared_ptr<const Vocabulary> pieces)
      : processor(std::move(model)), vocabulary(std::move(pieces)) {
    ids_of_model.reserve(static_cast<size_t>(processor->GetPieceSize()));
    for (int id = 0; id < processor->GetPieceSize(); ++id) {
      ids_of_model.push_back(vocabulary->id(processor->IdToPiece(id)));
    }
  }

  std::shared_ptr<const Processor> processor;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<int64_t> ids_of_model;  // the vocabulary's id of each of the model's

  std::vector<std::string> pieces(std::string_view text) const {
    const auto code = language_code_length(text);
    std::vector<std::string> pieces;
    const auto status = processor->Encode(text.substr(code), &pieces);
    TORCH_CHECK(status.ok(), "SubwordTokenizer: expected a text that SentencePiece encodes, got: ",
                status.ToString());
    if (code > 0) pieces.emplace(pieces.begin(), text.substr(0, code));
    return pieces;
  }

  std::vector<int64_t> encode(std::string_view text) const {
    std::vector<int64_t> ids;
    const auto of_model = model_ids(text);
    if (of_model) {
      ids.reserve(of_model->size() + 1);
      for (const auto id : *of_model) ids.push_back(ids_of_model[static_cast<size_t>(id)]);
    } else {
      for (const auto& piece : pieces(text)) ids.push_back(vocabulary->id(piece));
    }
    ids.push_back(vocabulary->eos_id());
    return ids;
  }

  // Without the pieces, most of whose time goes into strings; none where a text holds what only the
  // vocabulary may know.
  std::optional<std::vector<int>> model_ids(std::string_view text) const {
    std::vector<int> ids;
    if (language_code_length(text) > 0 || !processor->Encode(text, &ids).ok() ||
        std::ranges::find(ids, processor->unk_id()) != ids.end()) {
      return std::nullopt;
    }
    return ids;
  }

  std::vector<Subword> subwords(std::string_view text) const {
    const auto code = language_code_length(text);
    std::vector<Subword> subwords;
    std::vector<Span> spans;
    if (code > 0) {
      const std::string piece(text.substr(0, code));
      subwords.push_back({piece, vocabulary->id(piece)});
      spans.push_back({0, code});
    }
    const auto encoded = processor->EncodeAsImmutableProto(text.substr(code));
    for (const auto& piece : encoded.pieces()) {
      subwords.push_back({piece.piece(), vocabulary->id(piece.piece())});
      spans.push_back({code + piece.begin(), code + piece.end()});
    }
    assign_words(subwords, spans, split_words(text));
    subwords.push_back({vocabulary->piece(vocabulary->eos_id()), vocabulary->eos_id()});
    return subwords;
  }

  std::string join(const std::vector<std::string>& pieces_to_join) const {
    std::string text;
    const auto status = processor->Decode(pieces_to_join, &text);
    TORCH_CHECK(status.ok(), "SubwordTokenizer: expected pieces that SentencePiece decodes, got: ",
                status.ToString());
    replace_all(text, kSpaceMark, " ");  // left in pieces that the model does not know
    return std::string(trimmed(text));
  }

  std::vector<std::string> pieces_of(const std::vector<int64_t>& ids) const {
    std::vector<std::string> id_pieces;
    id_pieces.reserve(ids.size());
    for (const auto id : ids) id_pieces.push_back(vocabulary->piece(id));
    return id_pieces;
  }

  std::string decode(const std::vector<int64_t>& ids) const {
    std::vector<std::string> text_pieces;
    for (const auto id : ids) {
      const auto& piece = vocabulary->piece(id);
      if (!vocabulary->is_special(id)) text_pieces.push_back(piece);
    }
    return join(text_pieces);
  }
};

// The pieces that a model may cut a text into, special ones left out.
std::vector<std::string> usable_pieces(const Processor& processor, const SpecialTokens& special) {
  std::vector<std::string> pieces;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const auto& piece = processor.IdToPiece(id);
    const bool is_special = piece == special.eos || piece == special.unk || piece == special.pad;
    if (!processor.IsUnused(id) && !is_special) pieces.push_back(piece);
  }
  return pieces;
}

// A copy of a side's model that cuts texts only into single characters and the pieces of `texts`.
std::shared_ptr<const Processor> restricted(const std::string& model, const TextSide& side,
                                            std::span<const std::string> texts) {
  std::set<std::string> used;
  for (const auto& text : texts) {
    const auto pieces = side.pieces(text);
    used.insert(pieces.begin(), pieces.end());
  }
  auto processor = std::make_shared<Processor>();
  TORCH_CHECK(!load_model(*processor, model), "SubwordTokenizer: expected its own model");
  const auto status = processor->SetVocabulary({used.begin(), used.end()});
  TORCH_CHECK(status.ok(),
              "SubwordTokenizer: expected a unigram or BPE model, got: ", status.ToString());
  return processor;
}

}  // namespace

struct SubwordTokenizer::Impl {
  TextSide source, target;
  SpecialTokens special;
  bool clean_up_spaces = false;
  std::map<std::string, std::string> files;  // name -> bytes, as they are saved
};

SubwordTokenizer::SubwordTokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

SubwordTokenizer SubwordTokenizer::load(const std::filesystem::path& folder) {
  auto impl = std::make_shared<Impl>();
  const auto read = [&](const char* name) -> const std::string& {
    return impl->files[name] = detail::read_regular_file(folder / name);
  };

  Config config;
  if (std::filesystem::exists(folder / kSpecialTokensFile)) {
    const auto path = folder / kSpecialTokensFile;
    read_special_tokens(path, parse_json_object(path, read(kSpecialTokensFile)), config.special);
  }
  if (std::filesystem::exists(folder / kConfigFile)) {
    read_config(folder / kConfigFile, read(kConfigFile), config);
  }
  impl->special = config.special;
  impl->clean_up_spaces = config.clean_up_spaces;

  const auto read_vocabulary = [&](const char* name) {
    return std::make_shared<const Vocabulary>(
        parse_vocabulary(folder / name, read(name), config.special));
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
    if (const auto problem = load_model(*processor, read(name))) {
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
  const auto problem = load_model(*processor, model);
  TORCH_CHECK_VALUE(!problem, "SubwordTokenizer: ", problem.value_or(""));

  auto impl = std::make_shared<Impl>();
  std::vector<std::string> pieces;
  for (int id = 0; id < processor->GetPieceSize(); ++id) {
    const auto& piece = pieces.emplace_back(processor->IdToPiece(id));
    TORCH_CHECK_VALUE(!detail::find_invalid_utf8(piece),
                      "SubwordTokenizer: expected pieces in UTF-8, got other bytes in piece ", id);
  }
  pieces.push_back(impl->special.pad);
  auto vocabulary = dump_vocabulary(pieces);

  impl->source = {std::move(processor),
                  std::make_shared<const Vocabulary>(std::move(pieces), impl->special)};
  impl->target = impl->source;

  const auto language = [](const std::string& name) { return name.empty() ? Json() : Json(name); };
  const nlohmann::ordered_json config{
      {"clean_up_tokenization_spaces", false},
      {"eos_token", impl->special.eos},
      {"model_max_length", options.model_max_length},
      {"pad_token", impl->special.pad},
      {"separate_vocabs", false},
      {"source_lang", language(options.source_language)},
      {"sp_model_kwargs", Json::object()},
      {"target_lang", language(options.target_language)},
      {"tokenizer_class", "MarianTokenizer"},
      {"unk_token", impl->special.unk},
  };
  impl->files = {{kConfigFile, config.dump(2, ' ', true, Json::error_handler_t::replace) + "\n"},
                 {kVocabularyFile, std::move(vocabulary)},
                 {kSourceModelFile, model},
                 {kTargetModelFile, std::move(model)}};
  return SubwordTokenizer(std::move(impl));
}

std::shared_ptr<SubwordTokenizer::Impl> SubwordTokenizer::with_restricted_models(
    std::span<const std::string> source, std::span<const std::string> target) const {
  TORCH_CHECK(!separate_vocabs(),
              "SubwordTokenizer: expected a joint vocabulary, got separate ones");
  TORCH_CHECK(vocab_size() == impl_->source.processor->GetPieceSize() + 1,
              "SubwordTokenizer: expected a vocabulary of the ",
              impl_->source.processor->GetPieceSize(), " pieces of its model and ",
              impl_->special.pad, ", got one of ", vocab_size());
  auto impl = std::make_shared<Impl>(*impl_);
  const auto restrict_side = [&](TextSide& side, std::span<const std::string> texts,
                                 const char* model_file) {
    auto& model = impl->files.at(model_file);
    side.processor = restricted(model, side, texts);
    model = side.processor->serialized_model_proto();
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
    std::ranges::move(usable_pieces(*side.processor, special), std::back_inserter(pieces));
    impl->files[vocabulary_file] = dump_vocabulary(pieces);
    side = {side.processor, std::make_shared<const Vocabulary>(std::move(pieces), special)};
  };
  set_vocabulary(impl->source, kVocabularyFile);
  set_vocabulary(impl->target, kTargetVocabularyFile);
  auto& config = impl->files[kConfigFile];
  auto json =
      config.empty() ? nlohmann::ordered_json::object() : nlohmann::ordered_json::parse(config);
  json["separate_vocabs"] = true;
  config = json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
  return SubwordTokenizer(std::move(impl));
}

SubwordTokenizer SubwordTokenizer::with_restricted_vocab(
    std::span<const std::string> source, std::span<const std::string> target) const {
  auto impl = with_restricted_models(source, target);
  const auto& special = impl->special;
  std::vector<std::string> pieces{special.eos, special.unk};
  std::ranges::move(usable_pieces(*impl->target.processor, special), std::back_inserter(pieces));
  const std::set<std::string> of_target(pieces.begin(), pieces.end());
  std::ranges::copy_if(usable_pieces(*impl->source.processor, special), std::back_inserter(pieces),
                       [&](const std::string& piece) { return !of_target.contains(piece); });
  pieces.push_back(special.pad);
  impl->files[kVocabularyFile] = dump_vocabulary(pieces);
  const auto vocabulary = std::make_shared<const Vocabulary>(std::move(pieces), special);
  impl->source = {impl->source.processor, vocabulary};
  impl->target = {impl->target.processor, vocabulary};
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
  const auto words = word_indices(pieces, impl_->special);
  std::vector<Subword> subwords;
  subwords.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    subwords.push_back({std::move(pieces[i]), ids[i], words[i]});
  }
  return subwords;
}

std::string SubwordTokenizer::decode_target(const std::vector<int64_t>& ids) const {
  auto text = impl_->target.decode(ids);
  if (impl_->clean_up_spaces) clean_up_spaces(text);
  return text;
}

std::string SubwordTokenizer::normalize_source(std::string_view text) const {
  return impl_->source.join(impl_->source.pieces(text));
}

std::string SubwordTokenizer::normalize_target(std::string_view text) const {
  return impl_->target.join(impl_->target.pieces(text));
}

const Vocabulary& SubwordTokenizer::source_vocabulary() const { return *impl_->source.vocabulary; }
const Vocabulary& SubwordTokenizer::target_vocabulary() const { return *impl_->target.vocabulary; }
bool SubwordTokenizer::separate_vocabs() const {
  return impl_->source.vocabulary != impl_->target.vocabulary;
}

int64_t SubwordTokenizer::target_vocab_size() const {
  const auto& vocabulary = target_vocabulary();
  auto last = std::max(vocabulary.eos_id(), vocabulary.unk_id());
  for (const auto& piece : usable_pieces(*impl_->target.processor, impl_->special)) {
    last = std::max(last, vocabulary.id(piece));
  }
  for (auto id = last + 1; id < vocabulary.size(); ++id) {
    if (vocabulary.contains(id) && language_code_length(vocabulary.piece(id)) > 0) last = id;
  }
  // No text holds the padding: behind pieces of the source it is none of the target's.
  if (vocabulary.pad_id() == last + 1) ++last;
  return last + 1;
}

const std::string& SubwordTokenizer::source_model() const {
  return impl_->files.at(kSourceModelFile);
}
const std::string& SubwordTokenizer::target_model() const {
  return impl_->files.at(kTargetModelFile);
}

std::vector<int64_t> word_indices(const std::vector<std::string>& pieces,
                                  const SpecialTokens& special) {
  std::vector<int64_t> words(pieces.size(), -1);
  std::vector<size_t> waiting;  // pieces of spaces alone, for the next word
  int64_t word = -1;
  bool begins_word = true;
  for (size_t i = 0; i < pieces.size(); ++i) {
    std::string_view rest = pieces[i];
    if (rest == special.pad || rest == special.eos || rest == special.unk) continue;
    waiting.push_back(i);
    while (!rest.empty()) {
      if (rest.starts_with(kSpaceMark)) {
        begins_word = true;
        rest.remove_prefix(kSpaceMark.size());
        continue;
      }
      if (begins_word) ++word;
      begins_word = false;
      for (const auto piece : waiting) words[piece] = word;
      waiting.clear();
      rest.remove_prefix(std::min(rest.find(kSpaceMark), rest.size()));
    }
  }
  for (const auto piece : waiting) words[piece] = word;
  return words;
}

}  // namespace attend
