#include "checkpoint/safetensors_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "attend/file_error.h"
#include "checkpoint/safetensors_format.h"
#include "detail/check.h"
#include "detail/excerpt.h"
#include "detail/utf8.h"

namespace attend::detail {

/// The open file, with error messages that name it.
class SafetensorsInput {
 public:
  explicit SafetensorsInput(const std::filesystem::path& path) : path_(path) {
    // O_NONBLOCK: otherwise opening a FIFO without a writer would block.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) fail(fmt::format("cannot open: {}", reason()));
    struct stat status {};
    const bool known = ::fstat(descriptor_, &status) == 0;
    if (!known || !S_ISREG(status.st_mode)) {
      const auto problem = known ? "expected a regular file, got a folder or a special file"
                                 : fmt::format("cannot open: {}", reason());
      ::close(descriptor_);
      fail(problem);
    }
    size_ = static_cast<uint64_t>(status.st_size);
  }
  ~SafetensorsInput() { ::close(descriptor_); }
  SafetensorsInput(const SafetensorsInput&) = delete;
  SafetensorsInput& operator=(const SafetensorsInput&) = delete;

  uint64_t size() const { return size_; }

  void read(uint64_t offset, void* target, uint64_t count) const {
    auto* bytes = static_cast<char*>(target);
    while (count > 0) {
      const auto got = ::pread(descriptor_, bytes, count, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(fmt::format("cannot read: {}", reason()));
      if (got == 0) fail(fmt::format("expected {} bytes, got the file's end at {}", size_, offset));
      bytes += got;
      offset += static_cast<uint64_t>(got);
      count -= static_cast<uint64_t>(got);
    }
  }

  [[noreturn]] void fail(const std::string& problem) const { throw FileError(path_, problem); }

  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    fail(fmt::format("tensor {}: {}", in_quotes(tensor), problem));
  }

 private:
  static std::string reason() { return std::generic_category().message(errno); }

  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

namespace {

using nlohmann::json;

constexpr size_t kMaxDimensions = 64;  // ATen's own limit for most operators
constexpr int kMaxDepth = 8;           // nesting of the JSON header; the format needs 3

// Guesses the format of a file that does not start like a safetensors file.
std::optional<std::string> foreign_format(std::string_view start) {
  constexpr auto kNever =
      "expected a safetensors file, got a pickled PyTorch file{}; pickles can run code and are "
      "never read: save the weights as safetensors";
  if (start.starts_with("PK\x03\x04")) return fmt::format(kNever, " (zip archive)");
  if (start.size() >= 2 && start[0] == '\x80' && start[1] >= 1 && start[1] <= 5) {
    return fmt::format(kNever, "");
  }
  if (start.starts_with("version ")) {
    return "expected a safetensors file, got text, perhaps a Git LFS pointer whose file was not "
           "fetched";
  }
  return std::nullopt;
}

std::string read_header_text(const SafetensorsInput& file) {
  std::string start(std::min<uint64_t>(file.size(), kLengthBytes + 1), '\0');
  file.read(0, start.data(), start.size());

  uint64_t length = 0;
  std::string problem;
  if (start.size() < kLengthBytes) {
    problem =
        fmt::format("expected 8 bytes of header length, got a file of {} bytes", start.size());
  } else {
    std::memcpy(&length, start.data(), kLengthBytes);
    if (length > kMaxHeaderBytes) {
      problem = fmt::format("expected a header of at most {} bytes, got length {}", kMaxHeaderBytes,
                            length);
    } else if (length > file.size() - kLengthBytes) {
      problem =
          fmt::format("expected a header of {} bytes, got a file of {} bytes", length, file.size());
    } else if (length == 0 || start.back() != '{') {
      problem = "expected a header that is a JSON object and begins with {, got " +
                (length == 0 ? "an empty header" : in_quotes(start.substr(kLengthBytes)));
    }
  }
  // Checked last, because a valid length can look like the first bytes of a pickle.
  if (!problem.empty()) file.fail(foreign_format(start).value_or(problem));

  std::string text(length, '\0');
  file.read(kLengthBytes, text.data(), length);
  return text;
}

// The parser itself accepts duplicate keys and any nesting depth.
json parse_header(const SafetensorsInput& file, const std::string& text) {
  std::vector<std::set<std::string>> names;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) file.fail("expected a header without deep nesting, got more levels");
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& name = value.get_ref<const std::string&>();
      if (!names.back().insert(name).second) {
        file.fail(
            fmt::format("expected different names in the header, got {} twice", in_quotes(name)));
      }
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    file.fail("expected a header in JSON, got " + excerpt(error.what()));
  }
}

std::map<std::string, std::string> read_metadata(const SafetensorsInput& file, const json& value) {
  if (!value.is_object()) {
    file.fail(fmt::format("expected {} to be an object, got {}", kMetadataKey, value.type_name()));
  }
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      file.fail(fmt::format("expected {} to hold strings, got {} for {}", kMetadataKey,
                            text.type_name(), in_quotes(key)));
    }
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

const json& member(const SafetensorsInput& file, const std::string& name, const json& info,
                   const char* key) {
  const auto found = info.find(key);
  if (found == info.end()) file.fail(name, fmt::format("expected a field {}, got none", key));
  return *found;
}

const SafetensorsDtype* read_dtype(const SafetensorsInput& file, const std::string& name,
                                   const json& value) {
  if (!value.is_string()) {
    file.fail(name, fmt::format("expected dtype to be a string, got {}", value.type_name()));
  }
  const auto& text = value.get_ref<const std::string&>();
  const auto* dtype =
      std::find_if(kSafetensorsDtypes.begin(), kSafetensorsDtypes.end(),
                   [&](const SafetensorsDtype& known) { return known.name == text; });
  if (dtype == kSafetensorsDtypes.end()) {
    file.fail(name, fmt::format("expected dtype to be one of {}, got {}", safetensors_dtype_names(),
                                in_quotes(text)));
  }
  return dtype;
}

std::vector<int64_t> read_integers(const SafetensorsInput& file, const std::string& name,
                                   const char* key, const json& value) {
  if (!value.is_array()) {
    file.fail(name, fmt::format("expected {} to be an array, got {}", key, value.type_name()));
  }
  if (value.size() > kMaxDimensions) {
    file.fail(name, fmt::format("expected {} to have at most {} elements, got {}", key,
                                kMaxDimensions, value.size()));
  }
  std::vector<int64_t> integers;
  for (const auto& element : value) {
    constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
    if (!element.is_number_unsigned() || element.get<uint64_t>() > kMax) {
      file.fail(name, fmt::format("expected {} to hold integers from 0 to {}, got {}", key, kMax,
                                  element.is_structured() ? element.type_name() : element.dump()));
    }
    integers.push_back(element.get<int64_t>());
  }
  return integers;
}

// The size of a tensor in bytes. The overflow check counts sizes of 0 as 1, as strides do.
uint64_t byte_count(const SafetensorsInput& file, const std::string& name,
                    const SafetensorsDtype& dtype, const std::vector<int64_t>& shape) {
  auto bytes = static_cast<int64_t>(c10::elementSize(dtype.scalar_type));
  bool empty = false;
  for (const auto size : shape) {
    empty |= size == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes)) {
      file.fail(name, fmt::format("expected a shape of fewer than 2^63 bytes, got {}",
                                  shape_string(shape)));
    }
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

TensorInfo read_entry(const SafetensorsInput& file, const std::string& name, const json& info,
                      uint64_t data_bytes) {
  if (!info.is_object()) {
    file.fail(name, fmt::format("expected an object, got {}", info.type_name()));
  }
  const auto* dtype = read_dtype(file, name, member(file, name, info, "dtype"));
  auto shape = read_integers(file, name, "shape", member(file, name, info, "shape"));
  const auto offsets =
      read_integers(file, name, "data_offsets", member(file, name, info, "data_offsets"));
  if (offsets.size() != 2) {
    file.fail(name, fmt::format("expected 2 data_offsets, got {}", offsets.size()));
  }
  const auto begin = static_cast<uint64_t>(offsets[0]), end = static_cast<uint64_t>(offsets[1]);
  if (begin > end || end > data_bytes) {
    file.fail(name, fmt::format("expected data_offsets in order and within {} bytes of data, got "
                                "[{}, {}]",
                                data_bytes, begin, end));
  }
  const auto expected = byte_count(file, name, *dtype, shape);
  if (end - begin != expected) {
    file.fail(name, fmt::format("expected {} bytes for {} {}, got data_offsets [{}, {}]", expected,
                                dtype->name, shape_string(shape), begin, end));
  }
  return {.dtype = dtype->scalar_type, .shape = std::move(shape), .begin = begin, .end = end};
}

// Throws unless the tensors cover the data without gaps or overlaps.
void check_coverage(const SafetensorsInput& file, const std::map<std::string, TensorInfo>& tensors,
                    uint64_t data_bytes) {
  std::vector<std::tuple<uint64_t, uint64_t, const std::string*>> parts;
  for (const auto& [name, info] : tensors) parts.emplace_back(info.begin, info.end, &name);
  std::ranges::stable_sort(
      parts, {}, [](const auto& part) { return std::pair(std::get<0>(part), std::get<1>(part)); });
  uint64_t covered = 0;
  for (const auto& [begin, end, name] : parts) {
    if (begin != covered) {
      file.fail(*name, fmt::format("expected its data at offset {}, where the tensor before it "
                                   "ends, got offset {}: {}",
                                   covered, begin, begin < covered ? "they overlap" : "a hole"));
    }
    covered = end;
  }
  if (covered != data_bytes) {
    file.fail(fmt::format("expected the tensors to cover all {} bytes of data, got {}", data_bytes,
                          covered));
  }
}

}  // namespace

std::string safetensors_dtype_names() {
  std::vector<std::string_view> names;
  for (const auto& dtype : kSafetensorsDtypes) names.push_back(dtype.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path)
    : file_(std::make_unique<SafetensorsInput>(path)) {
  const auto text = read_header_text(*file_);
  const auto header = parse_header(*file_, text);
  data_start_ = kLengthBytes + text.size();
  const auto data_bytes = file_->size() - data_start_;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey) {
      metadata_ = read_metadata(*file_, value);
    } else {
      tensors_.emplace(name, read_entry(*file_, name, value, data_bytes));
    }
  }
  check_coverage(*file_, tensors_, data_bytes);
}

SafetensorsReader::~SafetensorsReader() = default;
SafetensorsReader::SafetensorsReader(SafetensorsReader&&) noexcept = default;
SafetensorsReader& SafetensorsReader::operator=(SafetensorsReader&&) noexcept = default;

torch::Tensor SafetensorsReader::read(const std::string& name) const {
  const auto& info = tensors_.at(name);
  auto tensor = torch::empty(info.shape, torch::TensorOptions(torch::kCPU).dtype(info.dtype));
  if (info.end == info.begin) return tensor;
  file_->read(data_start_ + info.begin, tensor.mutable_data_ptr(), info.end - info.begin);
  if (info.dtype == at::kBool) {
    // Any other byte in a bool is undefined behaviour.
    const auto largest = tensor.view(at::kByte).max().item<int>();
    if (largest > 1) file_->fail(name, fmt::format("expected bytes 0 or 1, got {}", largest));
  }
  return tensor;
}

}  // namespace attend::detail
