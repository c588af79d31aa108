#include "detail/thread_team.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

namespace attend::thread_team_test {
namespace {

using detail::ThreadTeam;

TEST(ThreadTeam, DoesEachPartOnAThreadOfItsOwnAtATime) {
  const int before = torch::get_num_threads();
  ThreadTeam team(3, 2);
  EXPECT_EQ(torch::get_num_threads(), before);
  EXPECT_EQ(team.size(), 3);
  std::mutex mutex;
  std::condition_variable all_here;
  for (int round = 0; round < 2; ++round) {
    std::set<int64_t> parts;
    std::set<std::thread::id> threads{std::this_thread::get_id()};
    team.run([&](int64_t part) {
      EXPECT_EQ(torch::get_num_threads(), 2);
      std::unique_lock lock(mutex);
      parts.insert(part);
      threads.insert(std::this_thread::get_id());
      all_here.notify_all();
      EXPECT_TRUE(
          all_here.wait_for(lock, std::chrono::seconds(60), [&] { return parts.size() == 3; }));
    });
    EXPECT_EQ(parts, (std::set<int64_t>{0, 1, 2}));
    EXPECT_EQ(threads.size(), 4U);
  }
}

TEST(ThreadTeam, TheFirstPartsFailureIsThrownOnceAllHaveEnded) {
  ThreadTeam team(3, 1);
  std::atomic<int> ended = 0;
  EXPECT_THROW(team.run([&](int64_t part) {
    ++ended;
    TORCH_CHECK_INDEX(part != 1, "part 1");
    TORCH_CHECK_VALUE(part != 2, "part 2");
  }),
               c10::IndexError);
  EXPECT_EQ(ended, 3);
  team.run([&](int64_t) { ++ended; });
  EXPECT_EQ(ended, 6);
}

TEST(ThreadTeam, NeedsThreads) {
  EXPECT_THROW(ThreadTeam(0, 1), c10::ValueError);
  EXPECT_THROW(ThreadTeam(2, 0), c10::ValueError);
}

}  // namespace
}  // namespace attend::thread_team_test
