#include "inference/selected_outputs.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace attend::selected_outputs_test {
namespace {

using detail::SelectedOutputs;

constexpr int64_t kOutputs = 200, kInputs = 9;

class SelectedOutputsTest : public testing::TestWithParam<WeightPrecision> {
 protected:
  SelectedOutputsTest() {
    torch::manual_seed(3);
    detail::WeightMemory memory;
    layer_ = detail::PreparedLinear(torch::randn({kOutputs, kInputs}), torch::randn({kOutputs}),
                                    {GetParam(), memory});
    selected_ = SelectedOutputs(layer_);
  }

  // Each row's values are those of its outputs in the whole layer, bit for bit.
  void expect_own_outputs(const std::vector<SelectedOutputs::SelectionPointer>& of_row) {
    const auto rows = static_cast<int64_t>(of_row.size());
    const auto input = torch::randn({rows, kInputs});
    std::vector<float> all(static_cast<size_t>(rows * kOutputs));
    layer_.run(input.const_data_ptr<float>(), rows, all.data(), scratch_);
    const auto width = SelectedOutputs::width_of(of_row);
    std::vector<float> values(static_cast<size_t>(rows * width));
    selected_.run(input.const_data_ptr<float>(), of_row, values.data(), scratch_);
    for (int64_t row = 0; row < rows; ++row) {
      const auto& own = of_row[static_cast<size_t>(row)]->outputs;
      for (int64_t i = 0; i < width; ++i) {
        const auto expected =
            i < static_cast<int64_t>(own.size())
                ? all[static_cast<size_t>(row * kOutputs + own[static_cast<size_t>(i)])]
                : -std::numeric_limits<float>::infinity();
        ASSERT_EQ(values[static_cast<size_t>(row * width + i)], expected) << row << ' ' << i;
      }
    }
  }

  detail::PreparedLinear layer_;
  SelectedOutputs selected_;
  detail::Scratch scratch_;
};

// `count` outputs, a step apart.
std::vector<int64_t> every(int64_t step, int64_t first, int64_t count) {
  std::vector<int64_t> outputs;
  for (int64_t i = 0; i < count; ++i) outputs.push_back(first + i * step);
  return outputs;
}

TEST_P(SelectedOutputsTest, SentencesComeAndGo) {
  auto a = selected_.add({0, 1, 199});
  auto b = selected_.add(every(3, 1, 66));
  expect_own_outputs({a, b, b});
  a.reset();
  selected_.remove_unused();
  const auto c = selected_.add(every(2, 0, 100));
  const auto d = selected_.add({199});
  expect_own_outputs({d, c, b});
  b.reset();
  selected_.remove_unused();
  expect_own_outputs({c, d, d, c});
}

// Each output has a column once, and columns are used again.
TEST_P(SelectedOutputsTest, ColumnsAreShared) {
  auto a = selected_.add({5, 6, 7});
  const auto b = selected_.add({6, 7, 8});
  EXPECT_EQ(b->columns[0], a->columns[1]);
  EXPECT_EQ(b->columns[1], a->columns[2]);
  const auto of_five = a->columns[0];
  selected_.remove_unused();
  expect_own_outputs({a, b});  // still held
  a.reset();
  selected_.remove_unused();
  const auto c = selected_.add({7, 100});
  EXPECT_EQ(c->columns[0], b->columns[1]);
  EXPECT_EQ(c->columns[1], of_five);
  expect_own_outputs({b, c});
}

TEST_P(SelectedOutputsTest, AdmitTheSentencesOfOthers) {
  const auto own = selected_.add({3, 4, 150});
  SelectedOutputs others(layer_);
  const auto a = others.add(every(7, 2, 20)), b = others.add({4, 5});
  const auto admitted = selected_.admit({a, a, b});
  ASSERT_EQ(admitted.size(), 3U);
  EXPECT_EQ(admitted[0], admitted[1]);
  EXPECT_EQ(admitted[2]->outputs, b->outputs);
  EXPECT_EQ(admitted[2]->columns[0], own->columns[1]);
  expect_own_outputs({own, admitted[0], admitted[1], admitted[2]});
}

INSTANTIATE_TEST_SUITE_P(Precisions, SelectedOutputsTest,
                         testing::Values(WeightPrecision::kFloat32, WeightPrecision::kBFloat16,
                                         WeightPrecision::kInt8));

}  // namespace
}  // namespace attend::selected_outputs_test
