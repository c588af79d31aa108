#include "attend/translation/lexicon.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "attend/file_error.h"
#include "attend/text/lines.h"
#include "detail/atomic_file.h"
#include "detail/check.h"
#include "detail/excerpt.h"
#include "detail/read_file.h"

namespace attend {
namespace {

constexpr std::string_view kNull = "NULL", kSpaces = " \t\r\v\f\n";
constexpr int64_t kMostLines = 50'000'000;

bool can_be_written(std::string_view piece) {
  return piece != kNull && piece.find_first_of(kSpaces) == std::string_view::npos;
}

struct LexiconLine {
  std::string_view target, source;
  double probability = 0;
};

// nullopt unless the line is of the format.
std::optional<LexiconLine> parsed_entry(std::string_view line) {
  std::array<std::string_view, 3> fields;
  for (auto& field : fields) {
    line.remove_prefix(std::min(line.find_first_not_of(kSpaces), line.size()));
    field = line.substr(0, line.find_first_of(kSpaces));
    line.remove_prefix(field.size());
  }
  const auto number = fields[2];
  LexiconLine result{fields[0], fields[1]};
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), result.probability);
  const bool is_whole = line.find_first_not_of(kSpaces) == std::string_view::npos;
  if (number.empty() || error != std::errc() || end != number.data() + number.size() || !is_whole) {
    return std::nullopt;
  }
  return result;
}

// The target ids that a sentence may have, chosen by its source ids.
class ChoiceOfTargets {
 public:
  ChoiceOfTargets(const Lexicon& lexicon, const SubwordTokenizer& tokenizer,
                  const ShortlistOptions& options);
  std::vector<int64_t> operator()(std::span<const int64_t> source) const;

 private:
  size_t targets_;
  std::vector<int64_t> always_;
  std::vector<std::vector<int64_t>> of_source_;
};

ChoiceOfTargets::ChoiceOfTargets(const Lexicon& lexicon, const SubwordTokenizer& tokenizer,
                                 const ShortlistOptions& options)
    : targets_(static_cast<size_t>(tokenizer.target_vocab_size())),
      of_source_(static_cast<size_t>(tokenizer.vocab_size())) {
  const auto& sources = tokenizer.source_vocabulary();
  const auto& targets = tokenizer.target_vocabulary();
  std::vector<bool> may_choose(targets_);
  for (size_t id = 0; id < targets_; ++id) {
    const auto at = static_cast<int64_t>(id);
    may_choose[id] = targets.contains(at) && !targets.is_special(at);
  }
  // Adds an id to a list of fewer than `most`.
  const auto add = [&](std::vector<int64_t>& ids, int64_t id, int64_t most) {
    const bool is_one =
        id >= 0 && static_cast<size_t>(id) < targets_ && may_choose[static_cast<size_t>(id)];
    if (is_one && static_cast<int64_t>(ids.size()) < most) ids.push_back(id);
  };
  for (const auto& entry : lexicon.of_none) add(always_, entry.token, options.frequent);
  const std::set<int64_t> of_none(always_.begin(), always_.end());
  for (int64_t id = 0; id < static_cast<int64_t>(targets_); ++id) {
    if (!of_none.contains(id)) add(always_, id, options.frequent);
  }
  for (size_t id = 0; id < of_source_.size(); ++id) {
    auto& own = of_source_[id];
    if (id < lexicon.of_source.size()) {
      for (const auto& entry : lexicon.of_source[id]) add(own, entry.token, options.best);
    }
    const auto at = static_cast<int64_t>(id);
    if (sources.contains(at)) add(own, targets.id(sources.piece(at)), options.best + 1);
  }
}

std::vector<int64_t> ChoiceOfTargets::operator()(std::span<const int64_t> source) const {
  // A bit for each id: they come out in order and once.
  constexpr size_t kBits = 64;
  std::vector<uint64_t> chosen((targets_ + kBits - 1) / kBits);
  const auto choose = [&](int64_t id) {
    chosen[static_cast<size_t>(id) / kBits] |= uint64_t{1} << static_cast<size_t>(id) % kBits;
  };
  for (const auto id : always_) choose(id);
  for (const auto id : source) {
    if (id < 0 || id >= static_cast<int64_t>(of_source_.size())) continue;
    for (const auto target : of_source_[static_cast<size_t>(id)]) choose(target);
  }
  std::vector<int64_t> ids;
  for (size_t word = 0; word < chosen.size(); ++word) {
    for (auto bits = chosen[word]; bits != 0; bits &= bits - 1) {
      ids.push_back(static_cast<int64_t>(word * kBits) + std::countr_zero(bits));
    }
  }
  return ids;
}

}  // namespace

void save_lexicon(const std::filesystem::path& path, const Lexicon& lexicon,
                  const SubwordTokenizer& tokenizer) {
  detail::AtomicFile file(path);
  std::string lines;
  const auto write = [&](std::string_view source, const std::vector<LexiconEntry>& entries) {
    for (const auto& [token, probability] : entries) {
      const auto& target = tokenizer.target_vocabulary().piece(token);
      if (can_be_written(target)) {
        lines += fmt::format("{} {} {:.7g}\n", target, source, probability);
      }
    }
    constexpr size_t kBytesAtOnce = 1U << 20U;
    if (lines.size() < kBytesAtOnce) return;
    file.write(lines);
    lines.clear();
  };
  write(kNull, lexicon.of_none);
  for (size_t id = 0; id < lexicon.of_source.size(); ++id) {
    if (lexicon.of_source[id].empty()) continue;
    const auto& source = tokenizer.source_vocabulary().piece(static_cast<int64_t>(id));
    if (can_be_written(source)) write(source, lexicon.of_source[id]);
  }
  file.write(lines);
  file.commit();
}

Lexicon load_lexicon(const std::filesystem::path& path, const SubwordTokenizer& tokenizer) {
  auto stream = detail::open_for_reading(path);
  LineReader reader(stream, path.string());
  const auto& sources = tokenizer.source_vocabulary();
  const auto& targets = tokenizer.target_vocabulary();
  Lexicon lexicon;
  lexicon.of_source.resize(static_cast<size_t>(sources.size()));
  int64_t unknown = 0, first_unknown = 0;
  std::string unknown_token;
  while (const auto line = reader.next()) {
    const auto fail = [&](const std::string& problem) {
      throw FileError(path, fmt::format("line {}: {}", reader.line_number(), problem));
    };
    const auto entry = parsed_entry(*line);
    if (!entry) {
      fail(fmt::format("expected target token, source token and probability, got {}",
                       detail::in_quotes(*line)));
    }
    if (!(entry->probability >= 0 && entry->probability <= 1)) {
      fail(fmt::format("expected a probability in [0, 1], got {}", entry->probability));
    }
    if (reader.line_number() > kMostLines) {
      fail(fmt::format("expected at most {} lines, got more", kMostLines));
    }
    if (entry->target == kNull) continue;  // a source token without a translation
    const bool is_null = entry->source == kNull;
    const auto known = [&](const Vocabulary& vocabulary, std::string_view token) {
      if (vocabulary.contains(token)) return true;
      if (unknown++ == 0) {
        first_unknown = reader.line_number();
        unknown_token = token;
      }
      return false;
    };
    if (!known(targets, entry->target) || !(is_null || known(sources, entry->source))) continue;
    auto& entries = is_null ? lexicon.of_none
                            : lexicon.of_source[static_cast<size_t>(sources.id(entry->source))];
    entries.push_back({targets.id(entry->target), entry->probability});
  }
  if (reader.line_number() == 0) throw FileError(path, "expected a lexicon, got an empty file");
  if (2 * unknown > reader.line_number()) {
    throw FileError(path,
                    fmt::format("line {}: expected tokens of the model's vocabulary in at "
                                "least half of the lines, got {} and {} other lines without",
                                first_unknown, detail::in_quotes(unknown_token), unknown - 1));
  }
  const auto sort = [](std::vector<LexiconEntry>& entries) {
    std::ranges::stable_sort(entries, std::ranges::greater{}, &LexiconEntry::probability);
  };
  sort(lexicon.of_none);
  std::ranges::for_each(lexicon.of_source, sort);
  return lexicon;
}

void ShortlistOptions::validate() const {
  TORCH_CHECK_VALUE(frequent >= 0 && best >= 0,
                    "ShortlistOptions: expected frequent and best >= 0, got ", frequent, " and ",
                    best);
}

TargetShortlist target_shortlist(const Lexicon& lexicon, const SubwordTokenizer& tokenizer,
                                 const ShortlistOptions& options) {
  options.validate();
  return [choice = std::make_shared<const ChoiceOfTargets>(lexicon, tokenizer, options)](
             std::span<const int64_t> source) { return (*choice)(source); };
}

}  // namespace attend
