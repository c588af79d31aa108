#include "demo_corpus/number_words.h"

#include <array>
#include <cstddef>
#include <stdexcept>

namespace attend::demo {
namespace {

constexpr std::array<const char*, 20> kEnglishOnes = {
    "zero",     "one",     "two",     "three",     "four",     "five",    "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<const char*, 10> kEnglishTens = {
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};

constexpr std::array<const char*, 20> kFrenchOnes = {
    "zéro",     "un",     "deux",  "trois",    "quatre",   "cinq",    "six",
    "sept",     "huit",   "neuf",  "dix",      "onze",     "douze",   "treize",
    "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf"};
// Seventy and ninety are sixty and eighty plus 10 to 19.
constexpr std::array<const char*, 10> kFrenchTens = {
    "",          "",         "vingt",    "trente",       "quarante",
    "cinquante", "soixante", "soixante", "quatre-vingt", "quatre-vingt"};

std::string english_below_hundred(int n) {
  if (n < 20) return kEnglishOnes.at(static_cast<std::size_t>(n));
  std::string text = kEnglishTens.at(static_cast<std::size_t>(n / 10));
  if (n % 10 != 0) text += std::string("-") + kEnglishOnes.at(static_cast<std::size_t>(n % 10));
  return text;
}

std::vector<std::string> french_below_hundred(int n, bool feminine) {
  const auto one = [&](int unit) -> std::string {
    return unit == 1 && feminine ? "une" : kFrenchOnes.at(static_cast<std::size_t>(unit));
  };
  if (n < 20) return {one(n)};
  if (n == 80) return {"quatre-vingts"};
  const std::string tens = kFrenchTens.at(static_cast<std::size_t>(n / 10));
  const bool counts_on = n / 10 == 7 || n / 10 == 9;
  const int unit = n % 10 + (counts_on ? 10 : 0);
  if (unit == 0) return {tens};
  // vingt et un, soixante et onze; but quatre-vingt-un, quatre-vingt-onze.
  if (n % 10 == 1 && n < 80) return {tens, "et", one(unit)};
  return {tens + "-" + one(unit)};
}

std::string joined(const std::vector<NumberChunk>& chunks,
                   std::vector<std::string> NumberChunk::*side) {
  std::string text;
  for (const NumberChunk& chunk : chunks) {
    for (const std::string& word : chunk.*side) {
      if (!text.empty()) text += ' ';
      text += word;
    }
  }
  return text;
}

}  // namespace

std::vector<NumberChunk> number_chunks(int n, bool feminine, const char* who) {
  if (n < 0 || n > kLargestNumber) {
    throw std::out_of_range(std::string(who) + ": expected a number from 0 to " +
                            std::to_string(kLargestNumber) + ", got " + std::to_string(n));
  }
  const int thousands = n / 1000;
  const int hundreds = n / 100 % 10;
  const int rest = n % 100;
  std::vector<NumberChunk> chunks;
  const auto add_multiple = [&](int count, const char* english, const char* french) {
    if (count == 1) {  // no "un" in French: mille, cent.
      chunks.push_back({{"one", english}, {french}});
    } else {
      chunks.push_back({{english_below_hundred(count)}, french_below_hundred(count, false)});
      chunks.push_back({{english}, {french}});
    }
  };
  if (thousands > 0) add_multiple(thousands, "thousand", "mille");
  if (hundreds > 0) add_multiple(hundreds, "hundred", hundreds > 1 && rest == 0 ? "cents" : "cent");
  if (n >= 100 && rest > 0) chunks.push_back({{"and"}, {}});
  if (rest > 0 || n == 0) {
    chunks.push_back({{english_below_hundred(rest)}, french_below_hundred(rest, feminine)});
  }
  return chunks;
}

}  // namespace attend::demo

namespace attend {

std::string english_number(int n) {
  return demo::joined(demo::number_chunks(n, false, "english_number"), &demo::NumberChunk::english);
}

std::string french_number(int n) {
  return demo::joined(demo::number_chunks(n, false, "french_number"), &demo::NumberChunk::french);
}

}  // namespace attend
