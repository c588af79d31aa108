// The numbers of transformers for the variants of attention: tests/golden/make_variant_fixtures.py.
#include <gtest/gtest.h>

#include "attend/functional/mask.h"
#include "attend/functional/position.h"
#include "attend/functional/rotary.h"
#include "support/golden.h"
#include "support/tensor_assert.h"

namespace attend::variants_golden_test {
namespace {

auto golden(const std::string& name) {
  return testing_support::load_golden("attention_variants", name);
}

struct RotaryCase {
  const char* name;
  RotaryScaling scaling;
};

class RotaryGolden : public testing::TestWithParam<RotaryCase> {};
INSTANTIATE_TEST_SUITE_P(
    Scalings, RotaryGolden,
    testing::Values(
        RotaryCase{"linear", {.kind = RotaryScalingKind::kLinear, .factor = 4}},
        RotaryCase{"llama3",
                   {.kind = RotaryScalingKind::kLlama3, .factor = 8, .original_max_length = 48}},
        RotaryCase{"yarn",
                   {.kind = RotaryScalingKind::kYarn, .factor = 4, .original_max_length = 48}}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(RotaryGolden, IsThatOfTransformers) {
  const auto tensors = golden(std::string("rotary_") + GetParam().name);
  const RotaryOptions options{.base = 500, .scaling = GetParam().scaling};
  // At position 1 each pair (1, 0) becomes length (cos frequency, sin frequency).
  const auto first = torch::eye(16, torch::kDouble).narrow(0, 0, 8).sum(0, /*keepdim=*/true);
  const auto pairs = functional::rotary(first, options, 1)[0].view({2, 8});
  // Theirs are computed in float32.
  EXPECT_TENSOR_NEAR(torch::atan2(pairs[1], pairs[0]), tensors.at("frequencies"), 1e-7);
  EXPECT_TENSOR_NEAR(torch::hypot(pairs[0], pairs[1]),
                     tensors.at("length").to(torch::kDouble).expand({8}), 1e-12);
  EXPECT_TENSOR_NEAR(functional::rotary(tensors.at("query"), options, 20), tensors.at("rotated"),
                     1e-5);
}

TEST(AlibiGolden, TheSlopesAreThoseOfTransformers) {
  for (const int64_t heads : {1, 6, 8, 12}) {
    SCOPED_TRACE(heads);
    EXPECT_TENSOR_NEAR(functional::alibi_slopes(heads),
                       golden("alibi_" + std::to_string(heads)).at("slopes"), 1e-7);
  }
}

TEST(RelativePositionGolden, TheBucketsAreThoseOfTransformers) {
  // Keys at -300 to 300 from the one query.
  const auto row = [](bool bidirectional) {
    const auto all = functional::relative_position_buckets(601, 601, 32, 128, bidirectional);
    return all[300];
  };
  EXPECT_TENSOR_NEAR(row(true), golden("buckets_both_ways").at("buckets"), 0);
  EXPECT_TENSOR_NEAR(row(false), golden("buckets_one_way").at("buckets"), 0);
}

}  // namespace
}  // namespace attend::variants_golden_test
