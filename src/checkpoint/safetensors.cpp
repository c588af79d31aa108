#include "attend/checkpoint/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <vector>

#include "detail/atomic_file.h"

namespace attend {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr auto kMetadataKey = "__metadata__";
constexpr uint64_t kLengthBytes = 8;               // the header's length, before the header
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxDimensions = 64;              // ATen's own limit for most operators
constexpr int kMaxDepth = 8;                       // of nested JSON; the format itself needs 3

struct Dtype {
  std::string_view name;
  at::ScalarType scalar_type;
};

// In the order in which the safetensors library writes tensors.
constexpr std::array kDtypes = {
    Dtype{"U64", at::kUInt64},
    Dtype{"I64", at::kLong},
    Dtype{"F64", at::kDouble},
    Dtype{"C64", at::kComplexFloat},
    Dtype{"F32", at::kFloat},
    Dtype{"U32", at::kUInt32},
    Dtype{"I32", at::kInt},
    Dtype{"BF16", at::kBFloat16},
    Dtype{"F16", at::kHalf},
    Dtype{"U16", at::kUInt16},
    Dtype{"I16", at::kShort},
    Dtype{"F8_E4M3", at::kFloat8_e4m3fn},
    Dtype{"F8_E5M2", at::kFloat8_e5m2},
    Dtype{"I8", at::kChar},
    Dtype{"U8", at::kByte},
    Dtype{"BOOL", at::kBool},
};

std::string dtype_names() {
  std::vector<std::string_view> names;
  for (const auto& dtype : kDtypes) names.push_back(dtype.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

constexpr size_t kMaxQuoted = 200;  // bytes of a file's own text in a message

// A string as it would stand in JSON, so that no name can break a message.
std::string quoted(const std::string& text) {
  const auto shown = text.size() <= kMaxQuoted ? text : text.substr(0, kMaxQuoted) + "...";
  return json(shown).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string shape_string(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// One tensor of the header, and where its bytes lie in the data.
struct Entry {
  std::string name;
  const Dtype* dtype;
  std::vector<int64_t> shape;
  uint64_t begin;
  uint64_t end;
};

class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path) : path_(path) {
    // Not blocking, or opening a pipe without a writer would wait for one.
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
  ~InputFile() { ::close(descriptor_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

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
    fail(fmt::format("tensor {}: {}", quoted(tensor), problem));
  }

 private:
  static std::string reason() { return std::generic_category().message(errno); }

  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// What a file that does not begin like safetensors seems to be instead.
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

std::string read_header_text(const InputFile& file) {
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
                (length == 0 ? "an empty header" : quoted(start.substr(kLengthBytes)));
    }
  }
  // Only now, because a valid length can look like the first bytes of a pickle.
  if (!problem.empty()) file.fail(foreign_format(start).value_or(problem));

  std::string text(length, '\0');
  file.read(kLengthBytes, text.data(), length);
  return text;
}

// The parser alone keeps the last of two equal names and follows any depth.
json parse_header(const InputFile& file, const std::string& text) {
  std::vector<std::set<std::string>> names;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) file.fail("expected a header without deep nesting, got more levels");
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& name = value.get_ref<const std::string&>();
      if (!names.back().insert(name).second) {
        file.fail(
            fmt::format("expected different names in the header, got {} twice", quoted(name)));
      }
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    file.fail(fmt::format("expected a header in JSON, got {:.{}}", error.what(), kMaxQuoted));
  }
}

std::map<std::string, std::string> read_metadata(const InputFile& file, const json& value) {
  if (!value.is_object()) {
    file.fail(fmt::format("expected {} to be an object, got {}", kMetadataKey, value.type_name()));
  }
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      file.fail(fmt::format("expected {} to hold strings, got {} for {}", kMetadataKey,
                            text.type_name(), quoted(key)));
    }
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

const json& member(const InputFile& file, const std::string& name, const json& info,
                   const char* key) {
  const auto found = info.find(key);
  if (found == info.end()) file.fail(name, fmt::format("expected a field {}, got none", key));
  return *found;
}

const Dtype* read_dtype(const InputFile& file, const std::string& name, const json& value) {
  if (!value.is_string()) {
    file.fail(name, fmt::format("expected dtype to be a string, got {}", value.type_name()));
  }
  const auto& text = value.get_ref<const std::string&>();
  const auto* dtype = std::find_if(kDtypes.begin(), kDtypes.end(),
                                   [&](const Dtype& known) { return known.name == text; });
  if (dtype == kDtypes.end()) {
    file.fail(name,
              fmt::format("expected dtype to be one of {}, got {}", dtype_names(), quoted(text)));
  }
  return dtype;
}

std::vector<int64_t> read_integers(const InputFile& file, const std::string& name, const char* key,
                                   const json& value) {
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

// The bytes of a tensor. Zero sizes count as one in the check for overflow, as in strides.
uint64_t byte_count(const InputFile& file, const std::string& name, const Dtype& dtype,
                    const std::vector<int64_t>& shape) {
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

Entry read_entry(const InputFile& file, const std::string& name, const json& info,
                 uint64_t data_bytes) {
  if (!info.is_object()) {
    file.fail(name, fmt::format("expected an object, got {}", info.type_name()));
  }
  Entry entry{.name = name,
              .dtype = read_dtype(file, name, member(file, name, info, "dtype")),
              .shape = read_integers(file, name, "shape", member(file, name, info, "shape")),
              .begin = 0,
              .end = 0};
  const auto offsets =
      read_integers(file, name, "data_offsets", member(file, name, info, "data_offsets"));
  if (offsets.size() != 2) {
    file.fail(name, fmt::format("expected 2 data_offsets, got {}", offsets.size()));
  }
  entry.begin = static_cast<uint64_t>(offsets[0]);
  entry.end = static_cast<uint64_t>(offsets[1]);
  if (entry.begin > entry.end || entry.end > data_bytes) {
    file.fail(name, fmt::format("expected data_offsets in order and within {} bytes of data, got "
                                "[{}, {}]",
                                data_bytes, entry.begin, entry.end));
  }
  const auto expected = byte_count(file, name, *entry.dtype, entry.shape);
  if (entry.end - entry.begin != expected) {
    file.fail(name,
              fmt::format("expected {} bytes for {} {}, got data_offsets [{}, {}]", expected,
                          entry.dtype->name, shape_string(entry.shape), entry.begin, entry.end));
  }
  return entry;
}

// Throws unless the tensors, sorted by their offsets, cover the data without holes or overlap.
void check_coverage(const InputFile& file, const std::vector<Entry>& entries, uint64_t data_bytes) {
  uint64_t end = 0;
  for (const auto& entry : entries) {
    if (entry.begin != end) {
      file.fail(entry.name,
                fmt::format("expected its data at offset {}, where the tensor before it "
                            "ends, got offset {}: {}",
                            end, entry.begin, entry.begin < end ? "they overlap" : "a hole"));
    }
    end = entry.end;
  }
  if (end != data_bytes) {
    file.fail(
        fmt::format("expected the tensors to cover all {} bytes of data, got {}", data_bytes, end));
  }
}

torch::Tensor read_tensor(const InputFile& file, const Entry& entry, uint64_t data_start) {
  auto tensor =
      torch::empty(entry.shape, torch::TensorOptions(torch::kCPU).dtype(entry.dtype->scalar_type));
  if (entry.end == entry.begin) return tensor;
  file.read(data_start + entry.begin, tensor.mutable_data_ptr(), entry.end - entry.begin);
  if (entry.dtype->scalar_type == at::kBool) {
    // Any other byte in a bool is undefined behaviour.
    const auto largest = tensor.view(at::kByte).max().item<int>();
    if (largest > 1) file.fail(entry.name, fmt::format("expected bytes 0 or 1, got {}", largest));
  }
  return tensor;
}

struct Output {
  const std::string* name;
  const torch::Tensor* tensor;
  const Dtype* dtype;
};

Output check_output(const std::string& name, const torch::Tensor& tensor) {
  constexpr auto kWho = "write_safetensors: expected tensor ";
  TORCH_CHECK_VALUE(name != kMetadataKey, kWho, "names other than ", kMetadataKey,
                    ", which the format reserves, got it");
  TORCH_CHECK(tensor.defined(), kWho, quoted(name), " to be defined, got an undefined one");
  TORCH_CHECK(tensor.layout() == at::kStrided && !tensor.is_meta() && !tensor.is_nested(), kWho,
              quoted(name), " to be dense, got ", tensor.toString());
  const auto* dtype = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Dtype& known) {
    return known.scalar_type == tensor.scalar_type();
  });
  TORCH_CHECK(dtype != kDtypes.end(), kWho, quoted(name), " of dtype ", dtype_names(), ", got ",
              tensor.scalar_type());
  return {&name, &tensor, dtype};
}

std::string strict_json(const std::string& text) try {
  return json(text).dump();
} catch (const json::exception&) {
  TORCH_CHECK_VALUE(false, "write_safetensors: expected names and metadata in UTF-8, got ",
                    quoted(text));
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
  const InputFile file(path);
  const auto text = read_header_text(file);
  const auto header = parse_header(file, text);
  const auto data_start = kLengthBytes + text.size();
  const auto data_bytes = file.size() - data_start;

  TensorFile result;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey) {
      result.metadata = read_metadata(file, value);
    } else {
      entries.push_back(read_entry(file, name, value, data_bytes));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& left, const Entry& right) {
    return std::tie(left.begin, left.end, left.name) < std::tie(right.begin, right.end, right.name);
  });
  check_coverage(file, entries, data_bytes);
  for (const auto& entry : entries) {
    result.tensors.emplace(entry.name, read_tensor(file, entry, data_start));
  }
  return result;
}

void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  std::vector<Output> outputs;
  for (const auto& [name, tensor] : file.tensors) outputs.push_back(check_output(name, tensor));
  // By dtype; the map has put the names of one dtype in order.
  std::stable_sort(outputs.begin(), outputs.end(), [](const Output& left, const Output& right) {
    return left.dtype < right.dtype;
  });
  const auto header = header_text(outputs, file.metadata);

  detail::AtomicFile output(path);
  const uint64_t length = header.size();
  output.write({reinterpret_cast<const char*>(&length), kLengthBytes});
  output.write(header);
  for (const auto& [name, tensor, dtype] : outputs) {
    // A conjugated or negated view holds other values in memory than it stands for.
    const auto dense = tensor->detach().resolve_conj().resolve_neg().cpu().contiguous();
    output.write({static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()});
  }
  output.commit();
}

}  // namespace attend
