#include "attend/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "support/temporary_folder.h"

namespace attend::safetensors_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing_support::TemporaryFolder;

const fs::path kGolden = fs::path(ATTEND_TEST_GOLDEN_DIR) / "safetensors_python.safetensors";

std::string read_bytes(const fs::path& path) { return TemporaryFolder::read(path); }

void write_bytes(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string length_prefix(uint64_t length) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes;
}

// The bytes of a file with this header and data, right or wrong.
std::string file_with(const std::string& header, const std::string& data = "") {
  return length_prefix(header.size()) + header + data;
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

// Equal in dtype, shape and every bit, so that -0, NaN and both kinds of bool count.
void expect_same(const torch::Tensor& actual, const torch::Tensor& expected) {
  ASSERT_EQ(actual.scalar_type(), expected.scalar_type());
  ASSERT_EQ(actual.sizes(), expected.sizes());
  const auto dense = expected.cpu().contiguous();
  if (dense.nbytes() == 0) return;  // memcmp takes no null pointer, not even for nothing
  EXPECT_EQ(std::memcmp(actual.const_data_ptr(), dense.const_data_ptr(), dense.nbytes()), 0);
}

class Safetensors : public ::testing::Test {
 protected:
  TensorFile round_trip(const TensorFile& file) const {
    write_safetensors(path_, file);
    return read_safetensors(path_);
  }

  // The message with which the reader refuses these bytes, after the path.
  std::string refusal(const std::string& bytes) const {
    write_bytes(path_, bytes);
    try {
      read_safetensors(path_);
    } catch (const FileError& error) {
      const std::string message = error.what();
      EXPECT_THAT(message, StartsWith(path_.string() + ": "));
      return message.substr(path_.string().size() + 2);
    }
    ADD_FAILURE() << "accepted";
    return "";
  }

  int64_t file_count() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }

  const TemporaryFolder folder_;
  const fs::path path_ = folder_.path() / "model.safetensors";
};

using SafetensorsGolden = Safetensors;

TEST_F(SafetensorsGolden, ReadsWhatPythonWrote) {
  const auto file = read_safetensors(kGolden);
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  const std::map<std::string, torch::Tensor> expected{
      {"f64", torch::tensor({1.5, -2.25}, torch::kDouble)},
      {"f32", torch::tensor({0.0, 1.0, 2.0, 3.0, 4.0, -5.5}, torch::kFloat).view({2, 3})},
      {"f16", torch::tensor({0.5, -1.0, 65504.0}, torch::kHalf)},
      {"bf16", torch::tensor({1.0, -3.0}, torch::kBFloat16)},
      {"i64", torch::tensor({int64_t{1} << 62, int64_t{-7}}, torch::kLong).view({1, 2})},
      {"i32", torch::tensor({2147483647, -8}, torch::kInt)},
      {"i16", torch::tensor({-32768, 9}, torch::kShort)},
      {"i8", torch::tensor({-128, 0, 127}, torch::kChar)},
      {"u8", torch::tensor({0, 255}, torch::kByte)},
      {"bool", torch::tensor({true, false, true})},
      {"scalar", torch::tensor(3.5F)},
      {"empty", torch::empty({0, 4})},
      {"name \"é\"/\\\n", torch::tensor({-0.0F})},
  };
  ASSERT_EQ(file.tensors.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(file.tensors.contains(name));
    expect_same(file.tensors.at(name), tensor);
  }
}

TEST_F(SafetensorsGolden, WritesTheBytesThatPythonWrites) {
  write_safetensors(path_, read_safetensors(kGolden));
  EXPECT_EQ(read_bytes(path_), read_bytes(kGolden));
}

TEST_F(Safetensors, NoTensorsAndNoMetadataRoundTrip) {
  const auto file = round_trip({});
  EXPECT_TRUE(file.tensors.empty());
  EXPECT_TRUE(file.metadata.empty());
  EXPECT_EQ(read_bytes(path_), file_with("{}      "));
}

TEST_F(Safetensors, MetadataRoundTrips) {
  const TensorFile file{.tensors = {},
                        .metadata = {{"", "empty key"}, {"a\"\\\n\x01", "é 中 \x7f"}, {"b", ""}}};
  EXPECT_EQ(round_trip(file).metadata, file.metadata);
}

TEST_F(Safetensors, DataIsAlignedToItsDtype) {
  write_safetensors(path_, {.tensors = {{"a", torch::ones({3}, torch::kByte)},
                                        {"b", torch::ones({3}, torch::kDouble)},
                                        {"c", torch::ones({3}, torch::kHalf)}},
                            .metadata = {}});
  const auto bytes = read_bytes(path_);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  EXPECT_EQ(length % 8, 0U);
  EXPECT_THAT(bytes, HasSubstr(R"("b":{"dtype":"F64","shape":[3],"data_offsets":[0,24]})"));
  EXPECT_THAT(bytes, HasSubstr(R"("c":{"dtype":"F16","shape":[3],"data_offsets":[24,30]})"));
  EXPECT_THAT(bytes, HasSubstr(R"("a":{"dtype":"U8","shape":[3],"data_offsets":[30,33]})"));
}

TEST_F(Safetensors, EachTensorOwnsItsMemory) {
  TensorFile file{.tensors = {{"a", torch::zeros({2})}, {"b", torch::zeros({3})}}, .metadata = {}};
  file = round_trip(file);
  write_bytes(path_, "gone");
  file.tensors["a"].fill_(1.0);
  EXPECT_EQ(file.tensors["b"].sum().item<float>(), 0.0F);
  EXPECT_EQ(file.tensors["a"].storage().nbytes(), 2 * sizeof(float));
}

TEST_F(Safetensors, NonContiguousTensorsAreWrittenAsTheyRead) {
  const auto base = torch::arange(24, torch::kFloat).view({2, 3, 4});
  const std::map<std::string, torch::Tensor> tensors{
      {"expanded", torch::tensor({1.0F, 2.0F}).view({2, 1}).expand({2, 3})},
      {"flat", base.view({24})},
      {"part", base.narrow(2, 1, 2)},
      {"strided", base.view({24}).slice(0, 1, 24, 5)},
      {"transposed", base.transpose(0, 2)},
      {"channels_last", torch::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast)},
  };
  const auto file = round_trip({.tensors = tensors, .metadata = {}});
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    expect_same(file.tensors.at(name), tensor);
  }
}

TEST_F(Safetensors, ConjugatedAndNegatedViewsAreWrittenByTheirValue) {
  const auto complex = torch::complex(torch::tensor({1.0F, 2.0F}), torch::tensor({3.0F, -4.0F}));
  const auto file =
      round_trip({.tensors = {{"conj", complex.conj()}, {"neg", torch::imag(complex.conj())}},
                  .metadata = {}});
  expect_same(file.tensors.at("conj"), torch::conj_physical(complex));
  expect_same(file.tensors.at("neg"), torch::tensor({-3.0F, 4.0F}));
}

TEST_F(Safetensors, TensorsOfAnAutogradGraphAreWritten) {
  const auto leaf = torch::randn({2, 3}, torch::requires_grad());
  const auto result = leaf * 2.0;
  const auto file = round_trip({.tensors = {{"leaf", leaf}, {"result", result}}, .metadata = {}});
  expect_same(file.tensors.at("leaf"), leaf.detach());
  expect_same(file.tensors.at("result"), result.detach());
  EXPECT_FALSE(file.tensors.at("leaf").requires_grad());
}

using SafetensorsCuda = Safetensors;

TEST_F(SafetensorsCuda, TensorsAreWritten) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const auto tensor = torch::randn({3, 5}, torch::kCUDA).t();
  expect_same(round_trip({.tensors = {{"a", tensor}}, .metadata = {}}).tensors.at("a"), tensor);
}

class SafetensorsDtype : public Safetensors,
                         public ::testing::WithParamInterface<at::ScalarType> {};

std::string dtype_name(const ::testing::TestParamInfo<at::ScalarType>& dtype) {
  return c10::toString(dtype.param);
}

TEST_P(SafetensorsDtype, RoundTrips) {
  const auto values = torch::tensor({0.0, 1.0, 2.0, 3.0, 5.0, 7.0}, torch::kDouble)
                          .to(GetParam())
                          .view({2, 3})
                          .transpose(0, 1);
  const auto scalar = torch::ones({}, torch::kDouble).to(GetParam());
  const auto empty = torch::empty({2, 0}, GetParam());
  const auto file = round_trip(
      {.tensors = {{"values", values}, {"scalar", scalar}, {"empty", empty}}, .metadata = {}});
  expect_same(file.tensors.at("values"), values);
  expect_same(file.tensors.at("scalar"), scalar);
  expect_same(file.tensors.at("empty"), empty);
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsDtype,
                         ::testing::Values(at::kDouble, at::kFloat, at::kHalf, at::kBFloat16,
                                           at::kLong, at::kInt, at::kShort, at::kChar, at::kByte,
                                           at::kBool, at::kUInt64, at::kUInt32, at::kUInt16,
                                           at::kComplexFloat, at::kFloat8_e4m3fn, at::kFloat8_e5m2),
                         dtype_name);

TEST_F(Safetensors, FilesThatCannotBeOpenedGiveTheSystemsReason) {
  const auto message = [](const fs::path& path) -> std::string {
    try {
      read_safetensors(path);
    } catch (const FileError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message(path_), path_.string() + ": cannot open: No such file or directory");
  EXPECT_EQ(message(folder_.path()),
            folder_.path().string() + ": expected a regular file, got a folder or a special file");
  EXPECT_EQ(message("/dev/null"),
            "/dev/null: expected a regular file, got a folder or a special file");
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(message(path_),
            path_.string() + ": expected a regular file, got a folder or a special file");
}

TEST_F(Safetensors, BadHeaderLengthsAreRefused) {
  EXPECT_EQ(refusal(""), "expected 8 bytes of header length, got a file of 0 bytes");
  EXPECT_EQ(refusal("\x02\0\0\0"), "expected 8 bytes of header length, got a file of 1 bytes");
  EXPECT_EQ(refusal(length_prefix(0)),
            "expected a header that is a JSON object and begins with {, got an empty header");
  EXPECT_EQ(refusal(length_prefix(3) + "{}"),
            "expected a header of 3 bytes, got a file of 10 bytes");
  EXPECT_EQ(refusal(length_prefix(100'000'001) + "{}"),
            "expected a header of at most 100000000 bytes, got length 100000001");
  EXPECT_EQ(refusal(length_prefix(~uint64_t{0}) + "{}"),
            "expected a header of at most 100000000 bytes, got length 18446744073709551615");
}

TEST_F(Safetensors, BadJsonIsRefused) {
  const auto not_json = HasSubstr("expected a header in JSON, got ");
  EXPECT_THAT(refusal(file_with("{")), not_json);
  EXPECT_THAT(refusal(file_with("{} {}")), not_json);
  EXPECT_THAT(refusal(file_with("{\"a\":}")), not_json);
  EXPECT_THAT(refusal(file_with("{\"\xff\":1}")), not_json);
  EXPECT_THAT(refusal(file_with(std::string("{\0}", 3))), not_json);
  EXPECT_LT(refusal(file_with("{\"" + std::string(5000, 'x'))).size(), 400U);
  const auto not_object = "expected a header that is a JSON object and begins with {, got ";
  EXPECT_EQ(refusal(file_with("[]")), std::string(not_object) + "\"[\"");
  EXPECT_EQ(refusal(file_with(" {}")), std::string(not_object) + "\" \"");
  EXPECT_EQ(refusal(file_with("null")), std::string(not_object) + "\"n\"");
}

TEST_F(Safetensors, DeepNestingIsRefused) {
  EXPECT_EQ(refusal(file_with("{\"a\":" + std::string(1'000'000, '['))),
            "expected a header without deep nesting, got more levels");
}

TEST_F(Safetensors, DuplicateNamesAreRefused) {
  const auto tensor = entry("U8", "[1]", "[0,1]");
  EXPECT_EQ(refusal(file_with("{\"a\":" + tensor + ",\"a\":" + tensor + "}", "x")),
            "expected different names in the header, got \"a\" twice");
  EXPECT_EQ(refusal(file_with(R"({"__metadata__":{"k":"1","k":"1"}})")),
            "expected different names in the header, got \"k\" twice");
  EXPECT_EQ(refusal(file_with(R"({"a":{"dtype":"U8","dtype":"U8"}})")),
            "expected different names in the header, got \"dtype\" twice");
}

TEST_F(Safetensors, MetadataMustBeText) {
  EXPECT_EQ(refusal(file_with(R"({"__metadata__":{"epoch":3}})")),
            "expected __metadata__ to hold strings, got number for \"epoch\"");
  EXPECT_EQ(refusal(file_with(R"({"__metadata__":[]})")),
            "expected __metadata__ to be an object, got array");
}

TEST_F(Safetensors, BadFieldsAreRefused) {
  const auto with = [&](const std::string& info) {
    return refusal(file_with("{\"w\":" + info + "}", std::string(8, 'x')));
  };
  EXPECT_EQ(with("3"), "tensor \"w\": expected an object, got number");
  EXPECT_EQ(with(R"({"shape":[2],"data_offsets":[0,8]})"),
            "tensor \"w\": expected a field dtype, got none");
  EXPECT_EQ(with(R"({"dtype":"F32","data_offsets":[0,8]})"),
            "tensor \"w\": expected a field shape, got none");
  EXPECT_EQ(with(R"({"dtype":"F32","shape":[2]})"),
            "tensor \"w\": expected a field data_offsets, got none");
  EXPECT_EQ(with(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})"),
            "tensor \"w\": expected dtype to be a string, got number");
  EXPECT_EQ(with(entry("F4", "[2]", "[0,8]")),
            "tensor \"w\": expected dtype to be one of U64, I64, F64, C64, F32, U32, I32, BF16, "
            "F16, U16, I16, F8_E4M3, F8_E5M2, I8, U8, BOOL, got \"F4\"");
  EXPECT_EQ(with(entry("F32", "2", "[0,8]")),
            "tensor \"w\": expected shape to be an array, got number");
  EXPECT_EQ(with(entry("F32", "[2]", "[0,4,8]")), "tensor \"w\": expected 2 data_offsets, got 3");
}

TEST_F(Safetensors, BadShapesAreRefused) {
  const auto with = [&](const std::string& shape) {
    return refusal(file_with("{\"w\":" + entry("F32", shape, "[0,8]") + "}", std::string(8, 'x')));
  };
  const std::string integers =
      "tensor \"w\": expected shape to hold integers from 0 to 9223372036854775807, got ";
  EXPECT_EQ(with("[-2]"), integers + "-2");
  EXPECT_EQ(with("[2.0]"), integers + "2.0");
  EXPECT_EQ(with("[9223372036854775808]"), integers + "9223372036854775808");
  EXPECT_THAT(with("[99999999999999999999]"), StartsWith(integers));
  EXPECT_EQ(with("[\"2\"]"), integers + "\"2\"");
  EXPECT_EQ(with("[[2]]"), integers + "array");
  EXPECT_EQ(with("[4611686018427387904]"),
            "tensor \"w\": expected a shape of fewer than 2^63 bytes, got [4611686018427387904]");
  EXPECT_EQ(with("[4294967296,4294967296]"),
            "tensor \"w\": expected a shape of fewer than 2^63 bytes, got "
            "[4294967296, 4294967296]");
  // No elements, but strides that overflow.
  EXPECT_EQ(with("[0,4294967296,4294967296]"),
            "tensor \"w\": expected a shape of fewer than 2^63 bytes, got "
            "[0, 4294967296, 4294967296]");
  std::string long_shape = "[2";
  for (int i = 0; i < 64; ++i) long_shape += ",1";
  EXPECT_EQ(with(long_shape + "]"),
            "tensor \"w\": expected shape to have at most 64 elements, got 65");
  EXPECT_EQ(with("[3]"), "tensor \"w\": expected 12 bytes for F32 [3], got data_offsets [0, 8]");
  EXPECT_EQ(with("[]"), "tensor \"w\": expected 4 bytes for F32 [], got data_offsets [0, 8]");
  EXPECT_EQ(with("[0,2]"),
            "tensor \"w\": expected 0 bytes for F32 [0, 2], got data_offsets [0, 8]");
}

TEST_F(Safetensors, OffsetsMustCoverTheDataOnce) {
  const auto with = [&](const std::string& a, const std::string& b, size_t data_bytes) {
    return refusal(file_with("{\"a\":" + a + ",\"b\":" + b + "}", std::string(data_bytes, 'x')));
  };
  const auto a = entry("U8", "[4]", "[0,4]");
  EXPECT_EQ(with(a, entry("U8", "[4]", "[4,8]"), 7),
            "tensor \"b\": expected data_offsets in order and within 7 bytes of data, got [4, 8]");
  EXPECT_EQ(with(a, entry("U8", "[4]", "[8,4]"), 8),
            "tensor \"b\": expected data_offsets in order and within 8 bytes of data, got [8, 4]");
  EXPECT_THAT(with(a, entry("U8", "[4]", "[18446744073709551612,0]"), 8),
              HasSubstr("expected data_offsets to hold integers from 0"));
  EXPECT_EQ(with(a, entry("U8", "[4]", "[3,7]"), 7),
            "tensor \"b\": expected its data at offset 4, where the tensor before it ends, got "
            "offset 3: they overlap");
  EXPECT_EQ(with(a, a, 4),
            "tensor \"b\": expected its data at offset 4, where the tensor before it ends, got "
            "offset 0: they overlap");
  EXPECT_EQ(with(a, entry("U8", "[4]", "[5,9]"), 9),
            "tensor \"b\": expected its data at offset 4, where the tensor before it ends, got "
            "offset 5: a hole");
  EXPECT_EQ(with(a, entry("U8", "[4]", "[4,8]"), 9),
            "expected the tensors to cover all 9 bytes of data, got 8");
  EXPECT_EQ(refusal(file_with("{}", "x")),
            "expected the tensors to cover all 1 bytes of data, got 0");
}

TEST_F(Safetensors, BoolBytesMustBeZeroOrOne) {
  EXPECT_EQ(refusal(file_with("{\"m\":" + entry("BOOL", "[3]", "[0,3]") + "}",
                              std::string("\x01\x02\x00", 3))),
            "tensor \"m\": expected bytes 0 or 1, got 2");
}

TEST_F(Safetensors, UnknownFieldsOfATensorAreIgnored) {
  write_bytes(
      path_,
      file_with(R"({"a":{"x":{"y":[1]},"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "\x07"));
  EXPECT_EQ(read_safetensors(path_).tensors.at("a").item<int>(), 7);
}

TEST_F(Safetensors, PicklesAreRefusedByName) {
  const std::string why =
      "; pickles can run code and are never read: save the weights as safetensors";
  EXPECT_EQ(refusal(std::string("PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00", 12)),
            "expected a safetensors file, got a pickled PyTorch file (zip archive)" + why);
  EXPECT_EQ(refusal(std::string("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8\x50\x19.", 15)),
            "expected a safetensors file, got a pickled PyTorch file" + why);
  EXPECT_EQ(refusal("\x80\x04N."), "expected a safetensors file, got a pickled PyTorch file" + why);
  torch::save(torch::ones({2}), path_.string());
  EXPECT_THAT(refusal(read_bytes(path_)), HasSubstr("pickled PyTorch file (zip archive)"));
}

TEST_F(Safetensors, GitLfsPointersAreRefusedByName) {
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
              HasSubstr("Git LFS pointer"));
}

// 0x280 bytes of header: in little-endian the first bytes of a pickle, protocol 2.
TEST_F(Safetensors, LengthsThatLookLikePicklesAreRead) {
  write_bytes(path_, file_with("{}" + std::string(0x27e, ' ')));
  EXPECT_TRUE(read_safetensors(path_).tensors.empty());
}

TEST_F(Safetensors, BrokenFilesAreReadOrRefusedAndNothingElse) {
  write_safetensors(path_, {.tensors = {{"a", torch::ones({2, 3}, torch::kHalf)},
                                        {"b", torch::ones({3}, torch::kBool)}},
                            .metadata = {{"k", "v"}}});
  const auto good = read_bytes(path_);
  int64_t refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    write_bytes(path_, bytes);
    try {
      read_safetensors(path_);
    } catch (const FileError&) {
      ++refused;
    }
  };
  for (size_t i = 0; i < good.size(); ++i) {
    attempt(good.substr(0, i));
    attempt(good.substr(0, i) + good.substr(i + 1));
    attempt(good.substr(0, i) + "9" + good.substr(i));
    for (const int flip : {0x01, 0x10, 0x80, 0xff}) {
      auto bytes = good;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      attempt(bytes);
    }
  }
  // A cut file is always refused; so is one with a byte more or less.
  EXPECT_GE(refused, static_cast<int64_t>(3 * good.size()));
}

TEST_F(Safetensors, TensorsThatTheFormatLacksAreRefused) {
  const auto message = [&](const std::string& name, const torch::Tensor& tensor) -> std::string {
    try {
      write_safetensors(path_, {.tensors = {{name, tensor}}, .metadata = {}});
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  };
  EXPECT_EQ(message("a", {}),
            "write_safetensors: expected tensor \"a\" to be defined, got an undefined one");
  EXPECT_THAT(message("a", torch::eye(2).to_sparse()),
              HasSubstr("expected tensor \"a\" to be dense, got "));
  EXPECT_THAT(message("a", torch::empty({2}, torch::kMeta)),
              HasSubstr("expected tensor \"a\" to be dense, got "));
  EXPECT_THAT(message("a", torch::ones({2}, torch::kComplexDouble)),
              HasSubstr("BOOL, got ComplexDouble"));
  EXPECT_EQ(message("__metadata__", torch::ones({2})),
            "write_safetensors: expected tensor names other than __metadata__, which the format "
            "reserves, got it");
  EXPECT_EQ(message("\xff", torch::ones({2})),
            "write_safetensors: expected names and metadata in UTF-8, got \"\xef\xbf\xbd\"");
  EXPECT_EQ(file_count(), 0);
}

// Lets the system refuse files above a size, as a full disk would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_{};
  void (*handler_)(int) = nullptr;
};

TEST_F(Safetensors, AFailedWriteLeavesTheOldFileAndNothingElse) {
  write_safetensors(path_, {.tensors = {{"a", torch::ones({3})}}, .metadata = {}});
  const auto before = read_bytes(path_);
  std::string message = "accepted";
  {
    const FileSizeLimit limit(100'000);
    try {
      write_safetensors(path_, {.tensors = {{"a", torch::zeros({50'000})}}, .metadata = {}});
    } catch (const FileError& error) {
      message = error.what();
    }
  }
  EXPECT_EQ(message, path_.string() + ": cannot write: File too large");
  EXPECT_EQ(read_bytes(path_), before);
  EXPECT_EQ(file_count(), 1);
}

TEST_F(Safetensors, AFileIsReplacedWhileItsOldContentIsStillHeld) {
  write_safetensors(path_, {.tensors = {{"a", torch::ones({3})}}, .metadata = {}});
  const auto old = read_safetensors(path_);
  auto changed = old;
  changed.tensors["a"] = old.tensors.at("a") + 1.0;
  expect_same(round_trip(changed).tensors.at("a"), torch::full({3}, 2.0F));
  expect_same(old.tensors.at("a"), torch::ones({3}));
  EXPECT_EQ(file_count(), 1);
}

}  // namespace
}  // namespace attend::safetensors_test
