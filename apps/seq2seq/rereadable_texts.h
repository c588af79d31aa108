#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace attend::app {

/// Checks that each path is a readable file or a pipe (FileError), and that no two are the same
/// pipe (c10::ValueError). Opens no pipe.
void check_texts(const std::vector<std::filesystem::path>& texts);

/// Texts that can be read several times: a file at its own path, a pipe as a copy in `folder`,
/// which the destructor removes. Pipes are copied concurrently, since one process may write to
/// both.
///
/// Throws: FileError.
class RereadableTexts {
 public:
  /// Calls `note` for each copy. Stops copying early once `stop_requested` returns true.
  RereadableTexts(std::vector<std::filesystem::path> texts, const std::filesystem::path& folder,
                  const std::function<void(const std::string&)>& note,
                  const std::function<bool()>& stop_requested);
  ~RereadableTexts();
  RereadableTexts(const RereadableTexts&) = delete;
  RereadableTexts& operator=(const RereadableTexts&) = delete;
  RereadableTexts(RereadableTexts&&) = delete;
  RereadableTexts& operator=(RereadableTexts&&) = delete;

  /// The paths to read, in the given order.
  const std::vector<std::filesystem::path>& paths() const { return paths_; }

 private:
  void remove_copies();

  std::vector<std::filesystem::path> paths_, copies_;
};

}  // namespace attend::app
