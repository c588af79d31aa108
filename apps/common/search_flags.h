#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "attend/translation/translator.h"
#include "common/number_flag.h"

namespace attend::app {

/// The flags of a search. What is not given is read from the model folder.
inline void add_search_options(CLI::App& app, TranslatorOptions& options) {
  constexpr double kMostPenalty = 10;
  add_number(app, "-b,--beam-size", options.beam_size, kBeamSizes,
             "Hypotheses kept; 1: greedy; default: the folder's num_beams, or 5");
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
         "When a search ends, in Hugging Face's words: true, as soon as the beam is full of "
         "finished translations; false, when none better is in sight; never, when none better is "
         "possible; default: the folder's, or false")
      ->check(CLI::IsMember({"false", "true", "never"}));
}

}  // namespace attend::app
