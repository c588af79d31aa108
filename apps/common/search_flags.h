#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "attend/translation/translator.h"
#include "common/choice.h"
#include "common/number_flag.h"

namespace attend::app {

/// Adds the search flags. Options that are not set are read from the model folder.
inline void add_search_options(CLI::App& app, TranslatorOptions& options) {
  constexpr double kMostPenalty = 10;
  add_number(app, "-b,--beam-size", options.beam_size, kBeamSizes,
             "Beam size; 1: greedy search; default: the folder's num_beams, or 5");
  add_number(app, "-n,--normalize", options.length_penalty,
             {.least = -kMostPenalty, .most = kMostPenalty},
             "Divide scores by length to this power; default: the folder's length_penalty, or 1");
  const std::map<std::string, EarlyStopping> endings{{"false", EarlyStopping::kFalse},
                                                     {"true", EarlyStopping::kTrue},
                                                     {"never", EarlyStopping::kNever}};
  app.add_option_function<std::string>(
         "--early-stopping",
         [&options, endings](const std::string& name) {
           options.early_stopping = endings.at(name);
         },
         "When to stop, as in Hugging Face's generate: true: at beam-size finished translations; "
         "false: when the best unfinished one scores no better; never: when none can still score "
         "better; default: the folder's, or false")
      ->check(one_of({"false", "true", "never"}));
  const std::map<std::string, WeightPrecision> precisions{{"fp32", WeightPrecision::kFloat32},
                                                          {"bf16", WeightPrecision::kBFloat16},
                                                          {"int8", WeightPrecision::kInt8}};
  app.add_option_function<std::string>(
         "--precision",
         [&options, precisions](const std::string& name) {
           options.precision = precisions.at(name);
         },
         "Of the weights, on the CPU; sums are float32; default: fp32")
      ->check(one_of({"fp32", "bf16", "int8"}));
}

}  // namespace attend::app
