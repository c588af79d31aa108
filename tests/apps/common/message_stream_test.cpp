#include "common/message_stream.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "attend/file_error.h"
#include "detail/read_file.h"

namespace attend::app::message_stream_test {
namespace {

namespace fs = std::filesystem;

// Stands in for the screen, and has a place for a log.
class MessageStreams : public ::testing::Test {
 protected:
  MessageStreams() : before_(std::cerr.rdbuf(screen.rdbuf())) { fs::remove(log); }
  ~MessageStreams() override {
    std::cerr.rdbuf(before_);
    fs::remove(log);
  }
  MessageStreams(const MessageStreams&) = delete;
  MessageStreams& operator=(const MessageStreams&) = delete;

  // The log without the times.
  std::string logged() const {
    static const std::regex time(R"(\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] )");
    return std::regex_replace(detail::read_file(log), time, "@ ");
  }

  std::ostringstream screen;
  fs::path log = fs::path(::testing::TempDir()) / "attend-message-stream.log";

 private:
  std::streambuf* before_;
};

TEST_F(MessageStreams, TheLogHasWhatTheScreenHasWithTheTimeOfEachLine) {
  {
    MessageStream messages;
    messages.log_to(log);
    std::cerr << "one " << 2 << '\n' << "\nthree\nfour";
  }
  EXPECT_EQ(screen.str(), "one 2\n\nthree\nfour");
  EXPECT_EQ(logged(), "@ one 2\n@ \n@ three\n");  // only whole lines
  {
    MessageStream messages;
    messages.log_to(log);
    std::cerr << "five\n";
  }
  EXPECT_EQ(logged(), "@ one 2\n@ \n@ three\n@ five\n");  // appended
}

TEST_F(MessageStreams, WhatIsNotShownIsLoggedAllTheSame) {
  MessageStream messages;
  messages.log_to(log);
  messages.show(false);
  std::cerr << "hidden\n";
  messages.show(true);
  std::cerr << "shown\n";
  EXPECT_EQ(screen.str(), "shown\n");
  EXPECT_EQ(logged(), "@ hidden\n@ shown\n");
}

TEST_F(MessageStreams, ABarThatIsTakenBackIsNotLogged) {
  MessageStream messages;
  messages.log_to(log);
  std::cerr << "\r10 %\033[K"
            << "\r20 %\033[K"
            << "\r\033[K"
            << "a line\n"
            << "\r30 %\033[K";
  EXPECT_EQ(screen.str(), "\r10 %\033[K\r20 %\033[K\r\033[Ka line\n\r30 %\033[K");
  EXPECT_EQ(logged(), "@ a line\n");
}

TEST_F(MessageStreams, ManyThreadsMayWrite) {
  constexpr int kThreads = 3, kLines = 200;
  {
    MessageStream messages;
    messages.log_to(log);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&messages, t] {
        const auto text = std::string(20, static_cast<char>('a' + t)) + "\n";
        for (int i = 0; i < kLines; ++i) messages.sputn(text.data(), std::ssize(text));
      });
    }
    for (auto& thread : threads) thread.join();
  }
  std::istringstream lines(logged());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_EQ(line, "@ " + std::string(20, line.back()));
  }
  EXPECT_EQ(count, kThreads * kLines);
}

TEST_F(MessageStreams, ALogThatCannotBeWrittenIsNamed) {
  MessageStream messages;
  for (const auto& path : {log / "below", fs::path(::testing::TempDir())}) {
    try {
      messages.log_to(path);
      ADD_FAILURE() << path;
    } catch (const FileError& error) {
      EXPECT_NE(std::string(error.what()).find(path.string() + ": "), std::string::npos);
    }
  }
  if (fs::exists("/dev/full")) {  // a disk that is full ends the log, not the program
    messages.log_to("/dev/full");
    std::cerr << "one\n"
              << "two\n";
    EXPECT_EQ(screen.str(), "one\n/dev/full: cannot write, the log ends here\ntwo\n");
  }
}

}  // namespace
}  // namespace attend::app::message_stream_test
