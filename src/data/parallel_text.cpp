#include "attend/data/parallel_text.h"

#include <fmt/format.h>

#include <utility>

#include "attend/checkpoint/file_error.h"
#include "attend/text/lines.h"

namespace attend {

ParallelText read_parallel(const std::filesystem::path& source_path,
                           const std::filesystem::path& target_path) {
  ParallelText text{read_lines(source_path), read_lines(target_path)};
  if (text.source.size() != text.target.size()) {
    throw FileError(target_path,
                    fmt::format("expected {} lines, as many as in {}, got {}", text.source.size(),
                                source_path.string(), text.target.size()));
  }
  return text;
}

}  // namespace attend
