#pragma once

#include <torch/torch.h>

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

namespace attend::detail {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

inline constexpr auto kMetadataKey = "__metadata__";
inline constexpr uint64_t kLengthBytes = 8;               // the header's length, before the header
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

/// A dtype and its name in the format.
struct SafetensorsDtype {
  std::string_view name;
  at::ScalarType scalar_type;
};

/// In the order in which the safetensors library writes tensors.
inline constexpr std::array kSafetensorsDtypes = {
    SafetensorsDtype{"U64", at::kUInt64},
    SafetensorsDtype{"I64", at::kLong},
    SafetensorsDtype{"F64", at::kDouble},
    SafetensorsDtype{"C64", at::kComplexFloat},
    SafetensorsDtype{"F32", at::kFloat},
    SafetensorsDtype{"U32", at::kUInt32},
    SafetensorsDtype{"I32", at::kInt},
    SafetensorsDtype{"BF16", at::kBFloat16},
    SafetensorsDtype{"F16", at::kHalf},
    SafetensorsDtype{"U16", at::kUInt16},
    SafetensorsDtype{"I16", at::kShort},
    SafetensorsDtype{"F8_E4M3", at::kFloat8_e4m3fn},
    SafetensorsDtype{"F8_E5M2", at::kFloat8_e5m2},
    SafetensorsDtype{"I8", at::kChar},
    SafetensorsDtype{"U8", at::kByte},
    SafetensorsDtype{"BOOL", at::kBool},
};

/// All of these names, for error messages.
std::string safetensors_dtype_names();

}  // namespace attend::detail
