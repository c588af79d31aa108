#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace attend::detail {

/// A tensor's entry in a safetensors header.
struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;  // byte range, relative to the end of the header
};

class SafetensorsInput;

/// An open safetensors file whose header has been read and checked. The header lists the tensors,
/// so they can be checked before memory is allocated for them.
class SafetensorsReader {
 public:
  /// Throws: FileError as `read_safetensors` does.
  explicit SafetensorsReader(const std::filesystem::path& path);
  ~SafetensorsReader();
  SafetensorsReader(SafetensorsReader&& other) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&& other) noexcept;

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }

  /// The tensor of this name, which must be in `tensors()`.
  torch::Tensor read(const std::string& name) const;

 private:
  std::unique_ptr<SafetensorsInput> file_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, TensorInfo> tensors_;
  uint64_t data_start_ = 0;  // offset of the end of the header, in bytes
};

}  // namespace attend::detail
