#include "text/tokenizer_files.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "attend/file_error.h"
#include "detail/excerpt.h"

namespace attend::detail {
namespace {

using Json = nlohmann::json;

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
  // The list of pieces is as long as the largest id, so a very large id would only waste memory.
  const auto limit = static_cast<int64_t>(2 * json.size() + 1024);
  std::vector<std::string> pieces;
  for (const auto& [piece, id_json] : json.items()) {
    const int64_t id = id_json.is_number_integer() ? id_json.get<int64_t>() : -1;
    if (piece.empty() || id < 0 || id >= limit) {
      throw FileError(path, fmt::format("expected pieces with ids in [0, {}), got '{}': {}", limit,
                                        excerpt(piece), brief(id_json)));
    }
    const auto index = static_cast<size_t>(id);
    if (index >= pieces.size()) pieces.resize(index + 1);
    if (!pieces[index].empty()) {
      throw FileError(path, fmt::format("expected every id once, got {} for '{}' and '{}'", id,
                                        excerpt(pieces[index]), excerpt(piece)));
    }
    pieces[index] = piece;
  }
  return pieces;
}

// A special token is a string, or an object with the string as "content".
void read_token(const std::filesystem::path& path, const Json& json, const char* key,
                std::string& token) {
  if (!json.contains(key) || json[key].is_null()) return;
  const auto& value =
      json[key].is_object() && json[key].contains("content") ? json[key]["content"] : json[key];
  if (!value.is_string()) {
    throw FileError(path, fmt::format("expected a string for {}, got {}", key, brief(value)));
  }
  token = value.get<std::string>();
}

void read_flag(const std::filesystem::path& path, const Json& json, const char* key, bool& flag) {
  if (!json.contains(key) || json[key].is_null()) return;
  if (!json[key].is_boolean()) {
    throw FileError(path,
                    fmt::format("expected true or false for {}, got {}", key, brief(json[key])));
  }
  flag = json[key].get<bool>();
}

void read_tokens(const std::filesystem::path& path, const Json& json, SpecialTokens& special) {
  read_token(path, json, "pad_token", special.pad);
  read_token(path, json, "eos_token", special.eos);
  read_token(path, json, "unk_token", special.unk);
}

// transformers lists special tokens and tokens added after training in added_tokens_decoder.
void read_added_tokens(const std::filesystem::path& path, const Json& json,
                       TokenizerConfig& config) {
  if (!json.contains("added_tokens_decoder")) return;
  for (const auto& [id, token] : json["added_tokens_decoder"].items()) {
    int64_t number = -1;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
    if (error != std::errc() || end != id.data() + id.size() || !token.is_object() ||
        !token.contains("content") || !token["content"].is_string()) {
      throw FileError(path,
                      fmt::format("expected an id and a token in added_tokens_decoder, got {}: {}",
                                  excerpt(id), brief(token)));
    }
    config.added_tokens[token["content"].get<std::string>()] = number;
  }
}

std::string written(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

void read_special_tokens(const std::filesystem::path& path, const std::string& bytes,
                         SpecialTokens& special) {
  read_tokens(path, parse_json_object(path, bytes), special);
}

void read_tokenizer_config(const std::filesystem::path& path, const std::string& bytes,
                           TokenizerConfig& config) {
  const auto json = parse_json_object(path, bytes);
  read_tokens(path, json, config.special);
  read_flag(path, json, "separate_vocabs", config.separate_vocabs);
  read_flag(path, json, "clean_up_tokenization_spaces", config.clean_up_spaces);
  read_added_tokens(path, json, config);
  if (json.contains("sp_model_kwargs") && !json["sp_model_kwargs"].empty()) {
    throw FileError(
        path, fmt::format("expected no sp_model_kwargs, got {}", brief(json["sp_model_kwargs"])));
  }
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

std::string dump_vocabulary(const std::vector<std::string>& pieces) {
  std::string json = "{";
  for (size_t id = 0; id < pieces.size(); ++id) {
    const auto piece = Json(pieces[id]).dump(-1, ' ', /*ensure_ascii=*/true);
    json += fmt::format("{}\n  {}: {}", id == 0 ? "" : ",", piece, id);
  }
  return json + "\n}";
}

std::string new_tokenizer_config(const SpecialTokens& special,
                                 const SubwordTokenizerOptions& options) {
  const auto language = [](const std::string& name) { return name.empty() ? Json() : Json(name); };
  const nlohmann::ordered_json config{
      {"clean_up_tokenization_spaces", false},
      {"eos_token", special.eos},
      {"model_max_length", options.model_max_length},
      {"pad_token", special.pad},
      {"separate_vocabs", false},
      {"source_lang", language(options.source_language)},
      {"sp_model_kwargs", Json::object()},
      {"target_lang", language(options.target_language)},
      {"tokenizer_class", "MarianTokenizer"},
      {"unk_token", special.unk},
  };
  return written(config);
}

std::string with_separate_vocabs(const std::string& config) {
  auto json =
      config.empty() ? nlohmann::ordered_json::object() : nlohmann::ordered_json::parse(config);
  json["separate_vocabs"] = true;
  return written(json);
}

}  // namespace attend::detail
