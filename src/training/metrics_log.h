#pragma once

#include <filesystem>
#include <fstream>

#include "attend/training/training_report.h"

namespace attend::detail {

/// A JSON Lines file: one object a report, written and flushed whole.
class MetricsLog {
 public:
  /// Opens for appending. Lines about later updates than `update` are dropped first: they are of a
  /// run that went on past its last snapshot and is now going over the same updates again.
  /// Throws: FileError.
  MetricsLog(const std::filesystem::path& path, int64_t update);

  void write(const TrainingReport& report);
  void write(const ValidationReport& report);

 private:
  void write_line(const std::string& line);

  std::filesystem::path path_;
  std::ofstream stream_;
};

}  // namespace attend::detail
