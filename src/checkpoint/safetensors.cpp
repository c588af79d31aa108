#include "attend/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "checkpoint/safetensors_format.h"
#include "checkpoint/safetensors_reader.h"
#include "detail/atomic_file.h"
#include "detail/excerpt.h"

namespace attend {
namespace {

using detail::in_quotes;
using detail::kLengthBytes;
using detail::kMaxHeaderBytes;
using detail::kMetadataKey;
using detail::kSafetensorsDtypes;
using detail::SafetensorsDtype;
using nlohmann::json;

struct Output {
  const std::string* name;
  const torch::Tensor* tensor;
  const SafetensorsDtype* dtype;
};

Output check_output(const std::string& name, const torch::Tensor& tensor) {
  constexpr auto kWho = "write_safetensors: expected tensor ";
  TORCH_CHECK_VALUE(name != kMetadataKey, kWho, "names other than ", kMetadataKey,
                    ", which the format reserves, got it");
  TORCH_CHECK(tensor.defined(), kWho, in_quotes(name), " to be defined, got an undefined one");
  TORCH_CHECK(tensor.layout() == at::kStrided && !tensor.is_meta() && !tensor.is_nested(), kWho,
              in_quotes(name), " to be dense, got ", tensor.toString());
  const auto* dtype = std::find_if(
      kSafetensorsDtypes.begin(), kSafetensorsDtypes.end(),
      [&](const SafetensorsDtype& known) { return known.scalar_type == tensor.scalar_type(); });
  TORCH_CHECK(dtype != kSafetensorsDtypes.end(), kWho, in_quotes(name), " of dtype ",
              detail::safetensors_dtype_names(), ", got ", tensor.scalar_type());
  return {&name, &tensor, dtype};
}

std::string strict_json(const std::string& text) try {
  return json(text).dump();
} catch (const json::exception&) {
  TORCH_CHECK_VALUE(false, "write_safetensors: expected names and metadata in UTF-8, got ",
                    in_quotes(text));
}

std::string header_text(const std::vector<Output>& outputs,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    std::vector<std::string> lines;
    for (const auto& [key, value] : metadata) {
      lines.push_back(fmt::format("{}:{}", strict_json(key), strict_json(value)));
    }
    members.push_back(fmt::format("\"{}\":{{{}}}", kMetadataKey, fmt::join(lines, ",")));
  }
  size_t begin = 0;
  for (const auto& [name, tensor, dtype] : outputs) {
    const auto end = begin + tensor->numel() * c10::elementSize(dtype->scalar_type);
    const auto sizes = tensor->sizes();
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  strict_json(*name), dtype->name,
                                  fmt::join(sizes.begin(), sizes.end(), ","), begin, end));
    begin = end;
  }
  auto text = fmt::format("{{{}}}", fmt::join(members, ","));
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');  // aligns data
  TORCH_CHECK_VALUE(text.size() <= kMaxHeaderBytes,
                    "write_safetensors: expected a header of at most ", kMaxHeaderBytes,
                    " bytes, got ", text.size());
  return text;
}

}  // namespace

TensorFile read_safetensors(const std::filesystem::path& path) {
  const detail::SafetensorsReader file(path);
  TensorFile result;
  result.metadata = file.metadata();
  for (const auto& [name, info] : file.tensors()) result.tensors.emplace(name, file.read(name));
  return result;
}

void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  std::vector<Output> outputs;
  for (const auto& [name, tensor] : file.tensors) outputs.push_back(check_output(name, tensor));
  // Sort by dtype. The sort is stable and the map is ordered, so names stay sorted within a dtype.
  std::stable_sort(outputs.begin(), outputs.end(), [](const Output& left, const Output& right) {
    return left.dtype < right.dtype;
  });
  const auto header = header_text(outputs, file.metadata);

  detail::AtomicFile output(path);
  const uint64_t length = header.size();
  output.write({reinterpret_cast<const char*>(&length), kLengthBytes});
  output.write(header);
  for (const auto& [name, tensor, dtype] : outputs) {
    // The memory of a conjugated or negated view does not hold the view's values; resolve them.
    const auto dense = tensor->detach().resolve_conj().resolve_neg().cpu().contiguous();
    output.write({static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()});
  }
  output.commit();
}

}  // namespace attend
