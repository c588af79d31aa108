#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace attend::testing_support {

/// A folder of the running test's own, empty at first and removed with the files in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string("attend_") + test->test_suite_name() + "_" + test->name();
    for (auto& c : name) {
      if (c == '/') c = '_';  // of parameterised tests
    }
    static std::atomic<int> made = 0;  // a test may have several
    path_ = std::filesystem::path(testing::TempDir()) / (name + "_" + std::to_string(++made));
    remove_recursively(path_);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { remove_recursively(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Writes a file into the folder and returns its path.
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    const auto path = path_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  /// The bytes of a file.
  static std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    EXPECT_TRUE(file) << path;
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  // Not std::filesystem::remove_all: libtorch.so exports one that calls a null pointer.
  static void remove_recursively(const std::filesystem::path& path) {
    if (std::filesystem::is_directory(std::filesystem::symlink_status(path))) {
      for (const auto& entry : std::filesystem::directory_iterator(path)) {
        remove_recursively(entry.path());
      }
    }
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }

  std::filesystem::path path_;
};

}  // namespace attend::testing_support
