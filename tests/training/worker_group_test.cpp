#include "attend/training/worker_group.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "attend/checkpoint/safetensors.h"
#include "attend/models/seq2seq.h"
#include "attend/training/trainer.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"
#include "training/small_task.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not in every unistd.h

namespace attend::worker_group_test {
namespace {

using testing_support::TemporaryFolder;

constexpr int kUpdates = 20;
constexpr auto kTimeout = std::chrono::seconds(20);

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The run of one process: float64, without dropout but that of BPE, which every process draws alike.
void train(const std::filesystem::path& folder, const WorkerGroup& workers,
           const TrainingCallbacks& callbacks = {}) {
  const auto text = testing_support::reversed_digits(120, 1);
  const auto tokenizer = testing_support::tokenizer_for(text, SubwordModel::kBpe);
  torch::manual_seed(7 + static_cast<uint64_t>(workers.rank()));  // the first one's start counts
  const auto vocab = tokenizer.vocab_size();
  Seq2Seq model(Seq2SeqOptions(vocab, vocab, 16, 2, 1).max_length(32).dropout(0.0));
  model->to(torch::kDouble);
  TrainerOptions o;
  o.after = {kUpdates, Duration::Unit::kUpdates};
  o.valid_freq = {5, Duration::Unit::kUpdates};
  o.batch_tokens = 40;
  o.bpe_dropout = 0.3;
  o.schedule = {.peak = 3e-3, .warmup = 4};
  o.valid_metrics = {"cross-entropy"};
  Trainer trainer(model.ptr(), tokenizer, text, testing_support::reversed_digits(5, 9), folder, o,
                  torch::kCPU, workers);
  trainer.run(callbacks);
}

// What a process started by `start` does: it is this program again.
TEST(WorkerProcess, DISABLED_Trains) {
  const auto workers = WorkerGroup::from_environment(kTimeout);
  TrainingCallbacks callbacks;
  if (variable("ATTEND_TEST_DIES") == std::to_string(workers.rank())) {
    // Asked after each update.
    callbacks.stop_requested = [updates = 0]() mutable {
      if (++updates == 8) std::raise(SIGKILL);
      return false;
    };
  }
  train(variable("ATTEND_TEST_FOLDER"), workers, callbacks);
}

TEST(WorkerProcess, DISABLED_AddsUp) {
  const auto workers = WorkerGroup::from_environment(kTimeout);
  auto sum = torch::full({3}, static_cast<double>(workers.rank() + 1), torch::kDouble);
  auto largest = sum.clone(), first = sum.clone();
  workers.sum(sum);
  workers.max(largest);
  workers.broadcast({first});
  workers.barrier();
  const auto size = static_cast<double>(workers.size());
  EXPECT_TENSOR_EQUAL(sum, torch::full({3}, size * (size + 1) / 2, torch::kDouble));
  EXPECT_TENSOR_EQUAL(largest, torch::full({3}, size, torch::kDouble));
  EXPECT_TENSOR_EQUAL(first, torch::ones({3}, torch::kDouble));
}

int free_port() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ::close(listener);
  return ntohs(address.sin_port);
}

struct Ended {
  bool well = false;
  std::string output;
};

// Runs a test of this program in so many processes, and waits for all of them.
std::vector<Ended> run(const std::string& test, int processes, const TemporaryFolder& folder,
                       const std::string& dies = "") {
  const auto port = free_port();
  const auto output = [&](int rank) { return folder.path() / ("output" + std::to_string(rank)); };
  std::vector<pid_t> children;
  for (int rank = 0; rank < processes; ++rank) {
    std::vector<std::string> variables{"RANK=" + std::to_string(rank),
                                       "LOCAL_RANK=" + std::to_string(rank),
                                       "WORLD_SIZE=" + std::to_string(processes),
                                       "MASTER_ADDR=127.0.0.1",
                                       "MASTER_PORT=" + std::to_string(port),
                                       "GLOO_SOCKET_IFNAME=lo",
                                       "OMP_NUM_THREADS=1",
                                       "ATTEND_TEST_DIES=" + dies,
                                       "ATTEND_TEST_FOLDER=" + (folder.path() / "model").string()};
    std::vector<char*> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      // Shards are of this process's tests.
      if (!std::string_view(*entry).starts_with("GTEST_")) environment.push_back(*entry);
    }
    for (auto& entry : variables) environment.insert(environment.begin(), entry.data());
    environment.push_back(nullptr);
    std::vector<std::string> arguments{"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                       "--gtest_filter=WorkerProcess.DISABLED_" + test};
    std::vector<char*> pointers;
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output(rank).c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    pid_t child = 0;
    EXPECT_EQ(::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, pointers.data(),
                            environment.data()),
              0);
    posix_spawn_file_actions_destroy(&actions);
    children.push_back(child);
  }
  std::vector<Ended> ended;
  for (int rank = 0; rank < processes; ++rank) {
    int status = 0;
    ::waitpid(children[static_cast<size_t>(rank)], &status, 0);
    ended.push_back(
        {WIFEXITED(status) && WEXITSTATUS(status) == 0, TemporaryFolder::read(output(rank))});
  }
  return ended;
}

std::map<std::string, torch::Tensor> weights_in(const std::filesystem::path& folder) {
  auto tensors = read_safetensors(folder / "training.safetensors").tensors;
  std::erase_if(tensors, [](const auto& item) { return !item.first.starts_with("weights."); });
  return tensors;
}

void expect_near(const std::map<std::string, torch::Tensor>& got,
                 const std::map<std::string, torch::Tensor>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  ASSERT_GT(got.size(), 10U);
  for (const auto& [name, tensor] : expected) {
    ASSERT_EQ(got.at(name).scalar_type(), torch::kDouble);
    EXPECT_TENSOR_NEAR(got.at(name), tensor, 1e-10) << name;
  }
}

class WorkersTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      setenv("WORLD_SIZE", "2", 1);
      setenv("RANK", "9", 1);
      WorkerGroup::from_environment();
    } catch (const c10::Error& error) {
      if (std::string(error.what()).find("ATTEND_DISTRIBUTED") != std::string::npos) {
        GTEST_SKIP() << "built without ATTEND_DISTRIBUTED";
      }
    }
  }
  void TearDown() override {
    unsetenv("WORLD_SIZE");
    unsetenv("RANK");
  }
};

TEST(WorkerGroup, AloneItIsTheFirstOfOne) {
  const auto alone = WorkerGroup::from_environment();
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.size(), 1);
  EXPECT_TRUE(alone.is_first());
  auto x = torch::ones({2});
  alone.sum(x);
  alone.max(x);
  alone.broadcast({x});
  alone.barrier();
  EXPECT_TENSOR_EQUAL(x, torch::ones({2}));
}

TEST_F(WorkersTest, BadVariablesAreNamed) {
  EXPECT_THROW_MESSAGE(WorkerGroup::from_environment(), c10::ValueError,
                       "WorkerGroup: expected RANK in [0, 1], got 9");
  setenv("RANK", "1x", 1);
  EXPECT_THROW_MESSAGE(WorkerGroup::from_environment(), c10::ValueError,
                       "WorkerGroup: expected RANK in [0, 1], got 1x");
  unsetenv("RANK");
  EXPECT_THROW_MESSAGE(WorkerGroup::from_environment(), c10::ValueError,
                       "WorkerGroup: expected the variable RANK, which torchrun sets, got none");
}

TEST_F(WorkersTest, ProcessesKnowTheirSumMaximumAndTheFirstOnesValues) {
  const TemporaryFolder folder;
  for (const auto& [well, output] : run("AddsUp", 3, folder)) EXPECT_TRUE(well) << output;
}

TEST_F(WorkersTest, AnyNumberOfProcessesDoesTheSameUpdates) {
  const TemporaryFolder alone;
  train(alone.path(), {});
  for (const int processes : {2, 3}) {
    const TemporaryFolder folder;
    for (const auto& [well, output] : run("Trains", processes, folder)) EXPECT_TRUE(well) << output;
    expect_near(weights_in(folder.path() / "model"), weights_in(alone.path()));
  }
}

TEST_F(WorkersTest, AProcessThatDiesEndsTheRunAndAnotherNumberGoesOn) {
  const TemporaryFolder alone, folder;
  train(alone.path(), {});
  const auto ended = run("Trains", 3, folder, /*dies=*/"1");
  for (const int rank : {0, 2}) {
    const auto& [well, output] = ended[static_cast<size_t>(rank)];
    EXPECT_FALSE(well);
    EXPECT_NE(output.find("expected all 3 processes to"), std::string::npos) << output;
  }
  for (const auto& [well, output] : run("Trains", 2, folder)) {
    EXPECT_TRUE(well) << output;
    EXPECT_EQ(output.find("expected"), std::string::npos) << output;
  }
  expect_near(weights_in(folder.path() / "model"), weights_in(alone.path()));
}

}  // namespace
}  // namespace attend::worker_group_test
