#include "attend/functional/dropout.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "attend/functional/attention.h"
#include "kernels/cpu/dropout.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/negated.h"
#include "support/tensor_assert.h"

namespace attend::dropout_test {
namespace {

using testing_support::DeviceTest;

// The first of the known answers that Random123 publishes for Philox4x32-10: counter and key zero.
TEST(Philox, GivesThePublishedNumbers) {
  std::array<uint32_t, kernels::kDropoutBlock> numbers{};
  kernels::philox_block(/*seed=*/0, /*block=*/0, numbers.data());
  constexpr auto kQuarter = static_cast<size_t>(kernels::kDropoutBlock / 4);
  EXPECT_EQ(numbers[0], 0x6627e8d5U);
  EXPECT_EQ(numbers[kQuarter], 0xe169c58dU);
  EXPECT_EQ(numbers[2 * kQuarter], 0xbc57ac4cU);
  EXPECT_EQ(numbers[3 * kQuarter], 0x9b00dbd8U);
}

// The generator once more, word by word as the paper writes it, for keys and counters that use all
// their bits.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, uint64_t key) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32U);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = 0xD2511F53ULL * c[0], b = 0xCD9E8D57ULL * c[2];
    c = {static_cast<uint32_t>(b >> 32U) ^ c[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32U) ^ c[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

TEST(Philox, EveryNumberOfABlockAgreesWithTheDefinition) {
  constexpr uint64_t kSeed = 0xFEDCBA9876543210ULL, kBlock = 0x0123456789ABCDEFULL;
  std::array<uint32_t, kernels::kDropoutBlock> numbers{};
  kernels::philox_block(kSeed, kBlock, numbers.data());
  constexpr size_t kQuarter = numbers.size() / 4;
  for (size_t i = 0; i < kQuarter; ++i) {
    const auto expected = philox({static_cast<uint32_t>(i), static_cast<uint32_t>(kBlock),
                                  static_cast<uint32_t>(kBlock >> 32U), 0},
                                 kSeed);
    for (size_t word = 0; word < 4; ++word) {
      ASSERT_EQ(numbers[word * kQuarter + i], expected[word])
          << "counter " << i << " word " << word;
    }
  }
}

class DropoutOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(DropoutOn);

TEST_P(DropoutOn, DropsThatShareAndScalesTheRest) {
  torch::manual_seed(3);
  const int64_t n = 100'003;  // no multiple of anything
  const auto x = torch::full({n}, 2.0, options());
  const auto y = functional::dropout(x, 0.3);
  EXPECT_EQ(y.scalar_type(), x.scalar_type());
  const auto dropped = y.eq(0).sum().item<int64_t>();
  const double deviation = std::sqrt(static_cast<double>(n) * 0.3 * 0.7);
  EXPECT_NEAR(static_cast<double>(dropped), 0.3 * static_cast<double>(n), 5 * deviation);
  const auto kept = y.masked_select(y.ne(0)).to(torch::kDouble);
  EXPECT_TENSOR_NEAR(kept, torch::full_like(kept, 2.0 / 0.7), 2 * tolerance());
}

TEST_P(DropoutOn, TheGradientHasTheMaskOfTheOutput) {
  const auto x = randn({3, 5, 1001}).requires_grad_();
  const auto y = functional::dropout(x, 0.4);
  const auto gradient = torch::autograd::grad({y.sum()}, {x})[0];
  EXPECT_TENSOR_EQUAL(gradient.eq(0), y.eq(0));
  EXPECT_TENSOR_NEAR(gradient * x.detach(), y.detach(), tolerance());
}

TEST(Dropout, TheSeedDecidesTheMask) {
  const auto x = torch::ones({4, 777});
  torch::manual_seed(1);
  const auto first = functional::dropout(x, 0.5), second = functional::dropout(x, 0.5);
  torch::manual_seed(1);
  EXPECT_TENSOR_EQUAL(functional::dropout(x, 0.5), first);
  EXPECT_TENSOR_EQUAL(functional::dropout(x, 0.5), second);
  EXPECT_FALSE(torch::equal(first, second));
  torch::manual_seed(2);
  EXPECT_FALSE(torch::equal(functional::dropout(x, 0.5), first));
}

TEST(Dropout, TheNumberOfThreadsDoesNotChangeIt) {
  const auto x = torch::ones({70'000});
  const int threads = torch::get_num_threads();
  std::vector<torch::Tensor> results;
  for (const int n : {1, 2, 3}) {
    torch::set_num_threads(n);
    torch::manual_seed(5);
    results.push_back(functional::dropout(x, 0.25));
  }
  torch::set_num_threads(threads);
  EXPECT_TENSOR_EQUAL(results[1], results[0]);
  EXPECT_TENSOR_EQUAL(results[2], results[0]);
}

// Whatever LibTorch's own generator gives, and in every path of attention with dropout.
TEST(Dropout, ASeedOfTheThreadDecides) {
  const auto x = torch::randn({1, 2, 600, 8});
  const auto drawn = [&](uint64_t seed) {
    const functional::DropoutSeed outer(seed);
    std::vector<torch::Tensor> results{functional::dropout(x, 0.5)};
    {
      const functional::DropoutSeed inner(77);
      results.push_back(functional::dropout(x, 0.5));
    }
    results.push_back(functional::dropout(x, 0.5));  // goes on where the inner one began
    for (const auto& mask :
         {AttentionMask(), AttentionMask::causal(), AttentionMask::window(9, 0)}) {
      for (const int64_t length : {4, 600}) {
        const auto part = x.narrow(2, 0, length);
        results.push_back(functional::scaled_dot_product_attention(part, part, part, mask,
                                                                   WeightsRequest::kNone,
                                                                   {.dropout_p = 0.5, .scale = {}})
                              .output);
      }
    }
    return results;
  };
  torch::manual_seed(1);
  const auto before = torch::rand({3});
  torch::manual_seed(1);
  const auto first = drawn(5);
  EXPECT_TENSOR_EQUAL(torch::rand({3}), before);  // nothing was drawn from LibTorch's
  const auto again = drawn(5), other = drawn(6);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TENSOR_EQUAL(again[i], first[i]);
  EXPECT_FALSE(torch::equal(first[0], other[0]));
  EXPECT_TENSOR_EQUAL(first[1], other[1]);
  EXPECT_FALSE(torch::equal(first[0], first[2]));
}

TEST(Dropout, TheMaskBelongsToElementsNotToMemory) {
  const auto x = torch::ones({40, 60});
  torch::manual_seed(1);
  const auto expected = functional::dropout(x, 0.5);
  torch::manual_seed(1);
  EXPECT_TENSOR_EQUAL(functional::dropout(torch::ones({60, 40}).t(), 0.5), expected);
}

TEST(Dropout, NumbersMayBeNegatedWhenTheyAreRead) {
  const auto x = torch::randn({40, 30});
  torch::manual_seed(4);
  const auto plain = functional::dropout(x, 0.3);
  torch::manual_seed(4);
  EXPECT_TENSOR_EQUAL(functional::dropout(testing_support::lazily_negated(x), 0.3), -plain);
}

TEST(Dropout, ItsSecondDerivativeIsThatOfALinearMap) {
  const auto x = torch::randn({50}, torch::kDouble).requires_grad_();
  const auto y = functional::dropout(x, 0.5);
  const auto mask = (y / x).detach();  // 0 or 2
  const auto first = torch::autograd::grad({y.pow(3).sum()}, {x}, {}, /*retain_graph=*/true,
                                           /*create_graph=*/true);
  const auto second = torch::autograd::grad({first[0].sum()}, {x})[0];
  EXPECT_TENSOR_NEAR(second, 6 * mask.pow(3) * x.detach(), 1e-12);
}

TEST(Dropout, WithProbabilityZeroItIsTheTensorItself) {
  const auto x = torch::randn({3});
  EXPECT_TRUE(functional::dropout(x, 0.0).is_same(x));
  EXPECT_EQ(functional::dropout(torch::empty({0, 4}), 0.5).sizes(), torch::IntArrayRef({0, 4}));
}

TEST(Dropout, AProbabilityOutOfRangeIsAnError) {
  EXPECT_THROW_MESSAGE(functional::dropout(torch::ones({2}), 1.0), c10::ValueError,
                       "dropout: expected 0 <= p < 1, got 1");
  EXPECT_THROW_MESSAGE(functional::dropout(torch::ones({2}), -0.5), c10::ValueError,
                       "dropout: expected 0 <= p < 1, got -0.5");
}

}  // namespace
}  // namespace attend::dropout_test
