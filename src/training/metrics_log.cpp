#include "training/metrics_log.h"

#include <nlohmann/json.hpp>
#include <string>

#include "attend/file_error.h"
#include "detail/atomic_file.h"

namespace attend::detail {
namespace {

using nlohmann::ordered_json;

// The lines of an earlier run that hold, whole.
std::string lines_up_to(const std::filesystem::path& path, int64_t update) {
  std::ifstream stream(path);
  std::string kept;
  for (std::string line; std::getline(stream, line);) {
    const auto value = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_object() && value.value("update", int64_t{0}) <= update) kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t update) : path_(path) {
  if (std::filesystem::exists(path)) write_file_atomically(path, lines_up_to(path, update));
  stream_.open(path, std::ios::app);
  if (!stream_) throw FileError(path, "cannot open for writing");
}

void MetricsLog::write(const TrainingReport& report) {
  const ordered_json line{{"type", "train"},
                          {"epoch", report.epoch},
                          {"update", report.update},
                          {"sentences", report.examples},
                          {"cost", report.cost},
                          {"tokens_per_second", report.tokens_per_second},
                          {"gradient_norm", report.gradient_norm},
                          {"skipped", report.skipped},
                          {"learning_rate", report.learning_rate},
                          {"elapsed", report.elapsed},
                          {"time_left", report.time_left}};
  write_line(line.dump());
}

void MetricsLog::write(const ValidationReport& report) {
  ordered_json line{{"type", "validation"},
                    {"epoch", report.epoch},
                    {"update", report.update},
                    {"elapsed", report.elapsed}};
  for (const auto& [metric, score] : report.scores) line[metric] = score;
  line["improved"] = report.improved;
  if (report.of_mean) line["of_mean"] = true;
  write_line(line.dump());
}

void MetricsLog::write_line(const std::string& line) {
  stream_ << line << '\n' << std::flush;
  if (!stream_) throw FileError(path_, "cannot write");
}

}  // namespace attend::detail
