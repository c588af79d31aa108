// Derivatives beyond the first, and derivatives in forward mode, of everything that attend computes by kernels of its own or
// by those of LibTorch that have no more than a first derivative: at short lengths and at long ones.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "attend/functional/attention.h"
#include "attend/functional/dropout.h"
#include "attend/functional/linear.h"
#include "attend/functional/loss.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/modules/torch_interop.h"
#include "support/autocast.h"
#include "support/forward_mode.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::derivatives_test {
namespace {

using functional::AttentionParameters;
using testing_support::ForwardMode;
using torch::autograd::variable_list;

constexpr int64_t kB = 2, kH = 2, kHkv = 1, kD = 6;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

enum class Masked {
  kNothing,
  kCausal,
  kLengths,
  kCausalLengths,
  kWindow,
  kLearnedBias,
  kRelativeBias
};

// One attention whose sizes, mask and parameters decide its path.
struct Case {
  const char* name;
  int64_t target, source;
  Masked masked = Masked::kNothing;
  double soft_cap = 0.0;
  bool sinks = false;
  bool grouped = false;
  const char* path = "";  // how explain_attention begins
};
std::ostream& operator<<(std::ostream& stream, const Case& c) { return stream << c.name; }

constexpr auto kBlockwise = "blockwise kernel";

std::vector<Case> cases() {
  return {{"Short", 3, 5, Masked::kNothing, 0, false, false, kBlockwise},
          {"ShortCausal", 5, 7, Masked::kCausal, 0, false, true, kBlockwise},
          {"ShortLengths", 5, 7, Masked::kLengths, 0, false, false, kBlockwise},
          {"Long", 3, 140, Masked::kNothing, 0, false, false, kBlockwise},
          {"LongGrouped", 3, 140, Masked::kNothing, 0, false, true, kBlockwise},
          {"LongCausal", 135, 135, Masked::kCausal, 0, false, true, kBlockwise},
          {"LongCausalShifted", 135, 140, Masked::kCausal, 0, false, false, kBlockwise},
          {"LongLengths", 9, 140, Masked::kLengths, 0, false, false, kBlockwise},
          {"CausalLengths", 214, 214, Masked::kCausalLengths, 0, false, true, kBlockwise},
          {"Window", 170, 240, Masked::kWindow, 0, false, false, kBlockwise},
          {"ShortLearnedBias", 3, 5, Masked::kLearnedBias, 0, false, false, kBlockwise},
          {"LongLearnedBias", 3, 140, Masked::kLearnedBias, 0, false, false, kBlockwise},
          {"ShortRelativeBias", 3, 5, Masked::kRelativeBias, 0, false, true, kBlockwise},
          {"LongRelativeBias", 9, 140, Masked::kRelativeBias, 0, false, false, kBlockwise},
          {"SoftCap", 3, 140, Masked::kLengths, 2.0, false, false, kBlockwise},
          {"Sinks", 3, 140, Masked::kCausal, 0, true, false, kBlockwise}};
}

// What is differentiated of a case: query, key, value, then the bias and the sinks, where it has them.
struct Attention {
  const Case& c;
  variable_list inputs;
  torch::Tensor allowed;
  torch::Tensor lengths = torch::tensor({c.source, c.source - 2});

  explicit Attention(const Case& one) : c(one) {
    const auto make = [](at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); };
    const auto kv_heads = c.grouped ? kHkv : kH;
    inputs = {make({kB, kH, c.target, kD}), make({kB, kv_heads, c.source, kD}),
              make({kB, kv_heads, c.source, kD})};
    if (c.masked == Masked::kLearnedBias) inputs.push_back(make({1, kH, c.target, c.source}));
    if (c.masked == Masked::kRelativeBias) inputs.push_back(make({kH, c.target + c.source - 1}));
    if (c.sinks) inputs.push_back(make({kH}));
    const auto ahead = torch::arange(c.source).unsqueeze(0) -
                       torch::arange(c.source - c.target, c.source).unsqueeze(1);
    allowed = torch::ones({kB, 1, c.target, c.source}, torch::kBool);
    if (c.masked == Masked::kCausal || c.masked == Masked::kCausalLengths) allowed &= ahead.le(0);
    if (c.masked == Masked::kWindow) allowed &= ahead.le(0) & ahead.ge(-4);
    if (c.masked == Masked::kLengths || c.masked == Masked::kCausalLengths) {
      allowed &= torch::arange(c.source).lt(lengths.view({kB, 1, 1, 1}));
    }
  }

  AttentionMask mask(const variable_list& x) const {
    switch (c.masked) {
      case Masked::kNothing:
        return {};
      case Masked::kCausal:
        return AttentionMask::causal();
      case Masked::kLengths:
        return AttentionMask::key_lengths(lengths);
      case Masked::kCausalLengths:
        return AttentionMask::causal() & AttentionMask::key_lengths(lengths);
      case Masked::kWindow:
        return AttentionMask::window(4, 0);
      case Masked::kLearnedBias:
        return x[3];
      case Masked::kRelativeBias:
        return AttentionMask::relative_bias(x[3]);
    }
    return {};
  }
  AttentionParameters parameters(const variable_list& x) const {
    return {.soft_cap = c.soft_cap, .sinks = c.sinks ? x.back() : torch::Tensor()};
  }

  AttentionOutput attend(const variable_list& x,
                         const WeightsRequest& request = WeightsRequest::kNone) const {
    return functional::scaled_dot_product_attention(x[0], x[1], x[2], mask(x), request,
                                                    parameters(x));
  }

  // The formula, in operations of LibTorch that have every derivative.
  AttentionOutput formula(const variable_list& x) const {
    const auto heads = [](const torch::Tensor& kv) {
      return kv.size(1) == kH ? kv : kv.repeat_interleave(kH / kv.size(1), 1);
    };
    auto scores = torch::matmul(x[0], heads(x[1]).transpose(-2, -1)) / std::sqrt(double{kD});
    if (c.soft_cap > 0) scores = torch::tanh(scores / c.soft_cap) * c.soft_cap;
    if (c.masked == Masked::kLearnedBias) scores = scores + x[3];
    if (c.masked == Masked::kRelativeBias) {
      const auto place =
          torch::arange(c.source) - torch::arange(c.target).unsqueeze(1) + c.target - 1;
      scores = scores + x[3].index_select(1, place.flatten()).view({1, kH, c.target, c.source});
    }
    scores = scores.masked_fill(allowed.logical_not(), -kInfinity);
    if (c.sinks) {
      scores = torch::cat({scores, x.back().view({1, kH, 1, 1}).expand({kB, kH, c.target, 1})}, 3);
    }
    const auto weights = torch::softmax(scores, -1).narrow(3, 0, c.source);
    return {torch::matmul(weights, heads(x[2])), weights};
  }
};

variable_list leaves_of(const variable_list& inputs) {
  variable_list leaves;
  for (const auto& x : inputs) leaves.push_back(x.detach().clone().requires_grad_());
  return leaves;
}

void expect_all_near(const variable_list& found, const variable_list& wanted, double tolerance) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    SCOPED_TRACE(i);
    const auto size = std::max(1e-3, wanted[i].abs().max().item<double>());
    EXPECT_TENSOR_NEAR(found[i].detach() / size, wanted[i].detach() / size, tolerance);
  }
}

using Function = std::function<torch::Tensor(const variable_list&)>;

// The first and second derivatives of a function, whose value is squared so that the second ones need the value.
variable_list first_and_second(const Function& f, const variable_list& inputs) {
  const auto leaves = leaves_of(inputs);
  auto result = torch::autograd::grad({f(leaves).square().sum()}, leaves, {}, /*retain_graph=*/true,
                                      /*create_graph=*/true);
  auto sum = torch::zeros({}, torch::kDouble);
  for (const auto& first : result) sum = sum + first.square().sum();
  for (const auto& second : torch::autograd::grad({sum}, leaves)) result.push_back(second);
  return result;
}

class AttentionDerivativesOf : public testing::TestWithParam<Case> {
 protected:
  AttentionDerivativesOf() { torch::manual_seed(11); }
};
INSTANTIATE_TEST_SUITE_P(All, AttentionDerivativesOf, testing::ValuesIn(cases()),
                         testing::PrintToStringParamName());

TEST_P(AttentionDerivativesOf, TheCaseTakesThePathItIsFor) {
  const Attention attention(GetParam());
  const auto leaves = leaves_of(attention.inputs);
  EXPECT_TRUE(functional::explain_attention(leaves[0], leaves[1], leaves[2], attention.mask(leaves),
                                            attention.parameters(leaves))
                  .starts_with(GetParam().path));
}

TEST_P(AttentionDerivativesOf, FirstAndSecondOnesAreThoseOfTheFormula) {
  const Attention attention(GetParam());
  expect_all_near(
      first_and_second([&](const auto& x) { return attention.attend(x).output; }, attention.inputs),
      first_and_second([&](const auto& x) { return attention.formula(x).output; },
                       attention.inputs),
      1e-10);
}

TEST_P(AttentionDerivativesOf, TangentsAreTheDifferencesOfTheKernel) {
  const Attention attention(GetParam());
  variable_list tangents, duals;
  for (const auto& x : attention.inputs) tangents.push_back(torch::randn_like(x));
  const auto values = [&](const variable_list& x) -> variable_list {
    const auto [output, weights] = attention.attend(x, WeightsRequest::kPerHead);
    return {output, weights, attention.attend(x, WeightsRequest::kMean).weights};
  };
  const auto moved = [&](double step) {
    variable_list x;
    for (size_t i = 0; i < tangents.size(); ++i) {
      x.push_back(attention.inputs[i] + step * tangents[i]);
    }
    return values(x);
  };
  constexpr double kStep = 1e-5;
  const auto before = moved(-kStep), after = moved(kStep), here = moved(0.0);
  const ForwardMode forward;
  for (size_t i = 0; i < tangents.size(); ++i) {
    duals.push_back(forward.dual(attention.inputs[i], tangents[i]));
  }
  const auto found = values(duals);
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_TENSOR_NEAR(forward.primal(found[i]), here[i], 1e-12);
    EXPECT_TENSOR_NEAR(forward.tangent(found[i]), (after[i] - before[i]) / (2 * kStep), 1e-6);
  }
}

// Products of the second derivatives with a vector: forward over backward is backward over backward.
TEST_P(AttentionDerivativesOf, TangentsGoThroughTheBackwardPass) {
  const Attention attention(GetParam());
  const auto leaves = leaves_of(attention.inputs);
  variable_list tangents;
  for (const auto& x : leaves) tangents.push_back(torch::randn_like(x));
  const auto first = torch::autograd::grad({attention.attend(leaves).output.square().sum()}, leaves,
                                           {}, true, /*create_graph=*/true);
  auto sum = torch::zeros({}, torch::kDouble);
  for (size_t i = 0; i < first.size(); ++i) sum = sum + (first[i] * tangents[i]).sum();
  const auto wanted = torch::autograd::grad({sum}, leaves);

  const ForwardMode forward;
  variable_list duals, found;
  for (size_t i = 0; i < leaves.size(); ++i) {
    duals.push_back(forward.dual(leaves[i], tangents[i]));
  }
  for (const auto& gradient :
       torch::autograd::grad({attention.attend(duals).output.square().sum()}, duals)) {
    found.push_back(forward.tangent(gradient));
  }
  expect_all_near(found, wanted, 1e-9);
}

// A backward pass is linear in the gradient it starts from, also in the tangent of that.
TEST_P(AttentionDerivativesOf, TangentsOfTheGradientOfTheOutputAreNotLost) {
  const Attention attention(GetParam());
  const auto leaves = leaves_of(attention.inputs);
  const auto result = attention.attend(leaves, WeightsRequest::kMean);
  const auto &output = result.output, &weights = result.weights;
  const auto slope = torch::randn_like(output), tangent = torch::randn_like(output),
             of_weights = torch::randn_like(weights);
  const auto gradients = [&](const torch::Tensor& of_output) {
    return torch::autograd::grad({output, weights}, leaves, {of_output, of_weights},
                                 /*retain_graph=*/true);
  };
  const auto zero = torch::autograd::grad({output}, leaves, {tangent}, true, false, true);
  const ForwardMode forward;
  const auto found = gradients(forward.dual(slope, tangent));
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_TENSOR_NEAR(forward.tangent(found[i]), zero[i], 1e-10) << i;
  }
}

TEST_P(AttentionDerivativesOf, InputsMayBeOneTensorOrMadeOfEachOther) {
  const auto& c = GetParam();
  Case square = c;
  square.grouped = false;
  square.target = square.source = std::max(c.target, c.source);
  const Attention attention(square);
  const auto x = torch::randn({kB, kH, square.source, kD}, torch::kDouble) * 0.5;
  auto inputs = variable_list(attention.inputs.begin() + 2, attention.inputs.end());
  inputs[0] = x;
  const auto spread = [](const variable_list& given, const torch::Tensor& key) {
    variable_list result{given[0], key, given[0]};
    result.insert(result.end(), given.begin() + 1, given.end());
    return result;
  };
  for (const bool scaled : {false, true}) {
    const auto key = [&](const variable_list& y) { return scaled ? y[0] * 0.5 : y[0]; };
    expect_all_near(
        first_and_second([&](const auto& y) { return attention.attend(spread(y, key(y))).output; },
                         inputs),
        first_and_second([&](const auto& y) { return attention.formula(spread(y, key(y))).output; },
                         inputs),
        1e-10);
  }
}

TEST(AttentionDerivatives, OfMeansOfWeightsAreThoseOfTheFormula) {
  torch::manual_seed(12);
  const Case one{"Mean", 3, 140, Masked::kCausal};
  const Attention attention(one);
  const auto of_one = [&](const auto& weights) {
    return [&, weights](const variable_list& x) { return weights({x[0], x[0] * 2.0, x[0]}); };
  };
  Case square = one;
  square.target = square.source = 140;
  const Attention self(square);
  expect_all_near(first_and_second(of_one([&](const variable_list& x) {
                                     return self.attend(x, WeightsRequest::kMean).weights;
                                   }),
                                   {self.inputs[0]}),
                  first_and_second(of_one([&](const variable_list& x) {
                                     return self.formula(x).weights.mean(1);
                                   }),
                                   {self.inputs[0]}),
                  1e-10);
}

TEST(AttentionDerivatives, TheFirstOnesNeedNoMoreMemoryThanLibTorchsKernel) {
  const auto leaves = leaves_of({torch::randn({1, 4, 700, 16}), torch::randn({1, 4, 700, 16}),
                                 torch::randn({1, 4, 700, 16})});
  const auto peak = [&](const auto& attend) {
    testing_support::PeakMemory memory;
    torch::autograd::grad({attend().sum()}, leaves);
    return memory.peak();
  };
  const auto ours = peak([&] {
    return functional::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2],
                                                    AttentionMask::causal())
        .output;
  });
  const auto theirs = peak([&] {
    return at::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], {}, 0.0, true);
  });
  EXPECT_LE(ours, theirs);
}

// As torch::nn's module in C++, whose operations have every derivative.
TEST(AttentionDerivatives, AModuleHasThoseOfTorchsModuleAtAnyLength) {
  for (const int64_t length : {5, 140}) {
    torch::manual_seed(14);
    torch::nn::MultiheadAttention theirs(torch::nn::MultiheadAttentionOptions(12, 2));
    theirs->to(torch::kDouble);
    const auto ours = from_torch(theirs);
    const auto x = torch::randn({length, 2, 12}, torch::kDouble);
    const auto of_ours = [&](const variable_list& leaves) {
      const auto batch_first = leaves[0].transpose(0, 1);
      auto module = ours;
      return module(batch_first, batch_first, batch_first).output.transpose(0, 1);
    };
    const auto of_theirs = [&](const variable_list& leaves) {
      auto module = theirs;
      return std::get<0>(module(leaves[0], leaves[0], leaves[0]));
    };
    expect_all_near(first_and_second(of_ours, {x}), first_and_second(of_theirs, {x}), 1e-9);
    const ForwardMode forward;
    const auto dual = forward.dual(x, torch::randn_like(x));
    EXPECT_TENSOR_NEAR(forward.tangent(of_ours({dual})), forward.tangent(of_theirs({dual})), 1e-9);
  }
}

// ---- The other kernels ----

struct LossCase {
  int64_t rows, classes;
};

class LossDerivatives : public testing::TestWithParam<LossCase> {
 protected:
  LossDerivatives() { torch::manual_seed(15); }
  variable_list inputs_{torch::randn({GetParam().rows, 4}, torch::kDouble),
                        torch::randn({GetParam().classes, 4}, torch::kDouble),
                        torch::randn({GetParam().classes}, torch::kDouble)};
  torch::Tensor target_ = torch::randint(GetParam().classes, {GetParam().rows}, torch::kLong);

  torch::Tensor loss(const variable_list& x) const {
    return functional::linear_cross_entropy_sum(x[0], x[1], x[2], target_, /*ignore_id=*/2, 0.1);
  }
};
INSTANTIATE_TEST_SUITE_P(Sizes, LossDerivatives,
                         testing::Values(LossCase{5, 13}, LossCase{100, 600}),
                         [](const auto& test) { return test.param.rows < 9 ? "Few" : "Many"; });

TEST_P(LossDerivatives, FirstAndSecondOnesAreThoseOfTheFormula) {
  const auto formula = [&](const variable_list& x) {
    return functional::cross_entropy_sum(at::linear(x[0], x[1], x[2]), target_, 2, 0.1);
  };
  expect_all_near(first_and_second([&](const auto& x) { return loss(x); }, inputs_),
                  first_and_second(formula, inputs_), 1e-10);
  // Hidden states that are made of the weights.
  const auto tied = [&](const Function& f) {
    return [&, f](const variable_list& x) { return f({x[0].narrow(0, 0, 5) * 2.0, x[0], x[1]}); };
  };
  target_ = target_.narrow(0, 0, 5);
  expect_all_near(
      first_and_second(tied([&](const auto& x) { return loss(x); }), {inputs_[1], inputs_[2]}),
      first_and_second(tied(formula), {inputs_[1], inputs_[2]}), 1e-10);
}

TEST_P(LossDerivatives, TangentsAreThoseOfTheGradient) {
  const auto leaves = leaves_of(inputs_);
  const auto gradients = torch::autograd::grad({loss(leaves)}, leaves);
  variable_list tangents, duals;
  auto expected = torch::zeros({}, torch::kDouble);
  const ForwardMode forward;
  for (size_t i = 0; i < leaves.size(); ++i) {
    tangents.push_back(torch::randn_like(leaves[i]));
    duals.push_back(forward.dual(inputs_[i], tangents[i]));
    expected = expected + (gradients[i] * tangents[i]).sum();
  }
  EXPECT_TENSOR_NEAR(forward.tangent(loss(duals)), expected, 1e-10);
  // One of them alone, too.
  EXPECT_TENSOR_NEAR(forward.tangent(loss({inputs_[0], duals[1], inputs_[2]})),
                     (gradients[1] * tangents[1]).sum(), 1e-10);
}

TEST(LinearDerivatives, TangentsGoThroughTheBackwardPass) {
  torch::manual_seed(16);
  for (const int64_t rows : {3, 70}) {
    const auto leaves =
        leaves_of({torch::randn({rows, 45}), torch::randn({39, 45}), torch::randn({39})});
    const auto output = functional::linear(leaves[0], leaves[1], leaves[2]);
    const auto slope = torch::randn({rows, 39}), tangent = torch::randn({rows, 39});
    const auto wanted = torch::autograd::grad({output}, leaves, {tangent}, /*retain_graph=*/true);
    const ForwardMode forward;
    const auto found = torch::autograd::grad({output}, leaves, {forward.dual(slope, tangent)});
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TENSOR_NEAR(forward.tangent(found[i]), wanted[i], 1e-4) << i;
    }
  }
}

TEST(DropoutDerivatives, TangentsHaveTheMaskOfTheOutput) {
  for (const int64_t size : {3, 1500}) {
    const auto x = torch::randn({size}, torch::kDouble),
               tangent = torch::randn({size}, torch::kDouble);
    torch::manual_seed(17);
    const auto plain = functional::dropout(x, 0.4);
    const auto mask = plain / x;
    const ForwardMode forward;
    torch::manual_seed(17);
    const auto y = functional::dropout(forward.dual(x, tangent), 0.4);
    EXPECT_TENSOR_EQUAL(forward.primal(y), plain);
    EXPECT_TENSOR_NEAR(forward.tangent(y), mask * tangent, 1e-12);
    // And of the gradient.
    const auto leaf = x.clone().requires_grad_();
    torch::manual_seed(17);
    const auto recorded = functional::dropout(leaf, 0.4);
    const auto gradient =
        torch::autograd::grad({recorded}, {leaf}, {forward.dual(torch::ones_like(x), tangent)})[0];
    EXPECT_TENSOR_NEAR(forward.tangent(gradient), mask * tangent, 1e-12);
  }
}

}  // namespace
}  // namespace attend::derivatives_test
