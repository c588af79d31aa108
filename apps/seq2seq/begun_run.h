#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "attend/text/subword_training.h"
#include "common/model_choice.h"

namespace attend::app {

/// How the subwords of a run are made.
struct SubwordChoice {
  SubwordTrainingOptions training;
  bool separate_vocabs = false, restrict_vocab = false;
  int64_t pairs = 100'000;  // that they are trained on, at most
};

/// The flags that cannot change once a run has begun, with their values: those of its tokenizer
/// and its model.
nlohmann::ordered_json lasting_flags(const ModelChoice& model, const SubwordChoice& subwords);

/// Saves them in the folder of a new run.
void write_lasting_flags(const std::filesystem::path& folder, const nlohmann::ordered_json& flags);

/// Throws FileError that names each flag whose value differs from the saved one. In a folder without
/// saved flags, those that config.json tells are compared.
void check_lasting_flags(const std::filesystem::path& folder, const nlohmann::ordered_json& flags);

}  // namespace attend::app
