#include "kernels/cpu/dropout.h"

#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

constexpr uint64_t kSeed = 0x123456789ABCDEF0;

TEST(KernelDropout, PhiloxHasItsAuthorsNumbers) {
  // Source: Random123 1.14, tests/kat_vectors.
  const uint32_t of_zeros[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const uint32_t of_ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  for (int word = 0; word < 4; ++word) {
    EXPECT_EQ(philox_word(10, 0, {0, 0, 0, 0}, word), of_zeros[word]);
    EXPECT_EQ(philox_word(10, ~uint64_t{0}, {~0U, ~0U, ~0U, ~0U}, word), of_ones[word]);
  }
}

TEST(KernelDropout, BlocksHaveTheNumbersOfTheirCounters) {
  testing_support::for_each_instruction_set([] {
    for (const uint64_t block : {uint64_t{0}, uint64_t{3}, uint64_t{0x100000002}}) {
      std::vector<uint32_t> numbers(kernels::kDropoutBlock);
      kernels::philox_block(kSeed, block, numbers.data());
      for (uint64_t i = 0; i < numbers.size(); ++i) {
        ASSERT_EQ(numbers[i], dropout_number(kSeed, block * numbers.size() + i)) << i;
      }
    }
  });
}

template <typename T>
void check_dropout() {
  constexpr int64_t kSize = 2500;  // two blocks and a part of one
  constexpr uint32_t kThreshold = 0x40000000;
  const T scale = static_cast<T>(4.0 / 3);
  auto x = normal<T>(kSize, 1);
  Numbers<T> out(kSize);
  kernels::dropout(x.data(), out.data(), kSize, kThreshold, scale, kSeed, 1, 3);
  kernels::dropout(x.data(), out.data(), kSize, kThreshold, scale, kSeed, 0, 1);
  for (int64_t i = 0; i < kSize; ++i) {
    const bool is_kept = dropout_number(kSeed, static_cast<uint64_t>(i)) >= kThreshold;
    ASSERT_EQ(out[i], is_kept ? x[i] * scale : x[i] * 0) << i;
  }
}

TEST(KernelDropout, DropsTheElementsOfSmallNumbers) {
  testing_support::for_each_instruction_set([] {
    check_dropout<float>();
    check_dropout<double>();
  });
}

template <typename T>
void check_kept() {
  const kernels::AttentionDropout dropout{.threshold = 20000, .seed = kSeed};
  constexpr int64_t kFirst = (int64_t{1} << 32) - 1, kLast = kFirst + 3, kSource = 300;
  Numbers<T> kept((kLast - kFirst) * kSource, T{-1});
  kernels::attention_kept(dropout, kSource, kept.data(), kFirst, kLast);
  for (int64_t i = 0; i < kept.size(); ++i) {
    const auto number = attention_number(kSeed, static_cast<uint64_t>(kFirst + i / kSource),
                                         static_cast<uint64_t>(i % kSource));
    ASSERT_EQ(kept[i], number >= dropout.threshold ? static_cast<T>(dropout.scale()) : T{0}) << i;
  }
}

TEST(KernelDropout, AttentionDrawsNumbersOf16Bits) {
  testing_support::for_each_instruction_set([] {
    check_kept<float>();
    check_kept<double>();
  });
}

}  // namespace
}  // namespace attend::kernels_test
