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
/// made if need be. Each file is replaced whole or not at all.
///
/// A post-norm `Seq2Seq` with Marian's sinusoids is written as `model_type: marian`, exactly what
/// transformers' MarianMTModel.from_pretrained reads. Where its shared embeddings serve a target of
/// fewer tokens, `attend_target_vocab_size` says how many, and the bias of all other outputs is
/// -1e9. What no Hugging Face class reads is written as `attend_seq2seq`, with every option of its
/// layers by name where Marian's keys do not say them, or `attend_recurrent_seq2seq`. Tables of
/// sinusoids with more than 2^24 elements are written too, or reading would not believe in them.
///
/// A `CausalLM` is written as `model_type: gpt2` or `llama` where it is of that architecture, which
/// transformers' GPT2LMHeadModel and LlamaForCausalLM read, else as `attend_causal_lm`, with every
/// option by name. A `VisionTransformer` is written as `vit`, which ViTForImageClassification reads,
/// or as `attend_vision_transformer`.
///
/// Throws: FileError with the path if the system refuses.
ATTEND_API void save_model(const std::filesystem::path& folder, Seq2SeqImpl& model);
ATTEND_API void save_model(const std::filesystem::path& folder, RecurrentSeq2SeqImpl& model);
ATTEND_API void save_model(const std::filesystem::path& folder, TranslationModel& model);
ATTEND_API void save_model(const std::filesystem::path& folder, CausalLMImpl& model);
ATTEND_API void save_model(const std::filesystem::path& folder, VisionTransformerImpl& model);

/// The architecture that a model folder holds, as its config.json names it: "marian", "llama", ...
/// Throws: FileError.
ATTEND_API std::string model_type(const std::filesystem::path& folder);

/// Whether `load_causal_lm` reads folders of this model_type.
ATTEND_API bool is_causal_lm(const std::string& model_type);

/// Reads a model folder of attend's or a MarianMT one, in evaluation mode, as float32 on the CPU.
///
/// The weights are in `model.safetensors` or, where there is none, in the files that
/// `model.safetensors.index.json` lists. What config.json says is compared with their headers before
/// any memory is given. Sinusoids are in no header: a table of them may have 2^24 elements, or as
/// many as the weights.
///
/// Tied and derived tensors (embed_tokens, lm_head, sinusoidal embed_positions) may be in the file
/// and must then equal what they are tied to, or what is derived, as far as the file's dtype goes;
/// any other missing or unused tensor is an error. So is a weight that is not finite, but for
/// -infinity in `final_logits_bias`: such an output is never predicted.
///
/// Throws: FileError that names the file and, where it applies, the tensors at fault: ten of them,
///         and how many more there are. Pickles (`pytorch_model.bin`) are never read.
ATTEND_API std::shared_ptr<TranslationModel> load_translation_model(
    const std::filesystem::path& folder);

/// The same for one architecture: FileError if the folder holds another.
ATTEND_API Seq2Seq load_seq2seq(const std::filesystem::path& folder);
ATTEND_API RecurrentSeq2Seq load_recurrent_seq2seq(const std::filesystem::path& folder);

/// Reads the folder of a decoder-only language model (GPT-2's, Llama's or attend's own form), the
/// first two with or without the prefix of their names, in evaluation mode, as float32 on the CPU.
/// Throws FileError as above.
ATTEND_API CausalLM load_causal_lm(const std::filesystem::path& folder);

/// Reads the folder of a `VisionTransformer`, of either form, likewise.
ATTEND_API VisionTransformer load_vision_transformer(const std::filesystem::path& folder);

}  // namespace attend
