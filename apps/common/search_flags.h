#pragma once

#include <CLI/CLI.hpp>

#include "attend/translation/translator.h"
#include "common/number_flag.h"

namespace attend::app {

/// The flags of whoever translates: beam size and length penalty.
inline void add_search_options(CLI::App& app, TranslatorOptions& options) {
  constexpr double kMostPenalty = 10;
  add_number(app, "-b,--beam-size", options.beam_size, kBeamSizes, "Hypotheses kept; 1: greedy");
  add_number(app, "-n,--normalize", options.length_penalty,
             {.least = -kMostPenalty, .most = kMostPenalty},
             "Divide scores by length to this power");
}

}  // namespace attend::app
