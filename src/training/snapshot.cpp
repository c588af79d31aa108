#include "training/snapshot.h"

#include <fmt/format.h>

#include "attend/checkpoint/safetensors.h"
#include "attend/file_error.h"
#include "detail/excerpt.h"
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

json json_of(const TrainingState& s) {
  return {{"update", s.update},   {"epoch", s.at.epoch},  {"pool", s.at.pool},
          {"batch", s.at.batch},  {"epochs", s.epochs},   {"sentences", s.examples},
          {"elapsed", s.elapsed}, {"stalled", s.stalled}, {"best", s.best}};
}

TrainingState state_of(const json& state) {
  return {.update = state.at("update"),
          .at = {state.at("epoch"), state.at("pool"), state.at("batch")},
          .epochs = state.at("epochs"),
          .examples = state.at("sentences"),
          .elapsed = state.at("elapsed"),
          .stalled = state.at("stalled"),
          .best = state.at("best")};
}

// `theirs` is a file's, and may be anything.
void check_identity(const std::filesystem::path& path, const json& ours, json theirs) {
  // Snapshots of earlier versions lack these two.
  if (!theirs.contains("bpe_dropout")) theirs["bpe_dropout"] = 0.0;
  if (!theirs.contains("model")) theirs["model"] = ours.value("model", json::object());
  const auto wanted = ours.flatten(), flat = theirs.flatten();
  const auto refuse = [&](const std::string& key, const std::string& own, const std::string& got) {
    throw FileError(path, fmt::format("expected a run with the same {} ({}), got {}; train into "
                                      "another folder or start again with --no-reload",
                                      name_of(key), own, got));
  };
  for (const auto& [key, value] : wanted.items()) {
    const auto found = flat.find(key);
    if (found == flat.end()) refuse(key, brief(value), "none");
    if (*found != value) refuse(key, brief(value), brief(*found));
  }
  // A model says what differs from the default, so what it does not say counts as well.
  for (const auto& [key, value] : flat.items()) {
    if (key.starts_with("/model/") && !wanted.contains(key)) refuse(key, "none", brief(value));
  }
}

}  // namespace

void Snapshot::write(const std::filesystem::path& path) const {
  TensorFile file;
  add_part(file, kWeights, weights);
  add_part(file, kOptimizer, optimizer);
  add_part(file, kAverage, average);
  file.metadata = {{"format", "attend training snapshot 3"},
                   {"identity", identity.dump()},
                   {"state", json_of(state).dump()}};
  write_safetensors(path, file);
}

Snapshot Snapshot::read(const std::filesystem::path& path, const json& identity) {
  const auto file = read_safetensors(path);
  Snapshot snapshot;
  snapshot.identity = identity;
  try {
    check_identity(path, identity, json::parse(file.metadata.at("identity")));
    snapshot.state = state_of(json::parse(file.metadata.at("state")));
  } catch (const std::out_of_range&) {
    throw FileError(path, "expected a training snapshot, got another safetensors file");
  } catch (const json::exception& error) {
    throw FileError(path,
                    fmt::format("expected a training snapshot, got {}", excerpt(error.what())));
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
