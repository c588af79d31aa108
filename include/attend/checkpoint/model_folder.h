#pragma once

// For programs that keep models in files.

#include <torch/torch.h>

#include <filesystem>
#include <memory>
#include <string>

#include "attend/export.h"
#include "attend/file_error.h"
#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/models/vision_transformer.h"

namespace attend {

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `folder`, which is
/// created if needed. Each file is replaced atomically.
///
/// A post-norm `Seq2Seq` with Marian's sinusoidal positions is saved as `model_type: marian`, which
/// transformers' MarianMTModel.from_pretrained reads. If its shared embeddings have more tokens
/// than the target, `attend_target_vocab_size` is the number of target tokens, and the output bias
/// of all others is -1e9. No Hugging Face class reads other models: a `Seq2Seq` with other options
/// is saved as `attend_seq2seq`, with all layer options by name if Marian's keys cannot express
/// them, and a `RecurrentSeq2Seq` as `attend_recurrent_seq2seq`. Sinusoidal tables of more than
/// 2^24 elements are saved as well, since loading such a model requires them.
///
/// A `CausalLM` with GPT-2's or Llama's architecture is saved as `model_type: gpt2` or `llama`,
/// which transformers' GPT2LMHeadModel and LlamaForCausalLM read; any other as `attend_causal_lm`,
/// with all options by name. A `VisionTransformer` is saved as `vit`, which
/// ViTForImageClassification reads, or as `attend_vision_transformer`.
///
/// Throws: FileError with the path if a file cannot be written.
ATTEND_API void save_model(const std::filesystem::path& folder, Seq2SeqImpl& model);
ATTEND_API void save_model(const std::filesystem::path& folder, RecurrentSeq2SeqImpl& model);
ATTEND_API void save_model(const std::filesystem::path& folder, TranslationModel& model);
ATTEND_API void save_model(const std::filesystem::path& folder, CausalLMImpl& model);
ATTEND_API void save_model(const std::filesystem::path& folder, VisionTransformerImpl& model);

/// The architecture of a model folder, as named by its config.json: "marian", "llama", ...
/// Throws: FileError.
ATTEND_API std::string model_type(const std::filesystem::path& folder);

/// Whether `load_causal_lm` reads folders of this model_type.
ATTEND_API bool is_causal_lm(const std::string& model_type);

/// Loads a translation model folder, attend's own or MarianMT's, in evaluation mode, as float32 on
/// the CPU.
///
/// The weights are in `model.safetensors`, or else in the files that `model.safetensors.index.json`
/// lists. config.json is checked against their headers before memory is allocated. Sinusoidal
/// tables are not in the headers: they may have up to 2^24 elements, or as many as the weights.
///
/// Tied and derived tensors (embed_tokens, lm_head, sinusoidal embed_positions) may be in the file;
/// they must then equal the tensor they are tied to, or the computed values within the precision of
/// the file's dtype. Any other missing or unused tensor is an error, and so is a weight that is not
/// finite, except -infinity in `final_logits_bias`, which marks tokens that are never predicted.
///
/// Throws: FileError that names the file and up to ten tensors with errors, and the number of
///         others. Pickles (`pytorch_model.bin`) are never read.
ATTEND_API std::shared_ptr<TranslationModel> load_translation_model(
    const std::filesystem::path& folder);

/// The same for one architecture. Throws FileError if the folder has another one.
ATTEND_API Seq2Seq load_seq2seq(const std::filesystem::path& folder);
ATTEND_API RecurrentSeq2Seq load_recurrent_seq2seq(const std::filesystem::path& folder);

/// Loads a decoder-only language model in GPT-2's, Llama's or attend's own format, the first two
/// with or without their name prefix, in evaluation mode, as float32 on the CPU. Throws FileError
/// as above.
ATTEND_API CausalLM load_causal_lm(const std::filesystem::path& folder);

/// Loads a `VisionTransformer` in either format, in the same way.
ATTEND_API VisionTransformer load_vision_transformer(const std::filesystem::path& folder);

}  // namespace attend
