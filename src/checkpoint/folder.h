#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "attend/models/incremental_model.h"
#include "checkpoint/weights.h"
#include "detail/json_file.h"

namespace attend::detail {

/// Writes the JSON files and `model.safetensors` of a model folder, which is made if need be.
void write_folder(const std::filesystem::path& folder,
                  const std::vector<std::pair<std::string, nlohmann::json>>& files,
                  const NamedTensors& weights);

/// The same for a model that translates, with a generation_config.json with which Hugging Face's
/// `generate` answers as Translator does. Decoding here reads the ids from config.json.
void write_translation_folder(const std::filesystem::path& folder, const nlohmann::json& config,
                              const TranslationModel& model, const NamedTensors& weights);

/// Says that a folder holds another architecture than one of those that are `known`.
[[noreturn]] void refuse_model_type(const JsonFile& config, const std::string& known);

/// What `check` says about options that come from a file is that file's fault.
template <typename Check>
auto check_options(const std::filesystem::path& config, const Check& check) {
  try {
    return check();
  } catch (const c10::Error& error) {
    throw FileError(config, error.what_without_backtrace());
  }
}

/// A module made from options that come from a file.
template <typename Holder, typename Options>
Holder build(const std::filesystem::path& config, const Options& options) {
  return check_options(config, [&] { return Holder(options); });
}

}  // namespace attend::detail
