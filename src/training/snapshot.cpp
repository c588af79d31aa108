#include "training/snapshot.h"

#include <fmt/format.h>

#include "attend/checkpoint/safetensors.h"
#include "attend/file_error.h"
#include "detail/named_tensors.h"

namespace attend::detail {
namespace {

using nlohmann::json;

constexpr auto kWeights = "weights.", kAverage = "average.", kOptimizer = "optimizer.";

// The tensors whose names start with `prefix`, without it.
TensorMap part_of(const TensorFile& file, const std::string& prefix) {
  TensorMap part;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  }
  return part;
}

// "model: encoder heads" of "/model/encoder heads".
std::string name_of(const std::string& pointer) {
  auto name = pointer.substr(1);
  if (const auto slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, ": ");
  return name;
}

void add_part(TensorFile& file, const std::string& prefix, const TensorMap& part) {
  for (const auto& [name, tensor] : part) file.tensors[prefix + name] = tensor;
}

}  // namespace

void write_snapshot(const std::filesystem::path& path, const Snapshot& snapshot) {
  TensorFile file;
  add_part(file, kWeights, snapshot.weights);
  add_part(file, kOptimizer, snapshot.optimizer);
  add_part(file, kAverage, snapshot.average);
  file.metadata = {{"format", "attend training snapshot 3"},
                   {"identity", snapshot.identity.dump()},
                   {"state", snapshot.state.dump()}};
  write_safetensors(path, file);
}

Snapshot read_snapshot(const std::filesystem::path& path, const json& identity) {
  const auto file = read_safetensors(path);
  Snapshot snapshot;
  try {
    snapshot.identity = json::parse(file.metadata.at("identity"));
    snapshot.state = json::parse(file.metadata.at("state"));
    // Written before there was such a thing, or before it was said.
    if (!snapshot.identity.contains("bpe_dropout")) snapshot.identity["bpe_dropout"] = 0.0;
    if (!snapshot.identity.contains("model")) {
      snapshot.identity["model"] = identity.value("model", json::object());
    }
    const auto ours = identity.flatten(), theirs = snapshot.identity.flatten();
    for (const auto& [key, value] : ours.items()) {
      const auto found = theirs.find(key);
      if (found != theirs.end() && *found == value) continue;
      throw FileError(path, fmt::format("expected a run with the same {} ({}), got {}; train into "
                                        "another folder or start again with --no-reload",
                                        name_of(key), value.dump(),
                                        found == theirs.end() ? "none" : found->dump()));
    }
  } catch (const std::out_of_range&) {
    throw FileError(path, "expected a training snapshot, got another safetensors file");
  } catch (const json::exception& error) {
    throw FileError(path, fmt::format("expected a training snapshot, got {}", error.what()));
  }
  snapshot.weights = part_of(file, kWeights);
  snapshot.optimizer = part_of(file, kOptimizer);
  snapshot.average = part_of(file, kAverage);
  return snapshot;
}

TensorMap weights_of(const torch::nn::Module& module) { return named_parameters(module); }

void copy_weights(const std::filesystem::path& path, const TensorMap& weights,
                  const TensorMap& own) {
  fill_all(own, weights, "model", [&](const std::string& problems) {
    throw FileError(path, "expected the weights of the model, got " + problems);
  });
}

}  // namespace attend::detail
