#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "attend/text/subword_tokenizer.h"

namespace attend::detail {

/// What tokenizer_config.json and special_tokens_map.json say.
struct TokenizerConfig {
  SpecialTokens special;
  bool separate_vocabs = false;
  bool clean_up_spaces = false;
  std::map<std::string, int64_t> added_tokens;
};

/// Each of these reads the bytes of a file of a tokenizer's folder; errors are FileError with `path`.
void read_special_tokens(const std::filesystem::path& path, const std::string& bytes,
                         SpecialTokens& special);
void read_tokenizer_config(const std::filesystem::path& path, const std::string& bytes,
                           TokenizerConfig& config);
Vocabulary parse_vocabulary(const std::filesystem::path& path, const std::string& bytes,
                            const SpecialTokens& special);

/// A vocabulary's file, as Python's json.dump(..., indent=2) writes it: in the order of the ids,
/// ASCII only.
std::string dump_vocabulary(const std::vector<std::string>& pieces);

/// The tokenizer_config.json of a new tokenizer.
std::string new_tokenizer_config(const SpecialTokens& special,
                                 const SubwordTokenizerOptions& options);

/// The same configuration, or a new one where it is empty, with `separate_vocabs` set.
std::string with_separate_vocabs(const std::string& config);

}  // namespace attend::detail
