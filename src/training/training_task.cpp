#include "attend/training/training_task.h"

#include <fmt/format.h>

#include "attend/checkpoint/safetensors.h"
#include "training/snapshot.h"

namespace attend {

bool TrainingTask::is_better(const std::string& /*metric*/, double score, double best) const {
  return score < best;
}

void TrainingTask::save(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  TensorFile file;
  file.tensors = detail::weights_of(module());
  write_safetensors(folder / "model.safetensors", file);
}

std::string TrainingTask::describe(const std::vector<size_t>& examples) const {
  return fmt::format("first example of {} is number {}", examples.size(), examples.front());
}

}  // namespace attend
