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

/// The contents of a new tokenizer's tokenizer_config.json.
struct SubwordTokenizerOptions {
  std::string source_language;     // such as "en"; empty = not written
  std::string target_language;     // such as "fr"; empty = not written
  int64_t model_max_length = 512;  // tokens; transformers truncates to it on request; > 0
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
/// unknown pieces, and normalising twice is the same as normalising once. Normalisation is the
/// model's own (attend trains with nmt_nfkc: NFKC, control characters removed, runs of whitespace
/// replaced by one space, the ends trimmed, U+2581 replaced by a space). Invalid UTF-8 bytes count
/// as unknown characters.
///
/// The object is immutable: copies share their state, and any number of threads may use it.
///
/// Source: Kudo and Richardson, 2018, arXiv:1808.06226.
/// Note:   text never becomes a special token: `</s>` in a text is encoded as its characters, as in
///         Marian (transformers: `split_special_tokens=True`). A language code such as ">>fra<<" at
///         the start of a text is one token, as in transformers.
class ATTEND_TOOLKIT_API SubwordTokenizer {
 public:
  /// Reads the tokenizer files of a model folder. `tokenizer_config.json` may be absent.
  ///
  /// Throws: FileError with the file's path if one is missing, truncated or of another kind.
  static SubwordTokenizer load(const std::filesystem::path& folder);

  /// A tokenizer whose two sides share one SentencePiece model, given as the bytes of its file.
  /// The ids are those of the model, with `<pad>` after the last one (Marian's convention).
  ///
  /// Throws: c10::ValueError if the bytes are not a SentencePiece model with `</s>` and `<unk>`, or
  ///         its pieces are not UTF-8.
  static SubwordTokenizer from_joint_model(std::string model,
                                           const SubwordTokenizerOptions& options = {});

  /// The same model with a vocabulary for each side: the pieces that occur in its texts, and every
  /// single character. All texts are segmented into these. A smaller target vocabulary gives a
  /// smaller output layer, which takes most of the time of a small model. `</s>`, `<unk>` and
  /// `<pad>` have the ids 0, 1 and 2 on both sides.
  ///
  /// Source: the vocabulary restriction of SentencePiece and, before it, of subword-nmt
  ///         (https://github.com/rsennrich/subword-nmt, its best practice for joint subwords).
  /// Throws: c10::Error if the vocabularies are already separate or have more pieces than the
  ///         model, or if the model is neither unigram nor BPE.
  SubwordTokenizer with_separate_vocabs(std::span<const std::string> source,
                                        std::span<const std::string> target) const;

  /// The same restriction with one vocabulary, ordered: `</s>`, `<unk>`, the pieces of the target,
  /// those only in the source, and `<pad>` (Marian's convention). Both sides then share one
  /// embedding table, and the output layer uses its first target_vocab_size() rows.
  ///
  /// Throws: as with_separate_vocabs.
  SubwordTokenizer with_restricted_vocab(std::span<const std::string> source,
                                         std::span<const std::string> target) const;

  /// Writes the tokenizer files, each atomically, into a folder, which is created if needed. Files
  /// that were loaded are written unchanged.
  ///
  /// Throws: FileError.
  void save(const std::filesystem::path& folder) const;

  /// The ids of a text, `</s>` last.
  std::vector<int64_t> encode_source(std::string_view text) const;
  std::vector<int64_t> encode_target(std::string_view text) const;

  /// The same ids with the piece and the word index of each. Words are the parts of `text` between
  /// ASCII whitespace. A lone "▁" belongs to the next word, or to the last word at the end; `</s>`
  /// to none.
  std::vector<Subword> source_subwords(std::string_view text) const;
  std::vector<Subword> target_subwords(std::string_view text) const;

  /// The subwords of decoded ids; `word` counts the words of the decoded text. A piece that starts
  /// with "▁" begins a word. A lone "▁" belongs to the next word, or to the last one at the end;
  /// special tokens, including `<unk>`, to none.
  std::vector<Subword> decoded_subwords(const std::vector<int64_t>& ids) const;

  /// The text of target ids. Special tokens, including `<unk>`, are left out.
  ///
  /// Throws: c10::ValueError for an id outside the vocabulary.
  /// Note:   with `clean_up_tokenization_spaces: true` in the config, spaces before punctuation are
  ///         removed as in transformers. This joins words that `decoded_subwords` counts
  ///         separately.
  std::string decode_target(const std::vector<int64_t>& ids) const;

  /// The text after the model's normalisation.
  std::string normalize_source(std::string_view text) const;
  std::string normalize_target(std::string_view text) const;

  /// The target's vocabulary; the same as the source's unless separate_vocabs().
  const Vocabulary& source_vocabulary() const;
  const Vocabulary& target_vocabulary() const;
  bool separate_vocabs() const;

  /// The ids of encoded targets are below this size. After with_restricted_vocab() it may be less
  /// than the vocabulary's size, and pad_id() may be beyond it.
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

  // A copy whose models are restricted to the pieces of `source` and `target`. The caller must set
  // its vocabulary.
  std::shared_ptr<Impl> with_restricted_models(std::span<const std::string> source,
                                               std::span<const std::string> target) const;

  std::shared_ptr<const Impl> impl_;
};

}  // namespace attend
