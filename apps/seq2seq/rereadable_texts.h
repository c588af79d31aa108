#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace attend::app {

/// Throws FileError unless each path leads to a file that can be read, or to a pipe, and c10::ValueError where two of
/// them are one pipe. No pipe is opened.
void check_texts(const std::vector<std::filesystem::path>& texts);

/// Texts that can be read as often as need be: files are read where they lie, and of pipes a copy is made in `folder`,
/// which is removed in the end. Pipes are read at the same time, since one process may fill both.
///
/// Throws: FileError.
class RereadableTexts {
 public:
  /// Tells `note` what is copied where. Once `stop_requested`, copying ends early.
  RereadableTexts(std::vector<std::filesystem::path> texts, const std::filesystem::path& folder,
                  const std::function<void(const std::string&)>& note,
                  const std::function<bool()>& stop_requested);
  ~RereadableTexts();
  RereadableTexts(const RereadableTexts&) = delete;
  RereadableTexts& operator=(const RereadableTexts&) = delete;
  RereadableTexts(RereadableTexts&&) = delete;
  RereadableTexts& operator=(RereadableTexts&&) = delete;

  /// As many as were given.
  const std::vector<std::filesystem::path>& paths() const { return paths_; }

 private:
  void remove_copies();

  std::vector<std::filesystem::path> paths_, copies_;
};

}  // namespace attend::app
