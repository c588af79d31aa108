#include <gtest/gtest.h>
#include <torch/torch.h>

namespace {

// Every test starts from the same random state, whichever tests ran before it.
class SeedEachTest : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*info*/) override { torch::manual_seed(1); }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new SeedEachTest);
  torch::set_num_threads(1);  // tests are small, and CTest runs several programs at once
  return RUN_ALL_TESTS();
}
