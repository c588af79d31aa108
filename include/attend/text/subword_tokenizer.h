#pragma once

// For programs that turn text into tokens and back.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attend/text/vocabulary.h"
#include "attend/toolkit_export.h"

namespace attend {

/// One token of a text.
struct Subword {
  std::string piece;  // as SentencePiece writes it: "▁" stands for a space before it
  int64_t id = 0;
  int64_t word = -1;  // index of the whitespace-separated word that it belongs to; -1 for none
};

/// What the tokenizer_config.json of a new tokenizer says.
struct SubwordTokenizerOptions {
  std::string source_language;     // such as "en"; empty = not said
  std::string target_language;     // such as "fr"; empty = not said
  int64_t model_max_length = 512;  // tokens, what transformers truncates to when asked; > 0
};

/// Text to token ids and back, with the SentencePiece models of a MarianMT folder.
///
/// The folder is the one that transformers' MarianTokenizer reads and writes: `source.spm` and
/// `target.spm` segment a text into pieces, `vocab.json` gives the pieces their ids
/// (`target_vocab.json` those of the target, where `separate_vocabs` of `tokenizer_config.json` is
/// true). A piece that is not in the vocabulary becomes `<unk>`. Every encoded text ends
/// with `</s>`.
///
/// Contract: decode_target(encode_target(x)) == normalize_target(x) for every text x without
/// unknown pieces, and normalising a second time changes nothing. Normalisation is the model's own
/// (attend trains with nmt_nfkc: NFKC, control characters removed, runs of whitespace made one
/// space, the ends trimmed, U+2581 taken for a space). Bytes that are not UTF-8 count as unknown
/// characters.
///
/// The object is immutable: copies share their state, and any number of threads may use it.
///
/// Source: Kudo and Richardson, 2018, arXiv:1808.06226.
/// Note:   Text never makes a special token: `</s>` in a text is encoded as the characters that it
///         is, as Marian does (transformers: `split_special_tokens=True`). A language code such as
///         ">>fra<<" at the start of a text is one token, as in transformers.
class ATTEND_TOOLKIT_API SubwordTokenizer {
 public:
  /// Reads the tokenizer files of a model folder. `tokenizer_config.json` may be absent.
  ///
  /// Throws: FileError with the file's path where one is missing, truncated or of another kind.
  static SubwordTokenizer load(const std::filesystem::path& folder);

  /// A tokenizer whose two sides share one SentencePiece model, given as the bytes of its file.
  /// The ids are those of the model, with `<pad>` after the last one (Marian's convention).
  ///
  /// Throws: c10::ValueError where the bytes are no SentencePiece model with `</s>` and `<unk>`, or
  ///         its pieces are not UTF-8.
  static SubwordTokenizer from_joint_model(std::string model,
                                           const SubwordTokenizerOptions& options = {});

  /// The same model with a vocabulary for each side: the pieces that occur in its texts, and every
  /// single character. Other texts are segmented into these. A smaller target vocabulary makes a
  /// smaller output layer, most of the work of a small model. `</s>`, `<unk>` and `<pad>` have the
  /// ids 0, 1 and 2 on both sides.
  ///
  /// Source: the vocabulary restriction of SentencePiece and, before it, of subword-nmt
  ///         (https://github.com/rsennrich/subword-nmt, its best practice for joint subwords).
  /// Throws: c10::Error where the vocabularies are separate already or hold more than the pieces of
  ///         the model, or the model is neither unigram nor BPE.
  SubwordTokenizer with_separate_vocabs(std::span<const std::string> source,
                                        std::span<const std::string> target) const;

  /// The same restriction with one vocabulary, in the order: `</s>`, `<unk>`, the pieces of the
  /// target, those that only the source has, and `<pad>` (Marian's convention). Both sides then share
  /// one embedding table, and the output layer is that of its first target_vocab_size() rows.
  ///
  /// Throws: as with_separate_vocabs.
  SubwordTokenizer with_restricted_vocab(std::span<const std::string> source,
                                         std::span<const std::string> target) const;

  /// Writes the tokenizer files, each atomically, into a folder, which is made if it is missing.
  /// Files that were loaded are written byte for byte.
  ///
  /// Throws: FileError.
  void save(const std::filesystem::path& folder) const;

  /// The ids of a text, `</s>` last.
  std::vector<int64_t> encode_source(std::string_view text) const;
  std::vector<int64_t> encode_target(std::string_view text) const;

  /// The same ids with the piece and the word of each. Words are those of `text` cut at ASCII
  /// whitespace. A lone "▁" belongs to the word after it, or to the last word where none follows;
  /// `</s>` belongs to none.
  std::vector<Subword> source_subwords(std::string_view text) const;
  std::vector<Subword> target_subwords(std::string_view text) const;

  /// The subwords of decoded ids; `word` counts the words of the decoded text. See word_indices().
  std::vector<Subword> decoded_subwords(const std::vector<int64_t>& ids) const;

  /// The text of target ids; special tokens, `<unk>` too, are left out.
  ///
  /// Throws: c10::ValueError for an id outside the vocabulary.
  /// Note:   a config with `clean_up_tokenization_spaces: true` is obeyed as transformers does:
  ///         spaces before punctuation go, which joins words that `decoded_subwords` counts apart.
  std::string decode_target(const std::vector<int64_t>& ids) const;

  /// The text after the model's normalisation.
  std::string normalize_source(std::string_view text) const;
  std::string normalize_target(std::string_view text) const;

  /// The same vocabulary unless separate_vocabs().
  const Vocabulary& source_vocabulary() const;
  const Vocabulary& target_vocabulary() const;
  bool separate_vocabs() const;

  /// Every id of an encoded target is smaller. After with_restricted_vocab() it may be less than the
  /// size of the target's vocabulary, and pad_id() beyond it.
  int64_t target_vocab_size() const;

  /// The bytes of `source.spm` and `target.spm`.
  const std::string& source_model() const;
  const std::string& target_model() const;

  /// Of the source vocabulary.
  int64_t vocab_size() const { return source_vocabulary().size(); }
  int64_t pad_id() const { return source_vocabulary().pad_id(); }
  int64_t eos_id() const { return source_vocabulary().eos_id(); }
  int64_t unk_id() const { return source_vocabulary().unk_id(); }

 private:
  struct Impl;
  explicit SubwordTokenizer(std::shared_ptr<const Impl> impl);

  // A copy whose models are restricted to the pieces of `source` and `target`. Its vocabulary must be
  // set by the caller.
  std::shared_ptr<Impl> with_restricted_models(std::span<const std::string> source,
                                               std::span<const std::string> target) const;

  std::shared_ptr<const Impl> impl_;
};

/// The index of the word that each piece belongs to, when the pieces are joined to a text.
///
/// A piece that starts with "▁" begins a word. A lone "▁" belongs to the word after it and begins
/// none by itself, so "▁", "chat" is one word; with no word after it, it belongs to the last one.
/// `<unk>`, `</s>` and `<pad>` belong to none (-1): they leave no text.
ATTEND_TOOLKIT_API std::vector<int64_t> word_indices(const std::vector<std::string>& pieces,
                                                     const SpecialTokens& special = {});

}  // namespace attend
