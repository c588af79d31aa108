#include "seq2seq/throughput.h"

#include <gtest/gtest.h>

#include <string>

namespace attend::app::throughput_test {
namespace {

TEST(Throughput, LatenciesAreOfLinesToTwoPercent) {
  Throughput done;
  // 100 lines: 60 in batches of 0.1 s, 39 in 0.2 s, one in 5 s.
  for (int i = 0; i < 6; ++i) done.add(10, 0, 0, 0.1);
  for (int i = 0; i < 3; ++i) done.add(13, 0, 0, 0.2);
  done.add(1, 0, 0, 5.0);
  EXPECT_EQ(done.lines(), 100);
  EXPECT_NEAR(done.latency(0.01), 0.1, 0.002);
  EXPECT_NEAR(done.latency(0.5), 0.1, 0.002);
  EXPECT_NEAR(done.latency(0.6), 0.1, 0.002);
  EXPECT_NEAR(done.latency(0.61), 0.2, 0.004);
  EXPECT_NEAR(done.latency(0.99), 0.2, 0.004);
  EXPECT_NEAR(done.latency(1.0), 5.0, 0.1);
}

TEST(Throughput, LatenciesBeyondTheStepsAreCountedAtTheirEnds) {
  Throughput done;
  done.add(1, 0, 0, 0.0);
  EXPECT_LT(done.latency(1.0), 1.1e-6);
  done.add(1, 0, 0, 1e12);
  EXPECT_GT(done.latency(1.0), 24 * 3600);
}

TEST(Throughput, TheSummaryHasSums) {
  Throughput done;
  EXPECT_NE(done.summary().find("0 lines, 0 source words, 0 target words in "), std::string::npos);
  EXPECT_EQ(done.summary().find("latency"), std::string::npos);
  done.add(1, 1, 2, 0.25);
  EXPECT_TRUE(done.summary().starts_with("1 line, 1 source word, 2 target words in "));
  done.add(2, 10, 9, 0.25);
  const auto text = done.summary();
  EXPECT_TRUE(text.starts_with("3 lines, 11 source words, 11 target words in ")) << text;
  EXPECT_NE(text.find("latency p50 "), std::string::npos) << text;
}

}  // namespace
}  // namespace attend::app::throughput_test
