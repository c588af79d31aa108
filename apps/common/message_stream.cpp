#include "common/message_stream.h"

#include <fmt/format.h>

#include <ctime>
#include <iostream>

#include "attend/file_error.h"

namespace attend::app {
namespace {

std::string local_time() {
  const auto now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  return fmt::format("{}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace

MessageStream::MessageStream() : screen_(std::cerr.rdbuf(this)) {}

MessageStream::~MessageStream() { std::cerr.rdbuf(screen_); }

void MessageStream::show(bool shown) {
  const std::lock_guard lock(mutex_);
  shown_ = shown;
}

void MessageStream::log_to(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  if (std::filesystem::is_directory(path)) throw FileError(path, "expected a file, got a folder");
  log_.open(path, std::ios::binary | std::ios::app);
  if (!log_) throw FileError(path, "cannot open for writing");
  log_path_ = path;
}

void MessageStream::log(std::string_view text) {
  if (!log_.is_open()) return;
  line_ += text;
  size_t start = 0;
  for (auto end = line_.find('\n'); end != std::string::npos; end = line_.find('\n', start)) {
    std::string_view line(line_.data() + start, end - start);
    line.remove_prefix(line.rfind('\r') + 1);  // all of it where there is none: npos + 1 is 0
    constexpr std::string_view kClearRest = "\033[K";
    if (line.starts_with(kClearRest)) line.remove_prefix(kClearRest.size());
    log_ << '[' << local_time() << "] " << line << '\n';
    start = end + 1;
  }
  line_.erase(0, start);
  // A bar that is drawn again and again is one line that never ends.
  const auto last = line_.rfind('\r');
  if (last != std::string::npos) line_.erase(0, last);
  if (log_.flush()) return;
  log_.close();
  const auto failed = fmt::format("{}: cannot write, the log ends here\n", log_path_.string());
  screen_->sputn(failed.data(), static_cast<std::streamsize>(failed.size()));
}

MessageStream::int_type MessageStream::overflow(int_type character) {
  if (traits_type::eq_int_type(character, traits_type::eof()))
    return traits_type::not_eof(character);
  const auto one = traits_type::to_char_type(character);
  return xsputn(&one, 1) == 1 ? character : traits_type::eof();
}

std::streamsize MessageStream::xsputn(const char* text, std::streamsize size) {
  const std::lock_guard lock(mutex_);
  // A screen that is gone, as a closed terminal, does not end the log.
  if (shown_) screen_->sputn(text, size);
  log({text, static_cast<size_t>(size)});
  return size;
}

int MessageStream::sync() {
  const std::lock_guard lock(mutex_);
  if (shown_) screen_->pubsync();
  return 0;
}

}  // namespace attend::app
