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

/// The flags that a run has from its beginning to its end, with their values: its tokenizer and its model are made by
/// them once.
nlohmann::ordered_json lasting_flags(const ModelChoice& model, const SubwordChoice& subwords);

/// Keeps them in the folder of a run that begins.
void write_lasting_flags(const std::filesystem::path& folder, const nlohmann::ordered_json& flags);

/// Throws FileError that names each flag which is not as it was when the folder's run began. Of a folder from before
/// flags were kept, those are compared that its config.json tells.
void check_lasting_flags(const std::filesystem::path& folder, const nlohmann::ordered_json& flags);

}  // namespace attend::app
