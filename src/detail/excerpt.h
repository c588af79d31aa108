#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace attend::detail {

/// The first 200 bytes of a text, with what cannot be printed replaced.
std::string excerpt(std::string_view text);

/// A file's own text as it stands in a message: in double quotes, with JSON's escapes, what else
/// cannot be printed replaced, and cut after 200 bytes.
std::string in_quotes(std::string_view text);

/// A JSON value as it stands in a message. Arrays and objects that are long or hold others are
/// named by their kind alone.
std::string brief(const nlohmann::json& value);

/// What is wrong with a set of things, for one message: the first ten problems and the number of
/// the others.
class Problems {
 public:
  void add(std::string problem);
  bool empty() const { return count_ == 0; }

  /// "a; b; and 3 more".
  std::string text() const;

 private:
  std::vector<std::string> first_;
  size_t count_ = 0;
};

}  // namespace attend::detail
