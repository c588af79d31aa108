#pragma once

#include <filesystem>
#include <fstream>
#include <mutex>
#include <streambuf>
#include <string>

namespace attend::app {

/// What is behind std::cerr while a program runs: the screen, and a log file if there is one.
///
/// The log gets whole lines, each with the local time before it, as they stand on a terminal in the
/// end: what a carriage return takes back, as in a progress bar, is left out. Several threads may
/// write.
class MessageStream : public std::streambuf {
 public:
  MessageStream();
  ~MessageStream() override;
  MessageStream(const MessageStream&) = delete;
  MessageStream& operator=(const MessageStream&) = delete;
  MessageStream(MessageStream&&) = delete;
  MessageStream& operator=(MessageStream&&) = delete;

  /// Whether the screen shows messages. The log gets them all the same.
  void show(bool shown);

  /// Appends all further messages to a file. Throws FileError if it cannot be written.
  void log_to(const std::filesystem::path& path);

 protected:
  int_type overflow(int_type character) override;
  std::streamsize xsputn(const char* text, std::streamsize size) override;
  int sync() override;

 private:
  void log(std::string_view text);

  std::mutex mutex_;
  std::streambuf* screen_;
  bool shown_ = true;
  std::ofstream log_;
  std::filesystem::path log_path_;
  std::string line_;  // of the log, begun
};

}  // namespace attend::app
