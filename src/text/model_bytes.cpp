#include "text/model_bytes.h"

#include <fmt/format.h>

#include <cstdint>

namespace attend::detail {
namespace {

// ---- Protocol buffers ---------------------------------------------------------------------------

// Removes a varint (7 bits per byte) from the front; nullopt if there is none.
std::optional<uint64_t> take_varint(std::string_view& bytes) {
  constexpr unsigned kMostBits = 64, kBits = 7, kMore = 0x80;
  uint64_t value = 0;
  for (unsigned shift = 0; shift < kMostBits && !bytes.empty(); shift += kBits) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & (kMore - 1)} << shift;
    if (byte < kMore) return value;
  }
  return std::nullopt;
}

// Calls use(number, bytes) for each length-delimited field of a message until one returns a
// problem. Malformed messages are left to SentencePiece's parser, which rejects them.
template <typename Use>
std::optional<std::string> first_problem(std::string_view message, const Use& use) {
  enum WireType : unsigned { kNumber, kEightBytes, kBytes, kGroup, kEndOfGroup, kFourBytes };
  while (!message.empty()) {
    const auto tag = take_varint(message);
    if (!tag) return std::nullopt;
    uint64_t size = 0;
    switch (*tag & 7U) {
      case kNumber:
        if (!take_varint(message)) return std::nullopt;
        break;
      case kEightBytes:
        size = 8;
        break;
      case kFourBytes:
        size = 4;
        break;
      case kBytes: {
        const auto length = take_varint(message);
        if (!length || *length > message.size()) return std::nullopt;
        size = *length;
        if (auto problem = use(*tag >> 3U, message.substr(0, size))) return problem;
        break;
      }
      case kGroup:
      case kEndOfGroup:
        break;
      default:
        return std::nullopt;
    }
    if (size > message.size()) return std::nullopt;
    message.remove_prefix(size);
  }
  return std::nullopt;
}

// ---- The parts of a model -----------------------------------------------------------------------

std::optional<std::string> problem_of_piece(std::string_view piece) {
  constexpr size_t kMostBytes = 7999;  // SentencePiece needs stack space in proportion to a piece
  if (piece.size() > kMostBytes) return fmt::format("a piece of {} bytes", piece.size());
  if (piece.size() > 1 && piece.find('\0') != std::string_view::npos) return "a piece with a NUL";
  return std::nullopt;
}

uint32_t little_endian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8U * i);
  }
  return value;
}

// A double-array trie: from unit i, the byte c leads to unit i ^ offset ^ c, or to a value.
// Source: Darts-clone, https://github.com/s-yata/darts-clone.
class Trie {
 public:
  explicit Trie(std::string_view bytes) : bytes_(bytes) {}

  // Whether all transitions stay inside the array, and all values are below `values`.
  bool is_sound(size_t values) const {
    const auto size = bytes_.size() / sizeof(uint32_t);
    if (is_value(0) || has_value(0) || next(0) == 0) return false;
    for (size_t i = 0; i < size; ++i) {
      if (is_value(i)) {
        if ((unit(i) & kValue) >= values) return false;
      } else if ((next(i) | kLastByte) >= size || (has_value(i) && !is_value(next(i)))) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr uint32_t kIsValue = 1U << 31U, kValue = kIsValue - 1, kLastByte = 0xFF;

  uint32_t unit(size_t i) const { return little_endian(bytes_, i * sizeof(uint32_t)); }
  bool is_value(size_t i) const { return (unit(i) & kIsValue) != 0; }
  bool has_value(size_t i) const { return ((unit(i) >> 8U) & 1U) != 0; }
  size_t next(size_t i) const {
    return i ^ (size_t{unit(i) >> 10U} << ((unit(i) & (1U << 9U)) >> 6U));
  }

  std::string_view bytes_;
};

// The table is the size of the trie, the trie, and the strings that its values are offsets into.
std::optional<std::string> problem_of_normaliser(std::string_view table) {
  constexpr auto kProblem = "a normaliser whose tables do not fit together";
  constexpr size_t kBlock = 1024;  // in bytes: 256 units, one for each value of a byte
  if (table.empty()) return std::nullopt;
  if (table.size() < sizeof(uint32_t)) return kProblem;
  const size_t trie = little_endian(table, 0);
  table.remove_prefix(sizeof(uint32_t));
  if (trie == 0 || trie % kBlock != 0 || trie >= table.size() || table.back() != '\0') {
    return kProblem;
  }
  if (!Trie(table.substr(0, trie)).is_sound(table.size() - trie)) return kProblem;
  return std::nullopt;
}

}  // namespace

std::optional<std::string> unsafe_part(std::string_view model) {
  using Problem = std::optional<std::string>;
  constexpr uint64_t kPieces = 1, kNormaliser = 3, kDenormaliser = 5;  // fields of ModelProto
  constexpr uint64_t kPiece = 1, kTable = 2;                           // of its submessages
  return first_problem(model, [](uint64_t number, std::string_view part) -> Problem {
    if (number == kPieces) {
      return first_problem(part, [](uint64_t field, std::string_view bytes) -> Problem {
        return field == kPiece ? problem_of_piece(bytes) : std::nullopt;
      });
    }
    if (number == kNormaliser || number == kDenormaliser) {
      return first_problem(part, [](uint64_t field, std::string_view bytes) -> Problem {
        return field == kTable ? problem_of_normaliser(bytes) : std::nullopt;
      });
    }
    return std::nullopt;
  });
}

}  // namespace attend::detail
