#pragma once

#include <concepts>
#include <ostream>
#include <string_view>

namespace attend::detail {

/// Prints a module as "attend::<name>(<key>=<value>, <variant>)": its sizes, and what is not the
/// default.
class Printer {
 public:
  Printer(std::ostream& stream, std::string_view name) : stream_(stream) {
    stream_ << "attend::" << name << "(";
  }

  template <typename T>
  Printer& value(std::string_view key, const T& value) {
    begin(key);
    stream_ << "=";
    if constexpr (std::same_as<T, bool>) {
      stream_ << (value ? "true" : "false");
    } else {
      stream_ << value;
    }
    return *this;
  }

  /// A value that is left out where it is the usual one.
  template <typename T>
  Printer& changed(std::string_view key, const T& value, const T& usual) {
    return value == usual ? *this : this->value(key, value);
  }

  /// The name of what is off by default.
  Printer& variant(std::string_view name, bool is_on) {
    if (is_on) begin(name);
    return *this;
  }

  void end() { stream_ << ")"; }

 private:
  void begin(std::string_view key) {
    if (!is_first_) stream_ << ", ";
    is_first_ = false;
    stream_ << key;
  }

  std::ostream& stream_;
  bool is_first_ = true;
};

}  // namespace attend::detail
