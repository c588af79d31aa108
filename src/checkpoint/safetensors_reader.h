#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace attend::detail {

/// What a safetensors header says of a tensor.
struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;  // its bytes, from the end of the header
};

class SafetensorsInput;

/// A safetensors file that is open, with its header read and checked. What it holds is known before
/// any memory is given for it.
class SafetensorsReader {
 public:
  /// Throws: FileError, as `read_safetensors` says.
  explicit SafetensorsReader(const std::filesystem::path& path);
  ~SafetensorsReader();
  SafetensorsReader(SafetensorsReader&& other) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&& other) noexcept;

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }

  /// The tensor of this name, which must be one of `tensors()`.
  torch::Tensor read(const std::string& name) const;

 private:
  std::unique_ptr<SafetensorsInput> file_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, TensorInfo> tensors_;
  uint64_t data_start_ = 0;  // where the header ends, in bytes
};

}  // namespace attend::detail
