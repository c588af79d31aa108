#include "checkpoint/folder.h"

#include "attend/checkpoint/safetensors.h"
#include "detail/atomic_file.h"
#include "detail/excerpt.h"

namespace attend::detail {

using nlohmann::json;

void write_folder(const std::filesystem::path& folder,
                  const std::vector<std::pair<std::string, nlohmann::json>>& files,
                  const NamedTensors& weights) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw FileError(folder, "cannot make the folder: " + failed.message());
  for (const auto& [name, content] : files) {
    write_file_atomically(folder / name, content.dump(2) + "\n");
  }
  TensorFile file;
  file.tensors = weights;
  file.metadata["format"] = "pt";
  write_safetensors(folder / "model.safetensors", file);
}

void write_translation_folder(const std::filesystem::path& folder, const nlohmann::json& config,
                              const TranslationModel& model, const NamedTensors& weights) {
  const auto [start, eos, pad] = model.special_tokens();
  auto never_chosen = json::array({json::array({pad})});
  if (start != pad && start != eos) never_chosen.push_back(json::array({start}));
  const json generation{{"bad_words_ids", never_chosen},
                        {"bos_token_id", eos},
                        {"decoder_start_token_id", start},
                        {"early_stopping", false},
                        {"eos_token_id", eos},
                        {"forced_eos_token_id", eos},
                        {"length_penalty", 1.0},
                        {"max_length", model.max_target_length()},
                        {"num_beams", 5},
                        {"pad_token_id", pad}};
  write_folder(folder, {{"config.json", config}, {"generation_config.json", generation}}, weights);
}

void refuse_model_type(const JsonFile& config, const std::string& known) {
  throw FileError(config.path(), fmt::format("expected model_type {}, got {}", known,
                                             in_quotes(config.get<std::string>("model_type"))));
}

}  // namespace attend::detail
