#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "attend/training/trainer_options.h"
#include "attend/training/worker_group.h"
#include "begun_run.h"
#include "common/machine.h"
#include "common/model_choice.h"

namespace attend::app {

/// The options of `train`.
struct TrainOptions {
  std::filesystem::path model_dir;
  std::vector<std::filesystem::path> train_sets, valid_sets;
  ModelChoice model;
  SubwordChoice subwords;
  TrainerOptions trainer;
  int64_t worker_timeout = WorkerGroup::kTimeout.count();
  MachineOptions machine;
  bool shortlist = false;  // learn a lexicon in the end
};

/// Adds the flags of `train`; parsing writes their values into `options`.
void add_train_flags(CLI::App& app, TrainOptions& options);

}  // namespace attend::app
