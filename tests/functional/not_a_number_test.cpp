// NaN and infinities: seen wherever the formula shows them, in outputs and in gradients, at every position, on
// every instruction set; and without effect where a mask lets nobody see them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "attend/functional/attention.h"
#include "attend/functional/dropout.h"
#include "attend/functional/linear.h"
#include "attend/functional/loss.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/product.h"
#include "support/instruction_sets.h"
#include "support/tensor_assert.h"

namespace attend::not_a_number_test {
namespace {

using functional::AttentionParameters;
using testing_support::for_each_instruction_set;
using torch::autograd::variable_list;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Element `at` of the flattened tensor.
torch::Tensor with(const torch::Tensor& x, int64_t at, double value) {
  const auto result = x.detach().clone();
  result.view({-1})[at] = value;
  return result;
}

testing::AssertionResult same_kind(const torch::Tensor& actual, const torch::Tensor& expected) {
  if (torch::equal(actual.isfinite(), expected.isfinite()) &&
      torch::equal(actual.isnan(), expected.isnan())) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << "NaN in " << actual.isnan().sum().item<int64_t>() << " elements and expected in "
         << expected.isnan().sum().item<int64_t>() << ", not finite in "
         << actual.isfinite().logical_not().sum().item<int64_t>() << " and "
         << expected.isfinite().logical_not().sum().item<int64_t>() << " of " << actual.numel();
}

// Around the sizes of vectors of any instruction set, and of blocks of keys.
const std::vector<int64_t>& lengths() {
  static const std::vector<int64_t> all{1,  2,  3,  4,  5,  7,  8,  9,   15,  16,  17,  23,  31,
                                        32, 33, 63, 64, 65, 95, 96, 127, 128, 129, 130, 131, 200};
  return all;
}

// Every position of a short row; of a long one those around the edges of its vectors.
std::vector<int64_t> positions(int64_t length) {
  std::vector<int64_t> result;
  for (int64_t p = 0; p < length; ++p) {
    const bool is_edge = p % 16 == 0 || p % 16 == 15;
    if (length <= 17 || is_edge || p >= length - 2) result.push_back(p);
  }
  return result;
}

struct Inputs {
  torch::Tensor query, key, value;
};

Inputs random_inputs(int64_t target, int64_t source, torch::ScalarType type) {
  const auto make = [&](int64_t length) {
    return torch::randn({1, 1, length, 3}, torch::kDouble).to(type);
  };
  return {make(target), make(source), make(source)};
}

torch::Tensor formula(const Inputs& in) {
  const auto scores = torch::matmul(in.query / std::sqrt(3.0), in.key.transpose(-2, -1));
  return torch::matmul(at::_safe_softmax(scores, -1), in.value);
}

TEST(NotANumber, AttentionShowsWhatTheFormulaShows) {
  torch::manual_seed(1);
  for_each_instruction_set([&] {
    for (const auto type : {torch::kFloat, torch::kDouble}) {
      for (const auto length : lengths()) {
        const auto in = random_inputs(2, length, type);
        for (const auto position : positions(length)) {
          for (const double bad : {kNaN, kInfinity, -kInfinity}) {
            if (bad != kNaN && position % 5 > 0) continue;
            SCOPED_TRACE(testing::Message()
                         << type << " S " << length << " at " << position << ": " << bad);
            const auto at = position * 3 + position % 3;
            for (const auto& broken : {Inputs{with(in.query, position % 6, bad), in.key, in.value},
                                       Inputs{in.query, with(in.key, at, bad), in.value},
                                       Inputs{in.query, in.key, with(in.value, at, bad)}}) {
              ASSERT_TRUE(same_kind(
                  functional::scaled_dot_product_attention(broken.query, broken.key, broken.value)
                      .output,
                  formula(broken)));
            }
          }
        }
      }
    }
  });
}

TEST(NotANumber, AttentionOf16BitsShowsIt) {
  for (const auto type : {torch::kBFloat16, torch::kHalf}) {
    for (const int64_t length : {1, 17, 128, 129, 200}) {
      const auto in = random_inputs(2, length, type);
      for (const auto position : positions(length)) {
        SCOPED_TRACE(testing::Message() << type << " S " << length << " at " << position);
        const auto is_nan = [](const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v) {
          return functional::scaled_dot_product_attention(q, k, v).output.isnan();
        };
        const auto at = position * 3;
        EXPECT_TRUE(is_nan(in.query, with(in.key, at, kNaN), in.value).all().item<bool>());
        EXPECT_TRUE(
            is_nan(in.query, in.key, with(in.value, at, kNaN)).select(3, 0).all().item<bool>());
        EXPECT_TRUE(is_nan(with(in.query, 0, kNaN), in.key, in.value)[0][0][0].all().item<bool>());
      }
    }
  }
}

// LibTorch's kernel of 16-bit numbers may give a finite output for a score of infinity.
TEST(NotANumber, AnInfiniteScoreOf16BitsShowsInOutputAndGradients) {
  torch::manual_seed(7);
  for (const auto type : {torch::kBFloat16, torch::kHalf}) {
    for (const int64_t length : {5, 140, 600}) {
      SCOPED_TRACE(testing::Message() << type << " S " << length);
      const auto make = [&](int64_t heads, int64_t size) {
        return torch::rand({2, heads, size, 8}, torch::kDouble).to(type);  // no score is -infinity
      };
      const auto query = make(2, 3), value = make(2, length);
      auto key = make(2, length);
      key[1][0][4][2] = kInfinity;
      const auto expect_seen = [](const torch::Tensor& output) {
        EXPECT_TRUE(output[1][0].isnan().all().item<bool>());
        EXPECT_TRUE(output[0].isfinite().all().item<bool>());
        EXPECT_TRUE(output[1][1].isfinite().all().item<bool>());
      };
      expect_seen(functional::scaled_dot_product_attention(query, key, value).output);
      const auto lengths = AttentionMask::key_lengths(torch::tensor({length, length}));
      expect_seen(functional::scaled_dot_product_attention(query, key, value, lengths).output);
      variable_list leaves{query.clone(), key.clone(), value.clone()};
      for (auto& leaf : leaves) leaf.requires_grad_();
      const auto output =
          functional::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2]).output;
      expect_seen(output.detach());
      const auto gradients = torch::autograd::grad({output.sum()}, leaves);
      EXPECT_TRUE(gradients[0][1][0].isnan().all().item<bool>());
      EXPECT_TRUE(gradients[0][0].isfinite().all().item<bool>());
      // Hidden from all queries it has no effect, and a query that sees no key gets zeros.
      auto seen = torch::ones({2, 1, 3, length}, torch::kBool);
      seen.select(3, 4).fill_(false);
      seen[1][0][2].fill_(false);
      const auto hidden =
          functional::scaled_dot_product_attention(query, key, value, AttentionMask(seen)).output;
      EXPECT_TRUE(hidden.isfinite().all().item<bool>());
      EXPECT_EQ(hidden[1].select(1, 2).abs().sum().item<double>(), 0.0);
    }
  }
}

TEST(NotANumber, GradientsOfAttentionShowWhatThoseOfTheFormulaShow) {
  torch::manual_seed(2);
  for_each_instruction_set([&] {
    for (const auto type : {torch::kFloat, torch::kDouble}) {
      for (const int64_t length : {1, 7, 16, 17, 33, 128, 129}) {
        const auto in = random_inputs(2, length, type);
        const auto slope = torch::randn({1, 1, 2, 3}, torch::kDouble).to(type);
        const auto expect_alike = [&](const Inputs& broken, const torch::Tensor& of_output) {
          variable_list leaves;
          for (const auto& x : {broken.query, broken.key, broken.value}) {
            leaves.push_back(x.detach().requires_grad_());
          }
          const auto found = torch::autograd::grad(
              {functional::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2]).output},
              leaves, {of_output});
          const auto wanted = torch::autograd::grad({formula({leaves[0], leaves[1], leaves[2]})},
                                                    leaves, {of_output});
          // Sums in another order: an infinity in one may be NaN in the other.
          for (size_t i = 0; i < 3; ++i) {
            ASSERT_TRUE(torch::equal(found[i].isfinite(), wanted[i].isfinite())) << i;
          }
        };
        for (const auto position : {int64_t{0}, length / 2, length - 1}) {
          SCOPED_TRACE(testing::Message() << type << " S " << length << " at " << position);
          const auto at = position * 3 + 1;
          expect_alike({in.query, with(in.key, at, kNaN), in.value}, slope);
          expect_alike({in.query, in.key, with(in.value, at, kNaN)}, slope);
          expect_alike({in.query, in.key, with(in.value, at, kInfinity)}, slope);
        }
        expect_alike({with(in.query, 4, kNaN), in.key, in.value}, slope);
        expect_alike(in, with(slope, 2, kNaN));
        expect_alike(in, with(slope, 4, kInfinity));
      }
    }
  });
}

TEST(NotANumber, ABiasOfAttentionShowsIt) {
  for_each_instruction_set([&] {
    for (const int64_t length : {1, 8, 17, 128, 129}) {
      const auto in = random_inputs(2, length, torch::kFloat);
      for (const auto position : positions(length)) {
        const auto bias = with(torch::randn({2, length}), length + position, kNaN);
        const auto output =
            functional::scaled_dot_product_attention(in.query, in.key, in.value, bias).output[0][0];
        EXPECT_TRUE(output[0].isfinite().all().item<bool>()) << length << " at " << position;
        EXPECT_TRUE(output[1].isnan().all().item<bool>()) << length << " at " << position;
        // All others impossible: no number is the largest.
        auto lonely = torch::full({2, length}, -kInfinity);
        lonely[1][position] = kNaN;
        EXPECT_TRUE(functional::scaled_dot_product_attention(in.query, in.key, in.value, lonely)
                        .output[0][0][1]
                        .isnan()
                        .all()
                        .item<bool>())
            << length << " at " << position;
      }
    }
  });
}

// Sizes and parameters that take each path of attention, and a mask that hides the last `hidden` keys of
// sentence 1 from all its queries.
struct HiddenCase {
  const char* name;
  int64_t target, source;
  AttentionParameters parameters = {};
  bool causal = false, window = false, dense = false;
};

AttentionMask mask_of(const HiddenCase& c, int64_t hidden) {
  const auto lengths = torch::tensor({c.source, c.source - hidden});
  auto mask = AttentionMask::key_lengths(lengths);
  if (c.dense) {
    const auto row = torch::arange(c.source).lt(lengths.unsqueeze(1)).view({2, 1, 1, c.source});
    mask = torch::zeros({2, 1, c.target, c.source}, torch::kDouble)
               .masked_fill(row.logical_not(), -kInfinity);
  }
  if (c.causal) mask = mask & AttentionMask::causal();
  if (c.window) mask = mask & AttentionMask::window(20, 0);
  return mask;
}

class HiddenFromAll : public testing::TestWithParam<HiddenCase> {};
INSTANTIATE_TEST_SUITE_P(Paths, HiddenFromAll,
                         testing::Values(HiddenCase{"Short", 6, 9},
                                         HiddenCase{"ShortCausal", 9, 9, {}, true},
                                         HiddenCase{"ShortBias", 6, 9, {}, false, false, true},
                                         HiddenCase{"Kernel", 5, 150},
                                         HiddenCase{"KernelCausal", 150, 150, {}, true},
                                         HiddenCase{"KernelBias", 5, 150, {}, false, false, true},
                                         HiddenCase{"Sentences", 520, 520, {}, true},
                                         HiddenCase{"WindowBlocks", 270, 560, {}, false, true},
                                         HiddenCase{"Scores", 6, 9, {.soft_cap = 2.0}}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(HiddenFromAll, KeysAndValuesMayHoldAnything) {
  torch::manual_seed(3);
  const auto& c = GetParam();
  constexpr int64_t kHidden = 3;
  const auto mask = mask_of(c, kHidden);
  const auto make = [](int64_t heads, int64_t length) {
    return torch::randn({2, heads, length, 8}, torch::kDouble);
  };
  // Two queries share a head of keys.
  const auto query = make(2, c.target), key = make(1, c.source), value = make(1, c.source);
  const auto hidden = [&](const torch::Tensor& x, double content) {
    auto result = x.clone();
    result[1].narrow(1, c.source - kHidden, kHidden).fill_(content);
    return result;
  };
  const auto run = [&](double content, bool records) {
    variable_list leaves{query.clone(), hidden(key, content), hidden(value, content)};
    for (auto& leaf : leaves) leaf.requires_grad_(records);
    const auto [output, weights] = functional::scaled_dot_product_attention(
        leaves[0], leaves[1], leaves[2], mask, WeightsRequest::kPerHead, c.parameters);
    variable_list result{output.detach(), weights.detach()};
    if (!records) return result;
    const auto found =
        torch::autograd::grad({output.square().sum() + weights.square().sum()}, leaves);
    result.insert(result.end(), found.begin(), found.end());
    return result;
  };
  for (const bool records : {false, true}) {
    const auto expected = run(0.0, records);
    for (const double content : {kNaN, kInfinity, -kInfinity}) {
      const auto found = run(content, records);
      for (size_t i = 0; i < found.size(); ++i) {
        SCOPED_TRACE(testing::Message() << content << ", records " << records << ", " << i);
        EXPECT_TENSOR_NEAR(found[i], expected[i], 1e-12);
      }
    }
  }
}

TEST_P(HiddenFromAll, WhatIsSeenShowsInTheQueriesThatSeeIt) {
  torch::manual_seed(4);
  const auto& c = GetParam();
  const auto mask = mask_of(c, 3);
  const auto make = [](int64_t length) { return torch::randn({2, 1, length, 8}, torch::kDouble); };
  const auto query = make(c.target), key = make(c.source), value = make(c.source);
  // The last key of sentence 1 that is not hidden, which its query of the same position sees.
  const auto position = c.source - 4, sees = c.causal || c.window ? c.target - 4 : c.target - 1;
  const auto at = (c.source + position) * 8 + 5;
  for (const bool records : {false, true}) {
    for (const bool of_value : {false, true}) {
      variable_list leaves{query.clone(), of_value ? key.clone() : with(key, at, kNaN),
                           of_value ? with(value, at, kNaN) : value.clone()};
      for (auto& leaf : leaves) leaf.requires_grad_(records);
      const auto output =
          functional::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], mask,
                                                   WeightsRequest::kNone, c.parameters)
              .output;
      EXPECT_TRUE(output[1][0][sees].isnan().any().item<bool>()) << of_value;
      EXPECT_TRUE(output[0].isfinite().all().item<bool>()) << of_value;  // another sentence
      if (!records) continue;
      const auto gradients = torch::autograd::grad({output.sum()}, leaves);
      EXPECT_TRUE(gradients[0][1].isnan().any().item<bool>()) << of_value;
      EXPECT_TRUE(gradients[0][0].isfinite().all().item<bool>()) << of_value;
    }
  }
}

TEST(NotANumber, AQueryThatSeesNothingMayHoldAnything) {
  for (const int64_t length : {6, 150}) {
    auto seen = torch::ones({length, length}, torch::kBool);
    seen[2].fill_(false);
    const auto in = random_inputs(length, length, torch::kDouble);
    variable_list leaves{with(in.query, 7, kNaN), in.key.clone(), in.value.clone()};
    for (auto& leaf : leaves) leaf.requires_grad_();
    const auto run = [&] {
      return functional::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], seen).output;
    };
    const auto output = run();
    EXPECT_TRUE(output.isfinite().all().item<bool>());
    EXPECT_EQ(output[0][0][2].abs().sum().item<double>(), 0.0);
    for (const auto& gradient : torch::autograd::grad({output.square().sum()}, leaves)) {
      EXPECT_TRUE(gradient.isfinite().all().item<bool>());
    }
    const torch::NoGradGuard no_grad;
    EXPECT_TRUE(run().isfinite().all().item<bool>());
  }
}

TEST(NotANumber, AdditiveAttentionShowsWhatIsSeenAndNothingElse) {
  const auto query = torch::randn({2, 3, 8}), key = torch::randn({2, 5, 8}),
             value = torch::randn({2, 5, 6}), vector = torch::randn({8});
  const auto mask = AttentionMask::key_lengths(torch::tensor({5, 3}));
  const auto gradients = [&](const torch::Tensor& k, const torch::Tensor& v) {
    variable_list leaves{query.clone(), k.clone(), vector.clone(), v.clone()};
    for (auto& leaf : leaves) leaf.requires_grad_();
    const auto output =
        functional::additive_attention(leaves[0], leaves[1], leaves[2], leaves[3], mask).output;
    auto result = torch::autograd::grad({output.square().sum()}, leaves);
    result.push_back(output.detach());
    return result;
  };
  const auto with_row = [](const torch::Tensor& x, int64_t row, double content) {
    auto result = x.clone();
    result[1][row].fill_(content);
    return result;
  };
  const auto expected = gradients(with_row(key, 4, 0.0), with_row(value, 4, 0.0));
  const auto hidden = gradients(with_row(key, 4, kNaN), with_row(value, 4, kInfinity));
  for (size_t i = 0; i < hidden.size(); ++i) EXPECT_TENSOR_NEAR(hidden[i], expected[i], 1e-6);
  for (const auto& seen :
       {gradients(with_row(key, 2, kNaN), value), gradients(key, with_row(value, 2, kNaN))}) {
    EXPECT_TRUE(seen.back()[1].isnan().all().item<bool>());
    EXPECT_TRUE(seen.back()[0].isfinite().all().item<bool>());
    EXPECT_TRUE(seen[0][1].isnan().any().item<bool>());
  }
}

TEST(NotANumber, CrossEntropyShowsItAtEveryPosition) {
  torch::manual_seed(5);
  const auto run = [](const torch::Tensor& given, const torch::Tensor& bias, int64_t target,
                      double smoothing, bool gradient) {
    auto logits = given.clone();
    const auto targets = torch::tensor({target}), losses = torch::empty({1}, given.options());
    AT_DISPATCH_FLOATING_TYPES(given.scalar_type(), "run", [&] {
      kernels::cross_entropy(logits.mutable_data_ptr<scalar_t>(),
                             bias.defined() ? bias.const_data_ptr<scalar_t>() : nullptr,
                             targets.const_data_ptr<int64_t>(), losses.mutable_data_ptr<scalar_t>(),
                             given.size(1), /*ignore_id=*/-1, static_cast<scalar_t>(smoothing),
                             gradient, 0, 1);
    });
    return std::pair(losses, logits);
  };
  for_each_instruction_set([&] {
    for (const auto type : {torch::kFloat, torch::kDouble}) {
      for (const int64_t classes : {1, 7, 16, 17, 33}) {
        if (type == torch::kDouble && classes > 17) continue;
        const auto logits = torch::randn({1, classes}, type);
        for (int64_t position = 0; position < classes; ++position) {
          for (const double bad : {kNaN, kInfinity, -kInfinity}) {
            for (const double smoothing : {0.0, 0.1}) {
              if (bad == kNaN && smoothing == 0.0) continue;
              SCOPED_TRACE(testing::Message() << type << ' ' << classes << " classes, " << bad
                                              << " at " << position << ", smoothing " << smoothing);
              const auto target = classes / 2;
              const auto broken = with(logits, position, bad).requires_grad_();
              const auto expected =
                  functional::cross_entropy_sum(broken, torch::tensor({target}), -100, smoothing);
              const auto [loss, gradient] = run(broken.detach(), {}, target, smoothing, true);
              ASSERT_TRUE(same_kind(loss[0], expected));
              ASSERT_TRUE(same_kind(gradient, torch::autograd::grad({expected}, {broken})[0]));
              ASSERT_TRUE(
                  same_kind(run(broken.detach(), {}, target, smoothing, false).first, loss));
              ASSERT_TRUE(same_kind(run(logits, with(torch::zeros_like(logits), position, bad),
                                        target, smoothing, true)
                                        .first,
                                    loss));
            }
          }
        }
      }
    }
  });
}

TEST(NotANumber, TheVocabularysLossShowsItAtEveryPosition) {
  torch::manual_seed(6);
  constexpr int64_t kRows = 5, kSize = 3, kIgnored = -100;
  for_each_instruction_set([&] {
    for (const auto type : {torch::kFloat, torch::kDouble}) {
      for (const int64_t classes : {5, 288, 289}) {
        const auto hidden = torch::randn({kRows, kSize}, type);
        const auto weight = torch::randn({classes, kSize}, type),
                   bias = torch::randn({classes}, type);
        const auto target = torch::randint(classes, {kRows}, torch::kLong);
        const auto expect_alike = [&](const torch::Tensor& x, const torch::Tensor& w,
                                      const torch::Tensor& b) {
          variable_list leaves{x.clone(), w.clone(), b.clone()};
          for (auto& leaf : leaves) leaf.requires_grad_();
          const auto loss = functional::linear_cross_entropy_sum(leaves[0], leaves[1], leaves[2],
                                                                 target, kIgnored, 0.1);
          const auto expected = functional::cross_entropy_sum(
              at::linear(leaves[0], leaves[1], leaves[2]), target, kIgnored, 0.1);
          ASSERT_TRUE(same_kind(loss, expected));
          const auto found = torch::autograd::grad({loss}, leaves);
          const auto wanted = torch::autograd::grad({expected}, leaves);
          for (size_t i = 0; i < 3; ++i) ASSERT_TRUE(same_kind(found[i], wanted[i])) << i;
          const torch::NoGradGuard no_grad;
          ASSERT_TRUE(same_kind(
              functional::linear_cross_entropy_sum(x, w, b, target, kIgnored, 0.1), expected));
        };
        for (const auto position :
             {int64_t{0}, int64_t{1}, classes / 2, classes - 2, classes - 1}) {
          SCOPED_TRACE(testing::Message() << type << ' ' << classes << " classes at " << position);
          for (const double bad : {kNaN, kInfinity}) {
            expect_alike(hidden, with(weight, position * kSize + 1, bad), bias);
            expect_alike(hidden, weight, with(bias, position, bad));
          }
        }
        for (int64_t row = 0; row < kRows; ++row) {
          expect_alike(with(hidden, row * kSize + row % kSize, kNaN), weight, bias);
        }
      }
    }
  });
}

TEST(NotANumber, DropoutShowsItAlsoWhereItDrops) {
  constexpr int64_t kSize = 1100;  // more than one block
  for_each_instruction_set([&] {
    for (const auto type : {torch::kFloat, torch::kDouble, torch::kBFloat16}) {
      const auto x = torch::full({kSize}, kNaN, type).requires_grad_();
      const auto y = functional::dropout(x, 0.5);
      EXPECT_TRUE(y.isnan().all().item<bool>());
      const auto gradient = torch::autograd::grad({y}, {x}, {torch::full({kSize}, kNaN, type)})[0];
      EXPECT_TRUE(gradient.isnan().all().item<bool>());
      const auto infinite = functional::dropout(torch::full({kSize}, kInfinity, type), 0.5);
      EXPECT_FALSE(infinite.isfinite().any().item<bool>());  // zero times infinity is NaN
    }
  });
}

TEST(NotANumber, ProductsShowItAtEveryPosition) {
  const auto strided = [](const torch::Tensor& x) {
    return kernels::Strided{x.const_data_ptr<float>(), x.stride(0), x.stride(1)};
  };
  constexpr int64_t kColumns = 35, kDepth = 9;
  // Many rows, and few of a matrix whose columns are contiguous, go different ways.
  for (const int64_t rows : {25, 3}) {
    const auto a = torch::randn({rows, kDepth}), b = torch::randn({kDepth, kColumns}),
               bias = torch::randn({kColumns});
    const auto is_nan = [&](const torch::Tensor& x, const torch::Tensor& y,
                            const torch::Tensor& z) {
      const auto c = torch::zeros({rows, kColumns});
      const auto factors = rows == 3 ? y.t().contiguous().t() : y;
      kernels::product({.rows = rows,
                        .columns = kColumns,
                        .depth = kDepth,
                        .a = strided(x),
                        .b = strided(factors),
                        .bias = z.const_data_ptr<float>(),
                        .c = c.mutable_data_ptr<float>()},
                       0, 1);
      return c.isnan();
    };
    for_each_instruction_set([&] {
      for (int64_t i = 0; i < rows * kDepth; ++i) {
        auto expected = torch::zeros({rows, kColumns}, torch::kBool);
        expected[i / kDepth].fill_(true);
        ASSERT_TRUE(torch::equal(is_nan(with(a, i, kNaN), b, bias), expected)) << i;
      }
      for (int64_t i = 0; i < kColumns * kDepth; ++i) {
        auto expected = torch::zeros({rows, kColumns}, torch::kBool);
        expected.select(1, i % kColumns).fill_(true);
        ASSERT_TRUE(torch::equal(is_nan(a, with(b, i, kNaN), bias), expected)) << i;
        ASSERT_TRUE(torch::equal(is_nan(a, b, with(bias, i % kColumns, kNaN)), expected)) << i;
      }
    });
  }
}

}  // namespace
}  // namespace attend::not_a_number_test
