#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "attend/data/parallel_text.h"
#include "attend/translation/translator.h"
#include "demo_corpus/grammar.h"

namespace attend::app {

/// How the demo's translator is trained.
struct DemoTraining {
  std::string model = "transformer";  // or recurrent
  int64_t vocab_size = 900;
  int64_t updates = 2200;
  uint64_t seed = 1;
  bool reload = true;  // go on from the folder's snapshot if it has one
};

/// The corpus that goes with it.
DemoCorpusOptions demo_corpus();

/// Both sides of sentence pairs.
ParallelText demo_texts(const std::vector<DemoPair>& pairs);

/// Trains the translator of the demo into a folder, or goes on where that stopped; does nothing
/// more where it is finished. Progress goes to standard error.
/// Throws: c10::Error if a signal stops it; the same call goes on. FileError where another process
///         trains into the folder.
Translator train_demo(const std::filesystem::path& folder, const DemoTraining& training,
                      const DemoCorpus& corpus, torch::Device device);

}  // namespace attend::app
