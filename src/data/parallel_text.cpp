#include "attend/data/parallel_text.h"

#include <fmt/format.h>

#include <fstream>
#include <limits>
#include <utility>

#include "attend/file_error.h"
#include "attend/text/lines.h"
#include "detail/check.h"
#include "detail/read_file.h"

namespace attend {
namespace {

// Keeps every second one.
void thin_out(std::vector<std::string>& lines) {
  for (size_t i = 1; 2 * i < lines.size(); ++i) lines[i] = std::move(lines[2 * i]);
  lines.resize((lines.size() + 1) / 2);
}

}  // namespace

struct ParallelReader::State {
  State(const std::filesystem::path& source_path, const std::filesystem::path& target_path)
      : source_path(source_path),
        target_path(target_path),
        source_file(detail::open_for_reading(source_path)),
        target_file(detail::open_for_reading(target_path)) {}

  std::filesystem::path source_path, target_path;
  std::ifstream source_file, target_file;
  LineReader source{source_file, source_path.string()}, target{target_file, target_path.string()};
};

ParallelReader::ParallelReader(const std::filesystem::path& source_path,
                               const std::filesystem::path& target_path)
    : state_(std::make_unique<State>(source_path, target_path)) {}
ParallelReader::~ParallelReader() = default;
ParallelReader::ParallelReader(ParallelReader&&) noexcept = default;
ParallelReader& ParallelReader::operator=(ParallelReader&&) noexcept = default;

ParallelText ParallelReader::next(size_t count) {
  auto& s = *state_;
  ParallelText text;
  while (text.size() < count) {
    auto source = s.source.next();
    auto target = s.target.next();
    if (!source && !target) break;
    if (source.has_value() != target.has_value()) {
      // Read the rest, so that the error gives both numbers of lines.
      while (s.source.next()) continue;
      while (s.target.next()) continue;
      throw FileError(s.target_path, fmt::format("expected {} lines, as many as in {}, got {}",
                                                 s.source.line_number(), s.source_path.string(),
                                                 s.target.line_number()));
    }
    text.source.push_back(std::move(*source));
    text.target.push_back(std::move(*target));
  }
  return text;
}

ParallelText read_parallel(const std::filesystem::path& source_path,
                           const std::filesystem::path& target_path) {
  return ParallelReader(source_path, target_path).next(std::numeric_limits<size_t>::max());
}

SentenceSample sample_parallel(const std::filesystem::path& source_path,
                               const std::filesystem::path& target_path, int64_t max_pairs) {
  detail::check_positive("sample_parallel", "max_pairs", max_pairs);
  ParallelReader reader(source_path, target_path);
  SentenceSample sample;
  ParallelText kept;
  int64_t every = 1;
  for (;;) {
    auto pair = reader.next(1);
    if (pair.size() == 0) break;
    if (sample.pairs++ % every != 0) continue;
    if (static_cast<int64_t>(kept.size()) == max_pairs) {
      thin_out(kept.source);
      thin_out(kept.target);
      every *= 2;
      if ((sample.pairs - 1) % every != 0) continue;
    }
    kept.source.push_back(std::move(pair.source.front()));
    kept.target.push_back(std::move(pair.target.front()));
  }
  sample.sentences = std::move(kept.source);
  sample.sentences.insert(sample.sentences.end(), std::make_move_iterator(kept.target.begin()),
                          std::make_move_iterator(kept.target.end()));
  return sample;
}

}  // namespace attend
