#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "attend/translation/lexicon.h"
#include "detail/check.h"
#include "detail/parallel.h"

namespace attend {
namespace {

// Entries of a source id after the first iteration.
constexpr size_t kMostEntries = 1000;
// The work is divided into so many parts, more than there are threads, to balance it.
constexpr int64_t kParts = 64;

// The tokens of sentences one after another.
struct FlatSentences {
  std::vector<int32_t> tokens;
  std::vector<size_t> first{0};  // of each sentence, and the end of the last one

  void add(const std::vector<int64_t>& ids) {  // with an end token
    for (size_t i = 0; i + 1 < ids.size(); ++i) tokens.push_back(static_cast<int32_t>(ids[i]));
    first.push_back(tokens.size());
  }
  size_t size() const { return first.size() - 1; }
  size_t length(size_t sentence) const { return first[sentence + 1] - first[sentence]; }
  size_t kinds() const {
    return tokens.empty() ? 0 : static_cast<size_t>(std::ranges::max(tokens)) + 1;
  }
};

struct SparseEntry {
  int32_t token;
  float probability;
};
using SparseRow = std::vector<SparseEntry>;  // by ascending token

// IBM Model 1. The last row is NULL's, which stands in every source sentence.
class Model1 {
 public:
  Model1(FlatSentences source, FlatSentences target);
  void iterate();
  Lexicon lexicon(const LexiconOptions& options) const;

 private:
  void weigh_positions();
  void count_row(size_t row, std::vector<double>& counts);
  size_t null_row() const { return rows_.size() - 1; }
  float probability(size_t row, int32_t token) const;

  FlatSentences source_, target_;
  std::vector<SparseRow> rows_;
  std::vector<size_t> first_use_;  // of each row but NULL's in uses_, and the end of the last one's
  std::vector<int32_t> uses_;      // the sentences that a source token is in, each time it is
  std::vector<float> weights_;     // of each target token: 1 / the sum of the probabilities it may
                                   // have come by
  std::vector<size_t> parts_;      // the first row of each part of about equal work
  size_t target_kinds_;
  bool begun_ = false;  // until then p is uniform, and rows are empty
};

Model1::Model1(FlatSentences source, FlatSentences target)
    : source_(std::move(source)),
      target_(std::move(target)),
      rows_(source_.kinds() + 1),
      first_use_(rows_.size() + 1),
      uses_(source_.tokens.size()),
      weights_(target_.tokens.size()),
      target_kinds_(target_.kinds()) {
  // A counting sort of the sentences by token.
  std::vector<size_t> work(rows_.size());
  for (const auto token : source_.tokens) ++first_use_[static_cast<size_t>(token) + 1];
  for (size_t row = 0; row + 1 < first_use_.size(); ++row) first_use_[row + 1] += first_use_[row];
  auto next = first_use_;
  for (size_t s = 0; s < source_.size(); ++s) {
    for (auto i = source_.first[s]; i < source_.first[s + 1]; ++i) {
      const auto row = static_cast<size_t>(source_.tokens[i]);
      uses_[next[row]++] = static_cast<int32_t>(s);
      work[row] += target_.length(s);
    }
  }
  work.back() = target_.tokens.size();
  size_t whole = 0, done = 0;
  for (const auto of_row : work) whole += of_row;
  for (size_t row = 0; row < rows_.size(); ++row) {
    if (done >= whole / kParts * parts_.size()) parts_.push_back(row);
    done += work[row];
  }
  parts_.push_back(rows_.size());
}

float Model1::probability(size_t row, int32_t token) const {
  const auto& entries = rows_[row];
  const auto place = std::ranges::lower_bound(entries, token, {}, &SparseEntry::token);
  return place != entries.end() && place->token == token ? place->probability : 0.0F;
}

void Model1::weigh_positions() {
  constexpr int64_t kGrain = 64;
  detail::parallel_for(
      static_cast<int64_t>(source_.size()), kGrain, [&](int64_t begin, int64_t end) {
        for (auto s = static_cast<size_t>(begin); s < static_cast<size_t>(end); ++s) {
          for (auto j = target_.first[s]; j < target_.first[s + 1]; ++j) {
            if (!begun_) {
              weights_[j] = 1.0F / static_cast<float>(source_.length(s) + 1);
              continue;
            }
            double sum = probability(null_row(), target_.tokens[j]);
            for (auto i = source_.first[s]; i < source_.first[s + 1]; ++i) {
              sum += probability(static_cast<size_t>(source_.tokens[i]), target_.tokens[j]);
            }
            weights_[j] = sum > 0 ? static_cast<float>(1.0 / sum) : 0.0F;
          }
        }
      });
}

// counts: zeros, one for each target id; zeros again afterwards.
void Model1::count_row(size_t row, std::vector<double>& counts) {
  std::vector<int32_t> seen;
  const auto count_sentence = [&](size_t s) {
    for (auto j = target_.first[s]; j < target_.first[s + 1]; ++j) {
      auto& count = counts[static_cast<size_t>(target_.tokens[j])];
      if (count == 0.0) seen.push_back(target_.tokens[j]);
      count += weights_[j];
    }
  };
  if (row == null_row()) {
    for (size_t s = 0; s < source_.size(); ++s) count_sentence(s);
  } else {
    for (auto use = first_use_[row]; use < first_use_[row + 1]; ++use) {
      count_sentence(static_cast<size_t>(uses_[use]));
    }
  }
  auto& entries = rows_[row];
  if (!begun_) {
    const auto more = [&](int32_t a, int32_t b) {
      const auto of_a = counts[static_cast<size_t>(a)], of_b = counts[static_cast<size_t>(b)];
      return of_a != of_b ? of_a > of_b : a < b;
    };
    auto kept = seen;
    // NULL keeps all, so that each target token comes from somewhere.
    if (row != null_row() && kept.size() > kMostEntries) {
      std::ranges::nth_element(kept, kept.begin() + kMostEntries, more);
      kept.resize(kMostEntries);
    }
    std::ranges::sort(kept);
    entries.reserve(kept.size());
    for (const auto token : kept) entries.push_back({token, 1.0F});
  }
  double total = 0;
  for (const auto& entry : entries) {
    total += entry.probability * counts[static_cast<size_t>(entry.token)];
  }
  for (auto& entry : entries) {
    const auto count = entry.probability * counts[static_cast<size_t>(entry.token)];
    entry.probability = total > 0 ? static_cast<float>(count / total) : 0.0F;
  }
  for (const auto token : seen) counts[static_cast<size_t>(token)] = 0.0;
}

void Model1::iterate() {
  weigh_positions();
  detail::parallel_for(static_cast<int64_t>(parts_.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> counts(target_kinds_);
    for (auto row = parts_[static_cast<size_t>(begin)]; row < parts_[static_cast<size_t>(end)];
         ++row) {
      count_row(row, counts);
    }
  });
  begun_ = true;
}

Lexicon Model1::lexicon(const LexiconOptions& options) const {
  Lexicon lexicon;
  for (size_t row = 0; row < rows_.size(); ++row) {
    std::vector<LexiconEntry> entries;
    for (const auto& entry : rows_[row]) {
      if (entry.probability > 0 && entry.probability >= options.min_probability) {
        entries.push_back({entry.token, entry.probability});
      }
    }
    std::ranges::stable_sort(entries, std::ranges::greater{}, &LexiconEntry::probability);
    entries.resize(std::min(entries.size(), static_cast<size_t>(options.best)));
    if (row == null_row()) {
      lexicon.of_none = std::move(entries);
    } else {
      lexicon.of_source.push_back(std::move(entries));
    }
  }
  return lexicon;
}

}  // namespace

void LexiconOptions::validate() const {
  constexpr auto kWho = "LexiconOptions";
  detail::check_positive(kWho, "iterations", iterations);
  detail::check_positive(kWho, "max_pairs", max_pairs);
  detail::check_positive(kWho, "best", best);
  TORCH_CHECK_VALUE(min_probability >= 0 && min_probability < 1, kWho,
                    ": expected min_probability in [0, 1), got ", min_probability);
}

Lexicon learn_lexicon(const TokenFile& corpus, const LexiconOptions& options) {
  options.validate();
  const auto pairs = std::min(corpus.size(), static_cast<size_t>(options.max_pairs));
  FlatSentences source, target;
  const auto needed = (pairs + TokenFile::kBlockPairs - 1) / TokenFile::kBlockPairs;
  for (size_t i = 0; i < needed && source.size() < pairs; ++i) {
    // With all blocks, i itself.
    for (const auto& pair : corpus.read({i * corpus.blocks() / needed})) {
      if (source.size() == pairs) break;
      source.add(pair.source);
      target.add(pair.target);
    }
  }
  Model1 model(std::move(source), std::move(target));
  for (int64_t i = 0; i < options.iterations; ++i) model.iterate();
  return model.lexicon(options);
}

}  // namespace attend
