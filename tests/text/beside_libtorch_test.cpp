// What LibTorch does must not change because a program also holds the toolkit and its libraries.
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/torch.h>

#include <sstream>
#include <string>
#include <vector>

#include "attend/text/subword_training.h"

namespace attend::beside_libtorch_test {
namespace {

// Before each test SentencePiece has made a model and written its log levels.
class ToolkitBesideLibTorch : public testing::Test {
 protected:
  void SetUp() override {
    SubwordTrainingOptions options;
    options.vocab_size = 30;
    options.shrink_to_fit = true;
    const std::vector<std::string> sentences(20, "the cat sees the dog");
    ASSERT_GT(train_subwords(sentences, options).vocab_size(), 10);
  }
};

TEST_F(ToolkitBesideLibTorch, AScriptedFunctionRuns) {
  const auto unit = torch::jit::compile(R"(
def scaled(x, factor: int):
    return x * factor
)");
  EXPECT_TRUE(torch::equal(unit->run_method("scaled", torch::ones({2, 3}), 4).toTensor(),
                           torch::full({2, 3}, 4.0)));
}

TEST_F(ToolkitBesideLibTorch, AScriptedModuleIsSavedLoadedAndRun) {
  torch::jit::Module module("Doubling");
  module.register_parameter("weight", torch::full({3}, 2.0), /*is_buffer=*/false);
  module.define(R"(
def forward(self, x):
    return torch.relu(x * self.weight)
)");
  std::stringstream file;
  module.save(file);
  auto loaded = torch::jit::load(file);
  for (int run = 0; run < 3; ++run) {  // the second run is the one that is optimised
    EXPECT_TRUE(torch::equal(loaded.forward({torch::tensor({-1.0F, 0.5F, 3.0F})}).toTensor(),
                             torch::tensor({0.0F, 1.0F, 6.0F})));
  }
}

TEST_F(ToolkitBesideLibTorch, AnAllocationBeyondAllMemoryThrows) {
  EXPECT_THROW(torch::empty({int64_t{1} << 50}), c10::Error);
  // The error came and went: what follows is as before.
  EXPECT_EQ(torch::ones({4}).sum().item<float>(), 4.0F);
}

}  // namespace
}  // namespace attend::beside_libtorch_test
