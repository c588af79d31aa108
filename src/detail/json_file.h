#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>

#include "attend/file_error.h"
#include "detail/excerpt.h"
#include "detail/read_file.h"

namespace attend::detail {

/// A JSON object in a file, whose every reading error names the file and the key.
class JsonFile {
 public:
  explicit JsonFile(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code ignored;
    if (std::filesystem::status(path_, ignored).type() == std::filesystem::file_type::not_found) {
      throw FileError(path_, "cannot open: expected a model folder's JSON file");
    }
    try {
      value_ = nlohmann::json::parse(read_regular_file(path_));
    } catch (const nlohmann::json::exception& error) {
      throw FileError(path_, "expected JSON, got " + excerpt(error.what()));
    }
    if (!value_.is_object()) {
      throw FileError(path_, fmt::format("expected a JSON object, got {}", value_.type_name()));
    }
  }

  const std::filesystem::path& path() const { return path_; }
  const nlohmann::json& value() const { return value_; }

  /// Whether the key is there with another value than null.
  bool has(const char* key) const {
    const auto found = value_.find(key);
    return found != value_.end() && !found->is_null();
  }

  /// The object under `key`; its reading errors name both keys.
  JsonFile object(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end() || !found->is_object()) {
      throw FileError(path_, fmt::format("expected {} to be an object, got {}", name(key),
                                         found == value_.end() ? "none" : brief(*found)));
    }
    return {path_, name(key) + ".", *found};
  }

  template <typename T>
  T get(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) {
      throw FileError(path_, fmt::format("expected the key {}, got none", name(key)));
    }
    return convert<T>(key, *found);
  }

  template <typename T>
  T get_or(const char* key, T otherwise) const {
    const auto found = value_.find(key);
    return found == value_.end() || found->is_null() ? otherwise : convert<T>(key, *found);
  }

  /// A size: an integer from `least` to 2^31 - 1, so that products of two sizes do not overflow.
  int64_t size(const char* key, int64_t least = 1) const {
    return check_size(key, get<int64_t>(key), least);
  }
  int64_t size_or(const char* key, int64_t otherwise) const {
    return check_size(key, get_or<int64_t>(key, otherwise), 1);
  }

  /// A switch that must have one value, if it is there.
  void expect(const char* key, bool wanted) const {
    if (get_or<bool>(key, wanted) != wanted) {
      throw FileError(path_,
                      fmt::format("expected {} to be {}, got {}", name(key), wanted, !wanted));
    }
  }

 private:
  JsonFile(std::filesystem::path path, std::string prefix, nlohmann::json value)
      : path_(std::move(path)), prefix_(std::move(prefix)), value_(std::move(value)) {}

  std::string name(const char* key) const { return prefix_ + key; }

  int64_t check_size(const char* key, int64_t value, int64_t least) const {
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    if (value < least || value > kMost) {
      throw FileError(
          path_, fmt::format("expected {} in [{}, {}], got {}", name(key), least, kMost, value));
    }
    return value;
  }

  template <typename T>
  T convert(const char* key, const nlohmann::json& value) const {
    // nlohmann would convert 1.5 to an integer, true to 1, and 2^63 to a negative number.
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    const bool fits = std::is_same_v<T, bool> ? value.is_boolean()
                      : std::is_integral_v<T>
                          ? value.is_number_integer() &&
                                !(value.is_number_unsigned() && value.get<uint64_t>() > kMost)
                      : std::is_floating_point_v<T>    ? value.is_number()
                      : std::is_same_v<T, std::string> ? value.is_string()
                                                       : true;
    if (!fits) {
      throw FileError(path_, fmt::format("expected {} to be {}, got {}", name(key),
                                         std::is_same_v<T, bool>       ? "true or false"
                                         : std::is_integral_v<T>       ? "an integer"
                                         : std::is_floating_point_v<T> ? "a number"
                                                                       : "a string",
                                         brief(value)));
    }
    return value.get<T>();
  }

  std::filesystem::path path_;
  std::string prefix_;  // of the keys of an object within the file's
  nlohmann::json value_;
};

}  // namespace attend::detail
