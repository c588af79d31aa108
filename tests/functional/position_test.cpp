#include "attend/functional/position.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/tensor_assert.h"

namespace attend::position_test {
namespace {

using functional::sinusoidal_positions;

// The formula of the paper, element by element.
double expected(int64_t position, int64_t pair, int64_t embed_dim, bool sine) {
  const double angle =
      static_cast<double>(position) /
      std::pow(10000.0, 2.0 * static_cast<double>(pair) / static_cast<double>(embed_dim));
  return sine ? std::sin(angle) : std::cos(angle);
}

TEST(SinusoidalPositions, AreTheFormulaInBothLayouts) {
  for (const int64_t embed_dim : {1, 2, 6, 7}) {
    const auto interleaved =
        sinusoidal_positions(9, embed_dim, SinusoidLayout::kInterleaved, torch::kDouble);
    const auto halves = sinusoidal_positions(9, embed_dim, SinusoidLayout::kHalves, torch::kDouble);
    const auto sines = (embed_dim + 1) / 2;
    for (int64_t p = 0; p < 9; ++p) {
      for (int64_t i = 0; i < embed_dim; ++i) {
        EXPECT_NEAR(interleaved[p][i].item<double>(), expected(p, i / 2, embed_dim, i % 2 == 0),
                    1e-14);
        EXPECT_NEAR(halves[p][i].item<double>(),
                    expected(p, i < sines ? i : i - sines, embed_dim, i < sines), 1e-14);
      }
    }
  }
}

TEST(SinusoidalPositions, HaveTheDtypeThatIsAskedForAndFloat32ByDefault) {
  EXPECT_EQ(sinusoidal_positions(3, 4).scalar_type(), torch::kFloat);
  EXPECT_EQ(sinusoidal_positions(3, 4, SinusoidLayout::kHalves, torch::kBFloat16).scalar_type(),
            torch::kBFloat16);
  // Rounded once, from float64.
  EXPECT_TENSOR_EQUAL(
      sinusoidal_positions(900, 8),
      sinusoidal_positions(900, 8, SinusoidLayout::kInterleaved, torch::kDouble).to(torch::kFloat));
}

TEST(SinusoidalPositions, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_EQ(sinusoidal_positions(0, 4).sizes(), (std::vector<int64_t>{0, 4}));
  EXPECT_THROW_MESSAGE(sinusoidal_positions(-1, 4), c10::ValueError,
                       "sinusoidal_positions: expected length >= 0, got -1");
  EXPECT_THROW_MESSAGE(sinusoidal_positions(3, 0), c10::ValueError,
                       "sinusoidal_positions: expected embed_dim > 0, got 0");
}

}  // namespace
}  // namespace attend::position_test
