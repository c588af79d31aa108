#include "attend/data/encode_corpus.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "attend/file_error.h"
#include "detail/check.h"
#include "detail/parallel.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// Path, size and modification time, which change if a file is replaced or written to.
json identity_of(const fs::path& path) {
  std::error_code ignored;  // reading the file later gives a better error
  return {fs::absolute(path, ignored).string(), fs::file_size(path, ignored),
          fs::last_write_time(path, ignored).time_since_epoch().count()};
}

// The inputs that determine the encoded corpus.
json recipe(const fs::path& source_path, const fs::path& target_path,
            const SubwordTokenizer& tokenizer, const PairFilter& filter) {
  std::vector<TokenPair> sample;
  for (const char* text : {"The quick brown fox, 1234567890.", "Le vif zéphyr jubile: ça et là"}) {
    sample.push_back({tokenizer.encode_source(text), tokenizer.encode_target(text)});
  }
  return {{"source", identity_of(source_path)},
          {"target", identity_of(target_path)},
          {"vocab_sizes", {tokenizer.source_vocabulary().size(), tokenizer.target_vocab_size()}},
          {"sample", fingerprint(sample)},
          {"max_length", filter.max_length},
          {"max_ratio", filter.max_ratio}};
}

// The existing corpus at `path`, if it was made with the same recipe.
std::optional<EncodedCorpus> made_before(const fs::path& path, const json& recipe) {
  if (!fs::exists(path)) return std::nullopt;
  try {
    TokenFile file(path);
    const auto note = json::parse(file.note());
    if (note.at("recipe") != recipe) return std::nullopt;
    const auto& counts = note.at("counts");
    return EncodedCorpus{std::move(file), {counts.at(0), counts.at(1), counts.at(2), counts.at(3)}};
  } catch (const FileError&) {
    return std::nullopt;  // encode again
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

void PairFilter::validate() const {
  detail::check_positive("PairFilter", "max_length", max_length);
  TORCH_CHECK_VALUE(max_ratio == 0 || max_ratio >= 1,
                    "PairFilter: expected max_ratio >= 1, or 0 for any, got ", max_ratio);
}

std::string FilterCounts::left_out_text(const PairFilter& filter) const {
  std::vector<std::string> parts;
  if (empty > 0) parts.push_back(fmt::format("{} with an empty side", empty));
  if (too_long > 0) {
    parts.push_back(fmt::format("{} of more than {} tokens", too_long, filter.max_length));
  }
  if (unequal > 0) {
    parts.push_back(fmt::format("{} with sides of more than {:g} to 1", unequal, filter.max_ratio));
  }
  return parts.empty() ? ""
                       : fmt::format("left out {} of {} training pairs: {}", left_out(),
                                     kept + left_out(), fmt::join(parts, ", "));
}

bool keep_pair(const TokenPair& pair, const PairFilter& filter, FilterCounts& counts) {
  // Without </s>, which every encoded text ends with.
  const auto length = [](const std::vector<int64_t>& ids) {
    return static_cast<int64_t>(ids.size()) - 1;
  };
  const auto [shorter, longer] = std::minmax({length(pair.source), length(pair.target)});
  int64_t* count = &counts.kept;
  if (shorter <= 0) {
    count = &counts.empty;
  } else if (longer > filter.max_length) {
    count = &counts.too_long;
  } else if (filter.max_ratio > 0 &&
             static_cast<double>(longer) > filter.max_ratio * static_cast<double>(shorter)) {
    count = &counts.unequal;
  }
  ++*count;
  return count == &counts.kept;
}

std::vector<TokenPair> encode_pairs(const ParallelText& text, const SubwordTokenizer& tokenizer,
                                    const PairFilter& filter, FilterCounts& counts) {
  constexpr int64_t kGrain = 256;
  std::vector<TokenPair> pairs(text.size());
  detail::parallel_for(static_cast<int64_t>(text.size()), kGrain, [&](int64_t first, int64_t last) {
    for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(last); ++i) {
      pairs[i] = {tokenizer.encode_source(text.source[i]), tokenizer.encode_target(text.target[i])};
    }
  });
  std::erase_if(pairs, [&](const TokenPair& pair) { return !keep_pair(pair, filter, counts); });
  return pairs;
}

EncodedCorpus encode_corpus(const fs::path& source_path, const fs::path& target_path,
                            const SubwordTokenizer& tokenizer, const fs::path& path,
                            const PairFilter& filter, const EncodingProgress& progress) {
  constexpr size_t kPairsAtATime = 8192;
  filter.validate();
  const auto made_of = recipe(source_path, target_path, tokenizer, filter);
  // Only regular files can be compared with the recipe without reading them; pipes cannot.
  const bool are_files = fs::is_regular_file(source_path) && fs::is_regular_file(target_path);
  if (are_files) {
    if (auto before = made_before(path, made_of)) return std::move(*before);
  }

  ParallelReader reader(source_path, target_path);
  TokenFileWriter writer(path);
  FilterCounts counts;
  int64_t pairs = 0;
  for (;;) {
    const auto text = reader.next(kPairsAtATime);
    if (text.size() == 0) break;
    for (const auto& pair : encode_pairs(text, tokenizer, filter, counts)) writer.add(pair);
    pairs += static_cast<int64_t>(text.size());
    TORCH_CHECK(!progress || progress(pairs), "encode_corpus: stopped after ", pairs, " pairs");
  }
  const json note{{"recipe", made_of},
                  {"counts", {counts.kept, counts.empty, counts.too_long, counts.unequal}}};
  return {writer.commit(note.dump()), counts};
}

}  // namespace attend
