#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "attend/text/subword_tokenizer.h"

namespace attend::detail {

/// The settings in tokenizer_config.json and special_tokens_map.json.
struct TokenizerConfig {
  SpecialTokens special;
  bool separate_vocabs = false;
  bool clean_up_spaces = false;
  std::map<std::string, int64_t> added_tokens;
};

/// These functions parse the bytes of a tokenizer file. Errors are FileError with `path`.
void read_special_tokens(const std::filesystem::path& path, const std::string& bytes,
                         SpecialTokens& special);
void read_tokenizer_config(const std::filesystem::path& path, const std::string& bytes,
                           TokenizerConfig& config);
Vocabulary parse_vocabulary(const std::filesystem::path& path, const std::string& bytes,
                            const SpecialTokens& special);

/// The content of a vocabulary file, formatted like Python's json.dump(..., indent=2): sorted by
/// id, ASCII only.
std::string dump_vocabulary(const std::vector<std::string>& pieces);

/// The tokenizer_config.json of a new tokenizer.
std::string new_tokenizer_config(const SpecialTokens& special,
                                 const SubwordTokenizerOptions& options);

/// `config`, or a new configuration if it is empty, with `separate_vocabs` set.
std::string with_separate_vocabs(const std::string& config);

}  // namespace attend::detail
