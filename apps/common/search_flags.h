#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "attend/translation/translator.h"
#include "common/choice.h"
#include "common/number_flag.h"

namespace attend::app {

inline constexpr NumberRange<int64_t> kTokenCounts{.least = 0, .most = 1'000'000};

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
  constexpr double kMostRepetition = 100;
  add_number(
      app, "--repetition-penalty", options.repetition_penalty,
      {.least = 0, .most = kMostRepetition, .without_least = true},
      "Makes tokens that a translation has already less likely; 1: off; as in Hugging Face's "
      "generate; default: the folder's, or 1");
  add_number(app, "--no-repeat-ngram-size", options.no_repeat_ngram_size, kTokenCounts,
             "No n tokens in a row twice in a translation; 0: off; default: the folder's, or 0");
  add_number(app, "--min-length", options.min_length, kTokenCounts,
             "Least target tokens, the start token counted; default: the folder's, or 0");
  const std::map<std::string, WeightPrecision> precisions{{"fp32", WeightPrecision::kFloat32},
                                                          {"bf16", WeightPrecision::kBFloat16},
                                                          {"int8", WeightPrecision::kInt8}};
  auto* const graphed = app.add_flag(
      "--graphed", options.graphed,
      "Replay each step of decoding as a CUDA graph, on a CUDA device; no GPU has run it so far");
  app.add_option_function<std::string>(
         "--precision",
         [&options, precisions](const std::string& name) {
           options.precision = precisions.at(name);
         },
         "Of the weights, on the CPU; sums are float32; default: fp32")
      ->check(one_of({"fp32", "bf16", "int8"}))
      ->excludes(graphed);
}

/// Adds --shortlist [FILE [FIRST BEST]], as Marian has it.
inline void add_shortlist(CLI::App& app, TranslatorOptions& options) {
  static constexpr auto kFlag = "--shortlist";
  static constexpr NumberRange<int64_t> kTokens{.least = 0, .most = 10'000'000};
  app.add_option_function<std::vector<std::string>>(
         kFlag,
         [&options](std::vector<std::string> values) {
           std::erase(values, "");  // what CLI11 gives for none
           auto& shortlist = options.shortlist.emplace();
           if (!values.empty()) shortlist.file = values[0];
           if (values.size() > 1) shortlist.frequent = parse_number(kFlag, values[1], kTokens);
           if (values.size() > 2) shortlist.best = parse_number(kFlag, values[2], kTokens);
         },
         "Choose among the tokens that a lexicon gives for the source: FIRST (100) for every "
         "source "
         "and the BEST (100) for each of its tokens; default FILE: the folder's lex.s2t, which "
         "train "
         "--shortlist makes")
      ->expected(0, 3)
      ->type_name("[FILE [FIRST [BEST]]]");
}

}  // namespace attend::app
