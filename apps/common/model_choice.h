#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/translation/bleu.h"
#include "common/choice.h"

namespace attend::app {

/// The architecture to train.
struct ModelChoice {
  std::string kind = "transformer";  // or recurrent
  int64_t embed_dim = 256;           // E
  int64_t heads = 4;                 // this and all below except dropout: Transformer only
  int64_t encoder_layers = 3;
  int64_t decoder_layers = 3;
  int64_t ffn_dim = 1024;
  double dropout = 0.1;
  double attention_dropout = 0.0;
  double activation_dropout = 0.0;
  std::string activation = "relu";
  bool pre_norm = false;
  int64_t max_positions = 512;
};

void add_model_choice(CLI::App& app, ModelChoice& choice);

/// A new model with random weights for a tokenizer's vocabulary.
std::shared_ptr<TranslationModel> make_model(const ModelChoice& choice,
                                             const SubwordTokenizer& tokenizer);

/// The command-line names of the BLEU tokenizers.
Choices<BleuTokenizer> bleu_tokenizers();

}  // namespace attend::app
