#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "attend/data/parallel_text.h"
#include "attend/translation/translator.h"
#include "demo_corpus/grammar.h"

namespace attend::app {

/// Training options of the demo's translator.
struct DemoTraining {
  std::string model = "transformer";  // or recurrent
  int64_t vocab_size = 900;
  int64_t updates = 2200;
  uint64_t seed = 1;
  bool reload = true;  // resume from the folder's snapshot if there is one
};

/// The options of the demo's corpus.
DemoCorpusOptions demo_corpus();

/// Converts pairs to parallel text.
ParallelText demo_texts(const std::vector<DemoPair>& pairs);

/// Trains the demo's translator into a folder, or resumes. Returns at once if training is finished.
/// Progress goes to standard error.
/// Throws: c10::Error if interrupted by a signal; the same call resumes. FileError if another
///         process trains into the folder.
Translator train_demo(const std::filesystem::path& folder, const DemoTraining& training,
                      const DemoCorpus& corpus, torch::Device device);

}  // namespace attend::app
