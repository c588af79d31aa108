#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "attend/checkpoint/file_error.h"

namespace attend::detail {

/// A JSON object in a file, whose every reading error names the file and the key.
class JsonFile {
 public:
  explicit JsonFile(std::filesystem::path path) : path_(std::move(path)) {
    std::ifstream stream(path_, std::ios::binary);
    if (!stream) throw FileError(path_, "cannot open: expected a model folder's JSON file");
    try {
      value_ = nlohmann::json::parse(stream);
    } catch (const nlohmann::json::exception& error) {
      throw FileError(path_, fmt::format("expected JSON, got {}", error.what()));
    }
    if (!value_.is_object()) {
      throw FileError(path_, fmt::format("expected a JSON object, got {}", value_.type_name()));
    }
  }

  const std::filesystem::path& path() const { return path_; }
  const nlohmann::json& value() const { return value_; }

  template <typename T>
  T get(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) {
      throw FileError(path_, fmt::format("expected the key {}, got none", key));
    }
    return convert<T>(key, *found);
  }

  template <typename T>
  T get_or(const char* key, T otherwise) const {
    const auto found = value_.find(key);
    return found == value_.end() || found->is_null() ? otherwise : convert<T>(key, *found);
  }

  /// A switch that must have one value, if it is there.
  void expect(const char* key, bool wanted) const {
    if (get_or<bool>(key, wanted) != wanted) {
      throw FileError(path_, fmt::format("expected {} to be {}, got {}", key, wanted, !wanted));
    }
  }

 private:
  template <typename T>
  T convert(const char* key, const nlohmann::json& value) const {
    // nlohmann would convert 1.5 to an integer and true to 1.
    const bool fits = std::is_same_v<T, bool>          ? value.is_boolean()
                      : std::is_integral_v<T>          ? value.is_number_integer()
                      : std::is_floating_point_v<T>    ? value.is_number()
                      : std::is_same_v<T, std::string> ? value.is_string()
                                                       : true;
    if (!fits) {
      throw FileError(path_, fmt::format("expected {} to be {}, got {}", key,
                                         std::is_same_v<T, bool>       ? "true or false"
                                         : std::is_integral_v<T>       ? "an integer"
                                         : std::is_floating_point_v<T> ? "a number"
                                                                       : "a string",
                                         value.dump()));
    }
    return value.get<T>();
  }

  std::filesystem::path path_;
  nlohmann::json value_;
};

}  // namespace attend::detail
