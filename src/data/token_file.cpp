#include "attend/data/token_file.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <string_view>

#include "attend/file_error.h"
#include "data/fingerprint.h"
#include "detail/atomic_file.h"
#include "detail/read_file.h"

namespace attend {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read as they lie");

constexpr std::string_view kMagic = "attend tokens 1\n";

// The last bytes of a file.
struct Footer {
  uint64_t pairs = 0, blocks = 0, note_size = 0, fingerprint = 0;
  std::array<char, kMagic.size()> magic{};
};

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::vector<int64_t> read_ids(std::string_view& words, size_t count) {
  std::vector<int64_t> ids(count);
  for (auto& id : ids) {
    uint32_t word = 0;
    std::memcpy(&word, words.data(), sizeof(word));
    words.remove_prefix(sizeof(word));
    id = word;
  }
  return ids;
}

}  // namespace

TokenFile::TokenFile(std::filesystem::path path) : path_(std::move(path)) {
  auto file = detail::open_for_reading(path_);
  const auto fail = [&](const std::string& what) { throw FileError(path_, what); };
  file.seekg(0, std::ios::end);
  const auto size = static_cast<uint64_t>(file.tellg());
  Footer footer;
  if (size < kMagic.size() + sizeof(footer)) fail("expected a token file, got a shorter one");
  std::array<char, kMagic.size()> magic{};
  file.seekg(0);
  file.read(magic.data(), magic.size());
  file.seekg(static_cast<std::streamoff>(size - sizeof(footer)));
  file.read(reinterpret_cast<char*>(&footer), sizeof(footer));
  const auto is_magic = [](const auto& bytes) {
    return std::string_view(bytes.data(), bytes.size()) == kMagic;
  };
  if (!file || !is_magic(magic)) fail("expected a token file, got another file");
  if (!is_magic(footer.magic)) fail("expected a whole token file, got one that was cut off");
  const uint64_t room = size - kMagic.size() - sizeof(footer);
  if (footer.note_size > room || footer.blocks > (room - footer.note_size) / sizeof(uint64_t) ||
      footer.blocks != footer.pairs / kBlockPairs + (footer.pairs % kBlockPairs > 0 ? 1 : 0)) {
    fail("expected a whole token file, got one whose numbers do not fit together");
  }
  const uint64_t index_size = footer.blocks * sizeof(uint64_t);
  const uint64_t records_end = size - sizeof(footer) - footer.note_size - index_size;
  starts_.resize(footer.blocks);
  note_.resize(footer.note_size);
  file.seekg(static_cast<std::streamoff>(records_end));
  file.read(reinterpret_cast<char*>(starts_.data()), static_cast<std::streamsize>(index_size));
  file.read(note_.data(), static_cast<std::streamsize>(note_.size()));
  if (!file) fail("cannot read");
  starts_.push_back(records_end);
  if (starts_.front() != kMagic.size() || !std::ranges::is_sorted(starts_)) {
    fail("expected a whole token file, got one whose blocks are out of order");
  }
  pairs_ = footer.pairs;
  fingerprint_ = footer.fingerprint;
}

std::vector<TokenPair> TokenFile::read(const std::vector<size_t>& blocks) const {
  auto file = detail::open_for_reading(path_);
  std::vector<TokenPair> pairs;
  std::string bytes;
  for (const auto block : blocks) {
    TORCH_CHECK_INDEX(block < this->blocks(), "TokenFile: expected a block in [0, ", this->blocks(),
                      "), got ", block);
    bytes.resize(starts_[block + 1] - starts_[block]);
    file.seekg(static_cast<std::streamoff>(starts_[block]));
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file) throw FileError(path_, fmt::format("cannot read block {}", block));
    std::string_view rest = bytes;
    const size_t count = std::min(kBlockPairs, pairs_ - block * kBlockPairs);
    for (size_t i = 0; i < count; ++i) {
      std::array<uint32_t, 2> lengths{};
      const bool has_lengths = rest.size() >= sizeof(lengths);
      if (has_lengths) std::memcpy(lengths.data(), rest.data(), sizeof(lengths));
      const auto ids = (uint64_t{lengths[0]} + lengths[1]) * sizeof(uint32_t);
      if (!has_lengths || rest.size() - sizeof(lengths) < ids) {
        throw FileError(
            path_, fmt::format("expected {} pairs in block {}, got {} and a part of one", count,
                               block, i));
      }
      rest.remove_prefix(sizeof(lengths));
      auto source = read_ids(rest, lengths[0]);
      pairs.push_back({std::move(source), read_ids(rest, lengths[1])});
    }
  }
  return pairs;
}

struct TokenFileWriter::State {
  explicit State(const std::filesystem::path& to) : file(to), path(to), buffer(kMagic) {}

  detail::AtomicFile file;
  std::filesystem::path path;
  std::string buffer;
  std::vector<uint64_t> starts;
  uint64_t written = 0, pairs = 0;
  detail::Fingerprint fingerprint;

  void flush() {
    file.write(buffer);
    written += buffer.size();
    buffer.clear();
  }
};

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path)
    : state_(std::make_unique<State>(path)) {}
TokenFileWriter::~TokenFileWriter() = default;
TokenFileWriter::TokenFileWriter(TokenFileWriter&&) noexcept = default;
TokenFileWriter& TokenFileWriter::operator=(TokenFileWriter&&) noexcept = default;

void TokenFileWriter::add(const TokenPair& pair) {
  constexpr size_t kBufferSize = size_t{1} << 20U;
  auto& s = *state_;
  const auto put = [&](size_t value) {
    TORCH_CHECK_VALUE(value <= std::numeric_limits<uint32_t>::max(),
                      "TokenFileWriter: expected ids and lengths below 2^32, got ", value);
    s.buffer += bytes_of(static_cast<uint32_t>(value));
  };
  if (s.pairs % TokenFile::kBlockPairs == 0) s.starts.push_back(s.written + s.buffer.size());
  put(pair.source.size());
  put(pair.target.size());
  for (const auto id : pair.source) put(static_cast<size_t>(id));
  for (const auto id : pair.target) put(static_cast<size_t>(id));
  s.fingerprint.add(pair);
  ++s.pairs;
  if (s.buffer.size() >= kBufferSize) s.flush();
}

TokenFile TokenFileWriter::commit(const std::string& note) {
  auto& s = *state_;
  for (const auto start : s.starts) s.buffer += bytes_of(start);
  s.buffer += note;
  Footer footer{s.pairs, s.starts.size(), note.size(), s.fingerprint.value()};
  std::ranges::copy(kMagic, footer.magic.begin());
  s.buffer += bytes_of(footer);
  s.flush();
  s.file.commit();
  return TokenFile(s.path);
}

}  // namespace attend
