#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace attend::detail {

/// The first 200 bytes of a text, with what cannot be printed replaced.
std::string excerpt(std::string_view text);

/// Text of a file for a message: in double quotes, with JSON's escapes, with other unprintable
/// characters replaced, cut after 200 bytes.
std::string in_quotes(std::string_view text);

/// A JSON value for a message. Arrays and objects that are long or nested are named by their kind.
std::string brief(const nlohmann::json& value);

/// A list of problems for one message: the first ten, and the number of the others.
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
