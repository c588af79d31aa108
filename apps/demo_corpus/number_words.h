#pragma once

#include <string>
#include <vector>

namespace attend::demo {

/// Words of a number that translate each other, such as {"one", "hundred"} and {"cent"}. No French
/// words for the English "and".
struct NumberChunk {
  std::vector<std::string> english;
  std::vector<std::string> french;
};

inline constexpr int kLargestNumber = 9999;

/// The chunks of a number, in the common order of both languages; `feminine`: a final "un" becomes
/// "une".
/// Throws: std::out_of_range, naming `who`, unless 0 <= n <= kLargestNumber.
std::vector<NumberChunk> number_chunks(int n, bool feminine, const char* who);

}  // namespace attend::demo

namespace attend {

/// `four hundred and twelve`.
/// Throws: std::out_of_range unless 0 <= n <= 9999.
std::string english_number(int n);

/// `quatre cent douze`, masculine.
/// Throws: std::out_of_range unless 0 <= n <= 9999.
std::string french_number(int n);

}  // namespace attend
