#include "attend/text/lines.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "attend/file_error.h"
#include "support/temporary_folder.h"

namespace attend::lines_test {
namespace {

using std::string_literals::operator""s;
using Lines = std::vector<std::string>;

class ReadLines : public testing::Test {
 protected:
  std::filesystem::path write(std::string_view content) const {
    return folder_.write("input.txt", content);
  }

  testing_support::TemporaryFolder folder_;
};

// The message of the FileError that `call` throws; empty where it throws none.
template <typename Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const FileError& e) {
    return e.what();
  }
  return {};
}

TEST_F(ReadLines, EveryWayToEndALineGivesTheSameLines) {
  const Lines expected{"one", "two"};
  EXPECT_EQ(read_lines(write("one\ntwo\n")), expected);
  EXPECT_EQ(read_lines(write("one\ntwo")), expected);
  EXPECT_EQ(read_lines(write("one\r\ntwo\r\n")), expected);
  EXPECT_EQ(read_lines(write("\xEF\xBB\xBFone\ntwo\n")), expected);
}

TEST_F(ReadLines, NothingElseEndsALineOrIsTakenAway) {
  EXPECT_EQ(read_lines(write("a\rb\n c \t\n\xE2\x80\xA8\xC2\x85\n")),
            (Lines{"a\rb", " c \t", "\xE2\x80\xA8\xC2\x85"}));
  EXPECT_EQ(read_lines(write("a\n\xEF\xBB\xBFz\n")), (Lines{"a", "\xEF\xBB\xBFz"}));
}

TEST_F(ReadLines, EmptyLinesAreKept) {
  EXPECT_EQ(read_lines(write("\n\na\n\n")), (Lines{"", "", "a", ""}));
  EXPECT_EQ(read_lines(write("\r\n\n")), (Lines{"", ""}));
}

TEST_F(ReadLines, AnEmptyFileHasNoLines) {
  EXPECT_EQ(read_lines(write("")), Lines{});
  EXPECT_EQ(read_lines(write("\xEF\xBB\xBF")), Lines{});
  EXPECT_EQ(read_lines(write("\xEF\xBB\xBF\n")), Lines{""});
}

TEST_F(ReadLines, AVeryLongLineIsOneLine) {
  const std::string line(1 << 20, 'x');
  EXPECT_EQ(read_lines(write(line + "\n" + line)), (Lines{line, line}));
}

TEST_F(ReadLines, WellFormedTextOfEveryLengthIsAccepted) {
  const Lines lines{"\x01\x7F",     "\xC2\x80",         "\xDF\xBF",
                    "\xE0\xA0\x80", "\xED\x9F\xBF",     "\xEE\x80\x80",
                    "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
  std::string content;
  for (const auto& line : lines) content += line + "\n";
  EXPECT_EQ(read_lines(write(content)), lines);
}

TEST_F(ReadLines, MalformedTextIsRefusedWithFileAndLine) {
  const Lines malformed{
      "\x80",              // a continuation byte alone
      "\xC0\x80",          // NUL, overlong
      "\xC1\xBF",          // overlong
      "\xC3",              // cut off
      "\xC3(",             // not continued
      "\xE0\x9F\xBF",      // overlong
      "\xE2\x82",          // cut off
      "\xED\xA0\x80",      // a surrogate
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xF0\x9F\x98",      // cut off
      "\xF4\x90\x80\x80",  // beyond U+10FFFF
      "\xF8\x88\x80\x80\x80",
      "\xFF",
  };
  for (const auto& bytes : malformed) {
    const auto path = write("fine\nab" + bytes + "\n");
    const auto message = error_of([&] { read_lines(path); });
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    EXPECT_NE(message.find("expected UTF-8 in line 2"), std::string::npos) << message;
    EXPECT_NE(message.find("at column 3"), std::string::npos) << message;
  }
}

TEST_F(ReadLines, ANulIsRefusedWithFileAndLine) {
  const auto path = write("a\nb\0c\n"s);
  const auto message = error_of([&] { read_lines(path); });
  EXPECT_NE(message.find(path.string()), std::string::npos) << message;
  EXPECT_NE(message.find("expected text in line 2, got a NUL at column 2"), std::string::npos)
      << message;
}

TEST_F(ReadLines, FilesOfOtherFormatsAreNamed) {
  EXPECT_NE(error_of([&] {
              read_lines(write("\x1F\x8B\x08\0\0"s));
            }).find("got a gzip file; decompress it first"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              read_lines(
                  write("\xFF\xFE"
                        "a\0\n\0"s));
            }).find("got UTF-16; convert it first"),
            std::string::npos);
}

TEST_F(ReadLines, AMissingFileOrAFolderIsRefusedByName) {
  const auto missing = folder_.path() / "missing.txt";
  const auto message = error_of([&] { read_lines(missing); });
  EXPECT_NE(message.find(missing.string()), std::string::npos) << message;
  EXPECT_NE(message.find("No such file"), std::string::npos) << message;
  EXPECT_NE(error_of([&] { read_lines(folder_.path()); }).find("got a folder"), std::string::npos);
}

TEST(LineReader, GoesOnAfterARefusedLine) {
  std::istringstream stream("one\n\xFF\nthree\n");
  LineReader reader(stream, "standard input");
  EXPECT_EQ(reader.line_number(), 0);
  EXPECT_EQ(reader.next(), "one");
  EXPECT_NE(error_of([&] { reader.next(); }).find("standard input"), std::string::npos);
  EXPECT_EQ(reader.line_number(), 2);
  EXPECT_EQ(reader.next(), "three");
  EXPECT_EQ(reader.line_number(), 3);
  EXPECT_EQ(reader.next(), std::nullopt);
  EXPECT_EQ(reader.next(), std::nullopt);
}

// A stream that is asked for more than it has: fails the test instead of waiting.
class OneLineBuffer : public std::streambuf {
 public:
  explicit OneLineBuffer(std::string line) : line_(std::move(line)) {
    setg(line_.data(), line_.data(), line_.data() + line_.size());
  }

 private:
  int_type underflow() override {
    ADD_FAILURE() << "the reader asked for input after a complete line";
    return traits_type::eof();
  }
  std::string line_;
};

TEST(LineReader, DoesNotWaitForTheNextLine) {
  OneLineBuffer buffer("one\n");
  std::istream stream(&buffer);
  LineReader reader(stream, "pipe");
  EXPECT_EQ(reader.next(), "one");
}

}  // namespace
}  // namespace attend::lines_test
