#include "text/text_side.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "text/model_bytes.h"
#include "text/words.h"

namespace attend::detail {
namespace {

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

// The range of bytes of a text that a subword covers.
struct Span {
  size_t begin = 0, end = 0;
};

// Sets `word` of each subword from the range that it covers; both lists are in order. A subword
// that overlaps no word (a lone "▁") belongs to the next word, or at the end to the last one.
void assign_words(std::vector<Subword>& subwords, const std::vector<Span>& spans,
                  std::string_view text) {
  const auto words = word_views(text);
  const auto begin_of = [&](size_t word) {
    return static_cast<size_t>(words[word].data() - text.data());
  };
  size_t next = 0;
  for (size_t i = 0; i < subwords.size(); ++i) {
    while (next < words.size() && begin_of(next) + words[next].size() <= spans[i].begin) ++next;
    const bool touches = next < words.size() && begin_of(next) < spans[i].end;
    if (touches) subwords[i].word = static_cast<int64_t>(next);
  }
  auto following = static_cast<int64_t>(words.size()) - 1;
  for (auto i = subwords.rbegin(); i != subwords.rend(); ++i) {
    if (i->word < 0) i->word = following;
    following = i->word;
  }
}

}  // namespace

std::optional<std::string> load_model(Processor& processor, const std::string& bytes) {
  // SentencePiece would load an empty file as an empty model.
  if (bytes.empty()) return "expected a SentencePiece model, got an empty file";
  if (const auto unsafe = unsafe_part(bytes)) {
    return "expected a SentencePiece model, got " + *unsafe;
  }
  const auto status = processor.LoadFromSerializedProto(bytes);
  if (!status.ok()) return "expected a SentencePiece model, got: " + status.ToString();
  if (processor.GetPieceSize() == 0)
    return "expected a SentencePiece model, got one without pieces";
  return std::nullopt;
}

size_t language_code_length(std::string_view text) {
  if (!text.starts_with(">>")) return 0;
  const auto end = text.find("<<");
  return end == std::string_view::npos ? 0 : end + 2;
}

void clean_up_spaces(std::string& text) {
  // In the same order as transformers.
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

TextSide::TextSide(std::shared_ptr<const Processor> model, std::shared_ptr<const Vocabulary> pieces)
    : processor_(std::move(model)), vocabulary_(std::move(pieces)) {
  ids_of_model_.reserve(static_cast<size_t>(processor_->GetPieceSize()));
  for (int id = 0; id < processor_->GetPieceSize(); ++id) {
    ids_of_model_.push_back(vocabulary_->id(processor_->IdToPiece(id)));
  }
}

std::vector<std::string> TextSide::pieces(std::string_view text) const {
  const auto code = language_code_length(text);
  std::vector<std::string> pieces;
  const auto status = processor_->Encode(text.substr(code), &pieces);
  TORCH_CHECK(status.ok(), "SubwordTokenizer: expected a text that SentencePiece encodes, got: ",
              status.ToString());
  if (code > 0) pieces.emplace(pieces.begin(), text.substr(0, code));
  return pieces;
}

std::vector<int64_t> TextSide::encode(std::string_view text) const {
  std::vector<int64_t> ids;
  const auto of_model = model_ids(text);
  if (of_model) {
    ids.reserve(of_model->size() + 1);
    for (const auto id : *of_model) ids.push_back(ids_of_model_[static_cast<size_t>(id)]);
  } else {
    for (const auto& piece : pieces(text)) ids.push_back(vocabulary_->id(piece));
  }
  ids.push_back(vocabulary_->eos_id());
  return ids;
}

// Encodes to the model's ids without creating strings for the pieces, which takes most of the time.
// nullopt if the text has a language code or unknown pieces, whose ids only the vocabulary has.
std::optional<std::vector<int>> TextSide::model_ids(std::string_view text) const {
  std::vector<int> ids;
  if (language_code_length(text) > 0 || !processor_->Encode(text, &ids).ok() ||
      std::ranges::find(ids, processor_->unk_id()) != ids.end()) {
    return std::nullopt;
  }
  return ids;
}

std::vector<Subword> TextSide::subwords(std::string_view text) const {
  const auto code = language_code_length(text);
  std::vector<Subword> subwords;
  std::vector<Span> spans;
  if (code > 0) {
    const std::string piece(text.substr(0, code));
    subwords.push_back({piece, vocabulary_->id(piece)});
    spans.push_back({0, code});
  }
  const auto encoded = processor_->EncodeAsImmutableProto(text.substr(code));
  for (const auto& piece : encoded.pieces()) {
    subwords.push_back({piece.piece(), vocabulary_->id(piece.piece())});
    spans.push_back({code + piece.begin(), code + piece.end()});
  }
  assign_words(subwords, spans, text);
  subwords.push_back({vocabulary_->piece(vocabulary_->eos_id()), vocabulary_->eos_id()});
  return subwords;
}

std::string TextSide::join(const std::vector<std::string>& pieces_to_join) const {
  std::string text;
  const auto status = processor_->Decode(pieces_to_join, &text);
  TORCH_CHECK(status.ok(), "SubwordTokenizer: expected pieces that SentencePiece decodes, got: ",
              status.ToString());
  replace_all(text, kSpaceMark, " ");  // still in pieces that the model does not have
  return std::string(trimmed(text));
}

std::vector<std::string> TextSide::pieces_of(const std::vector<int64_t>& ids) const {
  std::vector<std::string> id_pieces;
  id_pieces.reserve(ids.size());
  for (const auto id : ids) id_pieces.push_back(vocabulary_->piece(id));
  return id_pieces;
}

std::string TextSide::decode(const std::vector<int64_t>& ids) const {
  std::vector<std::string> text_pieces;
  for (const auto id : ids) {
    const auto& piece = vocabulary_->piece(id);
    if (!vocabulary_->is_special(id)) text_pieces.push_back(piece);
  }
  return join(text_pieces);
}

std::vector<std::string> TextSide::usable_pieces(const SpecialTokens& special) const {
  std::vector<std::string> result;
  for (int id = 0; id < processor_->GetPieceSize(); ++id) {
    const auto& piece = processor_->IdToPiece(id);
    const bool is_special = piece == special.eos || piece == special.unk || piece == special.pad;
    if (!processor_->IsUnused(id) && !is_special) result.push_back(piece);
  }
  return result;
}

TextSide TextSide::restricted(const std::string& model, std::span<const std::string> texts) const {
  std::set<std::string> used;
  for (const auto& text : texts) {
    const auto of_text = pieces(text);
    used.insert(of_text.begin(), of_text.end());
  }
  auto copy = std::make_shared<Processor>();
  TORCH_CHECK(!load_model(*copy, model), "SubwordTokenizer: expected its own model");
  const auto status = copy->SetVocabulary({used.begin(), used.end()});
  TORCH_CHECK(status.ok(),
              "SubwordTokenizer: expected a unigram or BPE model, got: ", status.ToString());
  return {std::move(copy), vocabulary_};
}

}  // namespace attend::detail
