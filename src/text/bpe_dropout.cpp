#include "attend/text/bpe_dropout.h"

#include <sentencepiece_processor.h>
#include <torch/torch.h>

#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "detail/check.h"
#include "detail/utf8.h"

namespace attend {
namespace {

using Processor = sentencepiece::SentencePieceProcessor;

constexpr auto kBpeDropout = "BpeDropout";

bool is_left_out(std::mt19937_64& random, double probability) {
  constexpr unsigned kMantissa = 53;  // bits of a double in [0, 1)
  constexpr unsigned kSpareBits = 64 - kMantissa;
  const auto draw =
      static_cast<double>(random() >> kSpareBits) / static_cast<double>(uint64_t{1} << kMantissa);
  return draw < probability;
}

// The BPE merges of one side's model.
class Merges {
 public:
  Merges(const std::string& model, const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    Processor processor;
    const auto status = processor.LoadFromSerializedProto(model);
    TORCH_CHECK(status.ok(), kBpeDropout, ": expected the tokenizer's model, got ",
                status.ToString());
    // Tells the model type: only unigram has NBestEncode; unigram and BPE have SampleEncode.
    std::vector<std::vector<std::string>> best;
    std::vector<std::string> drawn;
    const bool is_unigram = processor.NBestEncode("a", 1, &best).ok();
    const bool can_draw = processor.SampleEncode("a", 1, 0.0F, &drawn).ok();
    TORCH_CHECK_VALUE(can_draw && !is_unigram, kBpeDropout, ": expected a BPE model, got a ",
                      is_unigram ? "unigram" : "character or word", " model");
    for (int i = 0; i < processor.GetPieceSize(); ++i) {
      const bool is_text =
          !processor.IsControl(i) && !processor.IsUnknown(i) && !processor.IsByte(i);
      // An unused piece takes part in merges; if it remains at the end, it is split again.
      const auto& piece = processor.IdToPiece(i);
      const bool is_used = !processor.IsUnused(i) && vocabulary.contains(piece);
      const auto id = is_used ? vocabulary.id(piece) : kUnused;
      if (is_text) pieces_.emplace(piece, Piece{processor.GetScore(i), id});
    }
    // A user-defined symbol is always one piece, not the result of merges.
    std::vector<std::string> defined;
    for (const auto& [piece, ignored] : pieces_) {
      if (!can_be_made(piece)) defined.push_back(piece);
    }
    for (const auto& piece : defined) pieces_.erase(piece);
  }

  std::vector<int64_t> sample(const std::vector<int64_t>& ids, double probability,
                              std::mt19937_64& random) const {
    std::vector<int64_t> sampled;
    sampled.reserve(ids.size());
    std::string text;
    const auto cut_text = [&] {
      cut(text, probability, random, sampled);
      text.clear();
    };
    for (const auto id : ids) {
      const auto& piece = vocabulary_.piece(id);
      if (!vocabulary_.is_special(id) && pieces_.contains(piece)) {
        text += piece;
        continue;
      }
      cut_text();
      sampled.push_back(id);
    }
    cut_text();
    return sampled;
  }

 private:
  static constexpr int64_t kUnused = -1;

  struct Piece {
    float score = 0;  // higher for merges that were learned earlier
    int64_t id = 0;
  };
  // Allows lookups in pieces_ by std::string_view.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  // A symbol of the text, in a linked list. Its text is empty once it was merged into the one
  // before.
  struct Symbol {
    std::string_view text;
    size_t previous = 0, next = 0;
  };
  // Two adjacent symbols whose concatenation is a piece.
  struct Candidate {
    float score = 0;
    size_t left = 0;
    size_t size = 0;  // of both, in bytes

    // The highest score first; of equal scores the leftmost.
    bool operator<(const Candidate& other) const {
      return score < other.score || (score == other.score && left > other.left);
    }
  };

  // Whether a piece is a single character or the concatenation of two pieces.
  bool can_be_made(std::string_view piece) const {
    auto left = detail::first_code_point(piece).length;
    if (left == piece.size()) return true;
    for (; left < piece.size(); left += detail::first_code_point(piece.substr(left)).length) {
      if (pieces_.contains(piece.substr(0, left)) && pieces_.contains(piece.substr(left))) {
        return true;
      }
    }
    return false;
  }

  void cut(std::string_view text, double probability, std::mt19937_64& random,
           std::vector<int64_t>& ids) const {
    if (text.empty()) return;
    auto symbols = characters(text);
    const auto end = symbols.size();
    // Where unused pieces are split: at the last pair that was a candidate for them, as in
    // SentencePiece.
    std::unordered_map<std::string_view, size_t> parts;
    std::priority_queue<Candidate> candidates;
    const auto offer = [&](size_t left, size_t right) {
      if (left == end || right == end) return;
      const std::string_view merged(symbols[left].text.data(),
                                    symbols[left].text.size() + symbols[right].text.size());
      const auto piece = pieces_.find(merged);
      if (piece == pieces_.end()) return;
      candidates.push({piece->second.score, left, merged.size()});
      if (piece->second.id == kUnused) parts[merged] = symbols[left].text.size();
    };
    for (size_t i = 0; i + 1 < end; ++i) offer(i, i + 1);
    while (!candidates.empty()) {
      const auto best = candidates.top();
      candidates.pop();
      auto& left = symbols[best.left];
      const auto right = left.next;
      // Skip the candidate if one of its symbols has been merged with another since.
      if (left.text.empty() || right == end ||
          left.text.size() + symbols[right].text.size() != best.size) {
        continue;
      }
      if (is_left_out(random, probability)) continue;
      left.text = {left.text.data(), best.size};
      left.next = symbols[right].next;
      symbols[right].text = {};
      if (left.next != end) symbols[left.next].previous = best.left;
      offer(left.previous, best.left);
      offer(best.left, left.next);
    }
    for (size_t i = 0; i != end; i = symbols[i].next) add(symbols[i].text, parts, ids);
  }

  static std::vector<Symbol> characters(std::string_view text) {
    std::vector<Symbol> symbols;
    for (size_t at = 0; at < text.size();) {
      const auto length = detail::first_code_point(text.substr(at)).length;
      symbols.push_back({text.substr(at, length), symbols.size() - 1, symbols.size() + 1});
      at += length;
    }
    symbols.front().previous = symbols.size();
    return symbols;
  }

  // Appends the id of a piece, or the ids of its parts if the vocabulary does not have it.
  void add(std::string_view text, const std::unordered_map<std::string_view, size_t>& parts,
           std::vector<int64_t>& ids) const {
    const auto piece = pieces_.find(text);
    if (piece != pieces_.end() && piece->second.id != kUnused) {
      ids.push_back(piece->second.id);
    } else if (const auto part = parts.find(text); part != parts.end()) {
      add(text.substr(0, part->second), parts, ids);
      add(text.substr(part->second), parts, ids);
    } else {
      ids.push_back(vocabulary_.unk_id());
    }
  }

  const Vocabulary& vocabulary_;
  std::unordered_map<std::string, Piece, Hash, std::equal_to<>> pieces_;
};

}  // namespace

struct BpeDropout::Impl {
  SubwordTokenizer tokenizer;  // owns the vocabularies that the merges refer to
  double probability;
  Merges source, target;
};

BpeDropout::BpeDropout(const SubwordTokenizer& tokenizer, double probability) {
  detail::check_probability(kBpeDropout, "probability", probability);
  impl_ = std::make_shared<const Impl>(
      Impl{tokenizer, probability, Merges(tokenizer.source_model(), tokenizer.source_vocabulary()),
           Merges(tokenizer.target_model(), tokenizer.target_vocabulary())});
}

std::vector<int64_t> BpeDropout::sample_source(const std::vector<int64_t>& ids,
                                               std::mt19937_64& random) const {
  return impl_->source.sample(ids, impl_->probability, random);
}

std::vector<int64_t> BpeDropout::sample_target(const std::vector<int64_t>& ids,
                                               std::mt19937_64& random) const {
  return impl_->target.sample(ids, impl_->probability, random);
}

}  // namespace attend
