#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "attend/text/subword_training.h"
#include "common/model_choice.h"

namespace attend::app {

/// The options of the tokenizer's training.
struct SubwordChoice {
  SubwordTrainingOptions training;
  bool separate_vocabs = false, restrict_vocab = false;
  int64_t pairs = 100'000;  // most pairs to train on
};

/// The flags of the tokenizer and the model with their values; they cannot change when a run is
/// resumed.
nlohmann::ordered_json lasting_flags(const ModelChoice& model, const SubwordChoice& subwords);

/// Saves the flags in the folder of a new run.
void write_lasting_flags(const std::filesystem::path& folder, const nlohmann::ordered_json& flags);

/// Throws FileError that names each flag whose value differs from the saved one. If the folder has
/// no saved flags, compares those that config.json tells.
void check_lasting_flags(const std::filesystem::path& folder, const nlohmann::ordered_json& flags);

}  // namespace attend::app
