#pragma once

// For programs that keep models in files.

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <string>

#include "attend/export.h"
#include "attend/file_error.h"

namespace attend {

/// The content of a safetensors file: tensors and metadata, both by name.
struct ATTEND_API TensorFile {
  std::map<std::string, torch::Tensor> tensors;
  std::map<std::string, std::string> metadata;  // `__metadata__`; Hugging Face wants format = pt
};

/// Reads a safetensors file into CPU tensors, each of which owns its memory.
///
/// Source:  https://github.com/huggingface/safetensors, section Format.
/// Returns: contiguous tensors without gradients, in the dtypes of the file.
/// Throws:  FileError with the path and, where one is to blame, the tensor, if the file cannot be
///          read or breaks a rule of the format: header length, JSON, duplicate names, dtypes,
///          shapes, offsets that leave holes, overlap or miss the file's end. A pickled PyTorch
///          file is refused by name: pickles are never read.
/// Note:    a copy rather than a memory map, so a file that shrinks meanwhile is an error and not a
///          SIGBUS, and replacing the file never changes a loaded model. Nothing larger than the
///          file itself is allocated for tensors.
ATTEND_API TensorFile read_safetensors(const std::filesystem::path& path);

/// Writes a safetensors file atomically: an existing file at `path` is replaced only when the new
/// one is complete on disk.
///
/// Tensors may be on any device, non-contiguous, views of one storage (each is written in full) or
/// part of an autograd graph. The bytes equal those of the safetensors library for the same input:
/// tensors ordered by dtype, widest first, then by name, so that each one is aligned.
///
/// Throws: FileError if writing fails, without leaving a temporary file; c10::Error for a tensor
///         that is undefined, not dense or of a dtype that the format lacks; c10::ValueError for a
///         tensor named `__metadata__` or text that is not UTF-8.
ATTEND_API void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace attend
