#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "attend/models/incremental_model.h"
#include "checkpoint/weights.h"
#include "detail/json_file.h"
#include "modules/initial_weights.h"

namespace attend::detail {

/// Writes the JSON files and `model.safetensors` of a model folder. Creates the folder if needed.
void write_folder(const std::filesystem::path& folder,
                  const std::vector<std::pair<std::string, nlohmann::json>>& files,
                  const NamedTensors& weights);

/// The same for a translation model, with a generation_config.json that makes Hugging Face's
/// `generate` give the same results as Translator. attend itself reads the ids from config.json.
void write_translation_folder(const std::filesystem::path& folder, const nlohmann::json& config,
                              const TranslationModel& model, const NamedTensors& weights);

/// Throws FileError: the folder's model_type is not one of the `known` ones.
[[noreturn]] void refuse_model_type(const JsonFile& config, const std::string& known);

/// Runs `check` on options read from a file; reports its errors as a FileError of that file.
template <typename Check>
auto check_options(const std::filesystem::path& config, const Check& check) {
  try {
    return check();
  } catch (const c10::Error& error) {
    throw FileError(config, error.what_without_backtrace());
  }
}

/// Constructs a module from options read from a file. Its weights are to be filled.
template <typename Holder, typename Options>
Holder build(const std::filesystem::path& config, const Options& options) {
  const WeightsComeLater guard;
  return check_options(config, [&] { return Holder(options); });
}

}  // namespace attend::detail
