#include <limits>
#include <vector>

#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/vocabulary_loss.h"
#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

constexpr double kSmoothing = 0.125;

// The loss of logits [classes] against class y, and in their place its gradient.
double smoothed_loss(std::vector<double>& logits, int64_t y) {
  double total = 0.0, sum = 0.0;
  const double chosen = logits[static_cast<size_t>(y)];
  for (const double x : logits) {
    total += std::exp(x);
    sum += x;
  }
  const double part = kSmoothing / static_cast<double>(logits.size());
  for (auto& x : logits) x = std::exp(x) / total - part;
  logits[static_cast<size_t>(y)] -= 1 - kSmoothing;
  return std::log(total) - (1 - kSmoothing) * chosen - part * sum;
}

template <typename T>
void check_cross_entropy(int64_t classes, bool with_bias) {
  SCOPED_TRACE(testing::Message() << classes << " classes");
  constexpr int64_t kRows = 4, kIgnored = -1;
  const std::vector<int64_t> target{0, classes - 1, kIgnored, classes / 2};
  auto bias = normal<T>(classes, 2);
  auto logits = normal<T>(kRows * classes, 1, 3.0);
  const auto inputs = logits;
  std::vector<double> losses, gradients;
  for (int64_t row = 0; row < kRows; ++row) {
    std::vector<double> x;
    for (int64_t v = 0; v < classes; ++v) {
      x.push_back(double{logits[row * classes + v]} + (with_bias ? bias[v] : T{0}));
    }
    const auto y = target[static_cast<size_t>(row)];
    losses.push_back(y == kIgnored ? 0.0 : smoothed_loss(x, y));
    for (int64_t v = 0; v < classes; ++v) {
      gradients.push_back(y == kIgnored ? 0.0 : x[static_cast<size_t>(v)]);
    }
  }
  testing_support::for_each_instruction_set([&] {
    auto found = inputs;
    Numbers<T> found_losses(kRows, T{-77});
    kernels::cross_entropy(found.data(), with_bias ? bias.data() : nullptr, target.data(),
                           found_losses.data(), classes, kIgnored, static_cast<T>(kSmoothing), true,
                           0, kRows);
    expect_near(found_losses, losses, 20, "losses");
    expect_near(found, gradients, 20, "gradients");
  });
}

TEST(KernelLoss, CrossEntropyAgreesWithItsFormula) {
  for (const int64_t classes : {1, 5, 17, 100, 1003}) {
    check_cross_entropy<float>(classes, true);
    check_cross_entropy<float>(classes, false);
    check_cross_entropy<double>(classes, true);
    check_cross_entropy<double>(classes, false);
  }
}

TEST(KernelLoss, CrossEntropyOfWhatIsNotANumberIsNone) {
  constexpr int64_t kClasses = 37;
  for (const double wrong : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const int64_t at : {0, 9, 31, 36}) {
      testing_support::for_each_instruction_set([&] {
        auto logits = normal<float>(kClasses, 1);
        logits[at] = static_cast<float>(wrong);
        const int64_t target = 5;
        float loss = 0;
        kernels::cross_entropy<float>(logits.data(), nullptr, &target, &loss, kClasses, -1, 0.125F,
                                      true, 0, 1);
        EXPECT_TRUE(std::isnan(loss)) << wrong << " at " << at;
        for (int64_t v = 0; v < kClasses; ++v) EXPECT_TRUE(std::isnan(logits[v])) << v;
      });
    }
  }
}

template <typename T>
void check_vocabulary(int64_t rows, int64_t dim, int64_t classes) {
  SCOPED_TRACE(testing::Message() << rows << " rows, E = " << dim << ", V = " << classes);
  auto hidden = normal<T>(rows * dim, 1);
  auto weight = normal<T>(classes * dim, 2, 1 / std::sqrt(static_cast<double>(dim)));
  auto bias = normal<T>(classes, 3);
  std::vector<int64_t> target;
  for (int64_t row = 0; row < rows; ++row) target.push_back(row * 7919 % classes);

  std::vector<double> losses, of_hidden(static_cast<size_t>(rows * dim)),
      of_weight(static_cast<size_t>(classes * dim)), of_bias(static_cast<size_t>(classes));
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> z;
    for (int64_t v = 0; v < classes; ++v) {
      double sum = bias[v];
      for (int64_t e = 0; e < dim; ++e) sum += double{weight[v * dim + e]} * hidden[row * dim + e];
      z.push_back(sum);
    }
    losses.push_back(smoothed_loss(z, target[static_cast<size_t>(row)]));
    for (int64_t v = 0; v < classes; ++v) {
      const double g = z[static_cast<size_t>(v)];
      of_bias[static_cast<size_t>(v)] += g;
      for (int64_t e = 0; e < dim; ++e) {
        of_hidden[static_cast<size_t>(row * dim + e)] += g * weight[v * dim + e];
        of_weight[static_cast<size_t>(v * dim + e)] += g * hidden[row * dim + e];
      }
    }
  }

  using kernels::kLossRows;
  const auto tiles = kernels::vocabulary_tiles(classes), padded = kernels::padded_dim(dim);
  const auto words = tiles * kernels::kLossWords;
  testing_support::for_each_instruction_set([&] {
    Numbers<T> by_word(words * padded), by_dim(words * padded), row_panels(kLossRows * padded),
        dim_panels(kLossRows * padded), logits(words * kLossRows), greatest(tiles * kLossRows),
        total(tiles * kLossRows), sum(tiles * kLossRows), chosen(kLossRows);
    Numbers<T> found(rows), found_hidden(rows * dim), found_weight(classes * dim),
        found_bias(classes);
    kernels::pack_vocabulary(weight.data(), classes, dim, by_word.data(), by_dim.data(), 0, tiles);
    const kernels::VocabularyLoss<T> loss{.rows = rows,
                                          .dim = dim,
                                          .classes = classes,
                                          .hidden = hidden.data(),
                                          .bias = bias.data(),
                                          .target = target.data(),
                                          .label_smoothing = static_cast<T>(kSmoothing),
                                          .by_word = by_word.data(),
                                          .by_dim = by_dim.data(),
                                          .row_panels = row_panels.data(),
                                          .dim_panels = dim_panels.data(),
                                          .logits = logits.data(),
                                          .greatest = greatest.data(),
                                          .total = total.data(),
                                          .sum = sum.data(),
                                          .chosen = chosen.data()};
    kernels::pack_hidden(loss);
    kernels::vocabulary_logits(loss, 0, tiles);
    kernels::vocabulary_losses(loss, found.data());
    kernels::vocabulary_weights(loss, found_weight.data(), found_bias.data(), 0, tiles);
    kernels::vocabulary_hidden(loss, found_hidden.data(), 0, padded / kernels::kDimGroup);
    expect_near(found, losses, 20, "losses");
    expect_near(found_hidden, of_hidden, 20, "gradient of the hidden rows");
    expect_near(found_weight, of_weight, 20, "gradient of the weight");
    expect_near(found_bias, of_bias, 20, "gradient of the bias");
  });
}

TEST(KernelLoss, VocabularyAgreesWithItsFormula) {
  check_vocabulary<float>(96, 37, 300);  // more than a tile of words
  check_vocabulary<float>(5, 64, 17);
  check_vocabulary<double>(33, 20, 577);
}

}  // namespace
}  // namespace attend::kernels_test
