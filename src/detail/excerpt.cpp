#include "detail/excerpt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "detail/utf8.h"

namespace attend::detail {
namespace {

using nlohmann::json;

constexpr size_t kMaxQuotedBytes = 200;
constexpr size_t kMaxMembers = 8;    // of an array or object that is written out
constexpr size_t kMaxProblems = 10;  // that are named one by one

}  // namespace

std::string excerpt(std::string_view text) {
  return printable_utf8(text.substr(0, kMaxQuotedBytes)) +
         (text.size() <= kMaxQuotedBytes ? "" : "...");
}

std::string in_quotes(std::string_view text) {
  const bool whole = text.size() <= kMaxQuotedBytes;
  const auto shown = std::string(text.substr(0, kMaxQuotedBytes)) + (whole ? "" : "...");
  // JSON does not escape the control characters from U+007F on.
  return printable_utf8(json(shown).dump(-1, ' ', false, json::error_handler_t::replace));
}

std::string brief(const json& value) {
  if (value.is_string()) return in_quotes(value.get_ref<const std::string&>());
  if (!value.is_structured()) return value.dump();
  // Writing recurses into each level, and a file may have a million of them.
  const bool flat =
      value.size() <= kMaxMembers && std::ranges::none_of(value, [](const json& member) {
        return member.is_structured() || member.is_string();
      });
  return flat ? printable_utf8(value.dump(-1, ' ', false, json::error_handler_t::replace))
              : value.type_name();
}

void Problems::add(std::string problem) {
  if (++count_ <= kMaxProblems) first_.push_back(std::move(problem));
}

std::string Problems::text() const {
  auto text = fmt::format("{}", fmt::join(first_, "; "));
  if (count_ > first_.size()) text += fmt::format("; and {} more", count_ - first_.size());
  return text;
}

}  // namespace attend::detail
