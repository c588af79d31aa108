#include "checkpoint/folder.h"

#include "attend/checkpoint/safetensors.h"
#include "detail/atomic_file.h"
#include "detail/excerpt.h"

namespace attend::detail {

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

void refuse_model_type(const JsonFile& config, const std::string& known) {
  throw FileError(config.path(), fmt::format("expected model_type {}, got {}", known,
                                             in_quotes(config.get<std::string>("model_type"))));
}

}  // namespace attend::detail
