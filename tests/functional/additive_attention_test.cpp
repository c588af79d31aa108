// Additive attention by the kernel of the CPU, beside the formula in float64: every function, mask
// and option, sizes around the edges of vectors and blocks, all gradients.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "attend/functional/attention.h"
#include "attend/functional/dropout.h"
#include "support/forward_mode.h"
#include "support/instruction_sets.h"
#include "support/module_checks.h"
#include "support/negated.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::additive_attention_test {
namespace {

using functional::AdditiveAttentionParameters;
using torch::autograd::variable_list;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::array kFunctions{ScoreFunction::kTanh, ScoreFunction::kLeakyRelu,
                                ScoreFunction::kRelu, ScoreFunction::kSilu, ScoreFunction::kGelu};

struct Sizes {
  int64_t batch, heads, target, source, hidden, value;
};
std::ostream& operator<<(std::ostream& stream, const Sizes& s) {
  return stream << "B" << s.batch << "H" << s.heads << "T" << s.target << "S" << s.source << "A"
                << s.hidden << "Dv" << s.value;
}

struct Inputs {
  torch::Tensor query, key, vector, value;
  torch::Tensor key_term = {};
};

torch::Tensor doubles(at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); }

Inputs random_inputs(const Sizes& s, double spread = 1.0) {
  return {spread * doubles({s.batch, s.heads, s.target, s.hidden}),
          spread * doubles({s.batch, s.heads, s.source, s.hidden}), doubles({s.heads, s.hidden}),
          doubles({s.batch, s.heads, s.source, s.value}), doubles({s.batch, s.heads, s.source})};
}

// What may be seen, and what is added to the scores; undefined: all, and nothing.
struct Meaning {
  torch::Tensor allowed, bias;
};
struct MaskCase {
  std::string name;
  AttentionMask mask;
  Meaning meaning;
};

std::vector<MaskCase> masks(const Sizes& s) {
  const auto allowed = torch::rand({s.batch, 1, s.target, s.source}) < 0.4;
  const auto of_heads = torch::rand({1, s.heads, s.target, 1}) < 0.6;
  const auto bias = doubles({1, s.heads, s.target, s.source});
  const auto hiding = torch::zeros({s.target, s.source}, torch::kDouble)
                          .masked_fill(torch::rand({s.target, s.source}) < 0.5, -kInfinity);
  const auto causal = functional::causal_mask(s.target, s.source);
  const auto lengths = torch::arange(s.batch, torch::kLong) * (s.source / s.batch);  // first: none
  const auto of_lengths = torch::arange(s.source).view({1, 1, 1, -1}) < lengths.view({-1, 1, 1, 1});
  std::vector<MaskCase> cases{{"none", {}, {}},
                              {"causal", AttentionMask::causal(), {causal, {}}},
                              {"lengths", AttentionMask::key_lengths(lengths), {of_lengths, {}}},
                              {"pairs", allowed, {allowed, {}}},
                              {"queries", of_heads, {of_heads, {}}},
                              {"bias", AttentionMask(bias), {{}, bias}},
                              {"hiding bias", AttentionMask(hiding), {hiding.isfinite(), {}}},
                              {"causal, lengths, pairs and bias",
                               AttentionMask::causal() & AttentionMask::key_lengths(lengths) &
                                   AttentionMask(allowed) & AttentionMask(bias),
                               {causal.logical_and(of_lengths).logical_and(allowed), bias}}};
  const auto of_queries = torch::arange(s.batch * s.target).view({s.batch, -1}) % 3,
             of_keys = torch::arange(s.batch * s.source).view({s.batch, -1}) % 3;
  cases.push_back({"segments",
                   AttentionMask::segments(of_queries, of_keys),
                   {of_queries.unsqueeze(2).eq(of_keys.unsqueeze(1)).unsqueeze(1), {}}});
  const auto slopes = doubles({s.heads}).abs();
  const auto distance =
      torch::arange(s.source) - torch::arange(s.source - s.target, s.source).unsqueeze(1);
  cases.push_back(
      {"slopes", AttentionMask::alibi(slopes), {{}, -slopes.view({1, -1, 1, 1}) * distance.abs()}});
  if (s.target <= s.source + 1) {
    const auto window = functional::window_mask(s.target, s.source, 3, 1);
    cases.push_back({"window", AttentionMask::window(3, 1), {window, {}}});
  }
  return cases;
}

torch::Tensor apply_function(const torch::Tensor& x, const AdditiveAttentionParameters& p) {
  switch (p.score_function) {
    case ScoreFunction::kTanh:
      return torch::tanh(x);
    case ScoreFunction::kLeakyRelu:
      return torch::where(x > 0, x, p.negative_slope * x);
    case ScoreFunction::kRelu:
      return torch::relu(x);
    case ScoreFunction::kSilu:
      return x * torch::sigmoid(x);
    case ScoreFunction::kGelu:
      return 0.5 * x * (1.0 + torch::erf(x / std::sqrt(2.0)));
  }
  return {};
}

struct Result {
  torch::Tensor output, scores, weights;
};

// Operation by operation, in the dtype of the inputs.
Result formula(const Inputs& in, const Meaning& mask, const AdditiveAttentionParameters& p,
               const torch::Tensor& dropout = {}) {
  const auto sums = in.query.unsqueeze(3) + in.key.unsqueeze(2);
  const auto heads = in.vector.size(0);
  auto scores =
      torch::matmul(apply_function(sums, p), in.vector.view({heads, 1, -1, 1})).squeeze(-1) *
      p.scale.value_or(1.0);
  if (in.key_term.defined()) scores = scores + in.key_term.unsqueeze(2);
  if (p.score_clip > 0.0) scores = p.score_clip * torch::tanh(scores);
  if (mask.bias.defined()) scores = scores + mask.bias.to(scores.scalar_type());
  if (mask.allowed.defined()) scores = scores.masked_fill(mask.allowed.logical_not(), -kInfinity);
  const auto is_empty = scores.detach().amax(-1, true).eq(-kInfinity);
  const auto weights =
      torch::softmax(scores.masked_fill(is_empty, 0.0), -1).masked_fill(is_empty, 0.0);
  const auto dropped = dropout.defined() ? weights * dropout : weights;
  return {torch::matmul(dropped, in.value), scores, weights};
}

Inputs leaves_of(const Inputs& in, torch::Dtype dtype) {
  const auto leaf = [&](const torch::Tensor& x) {
    return x.defined()
               ? x.detach().to(dtype, /*non_blocking=*/false, /*copy=*/true).requires_grad_()
               : x;
  };
  return {leaf(in.query), leaf(in.key), leaf(in.vector), leaf(in.value), leaf(in.key_term)};
}

variable_list list_of(const Inputs& in, const torch::Tensor& bias = {}) {
  variable_list result{in.query, in.key, in.vector, in.value};
  if (in.key_term.defined()) result.push_back(in.key_term);
  if (bias.defined()) result.push_back(bias);
  return result;
}

Result attend_to(const Inputs& in, const AttentionMask& mask, AdditiveAttentionParameters p,
                 bool wants_scores = false) {
  p.key_term = in.key_term;
  const auto request =
      wants_scores
          ? WeightsRequest(WeightsRequest::kPerHead).values(WeightsRequest::Values::kScores)
          : WeightsRequest();
  const auto [output, scores] =
      functional::additive_attention(in.query, in.key, in.vector, in.value, mask, request, p);
  return {output, scores, {}};
}

// The largest errors of the kernel and of the formula in the same dtype, and the largest value.
struct Errors {
  double got = 0.0, formula = 0.0, largest = 0.0;

  void add(const torch::Tensor& ours, const torch::Tensor& plain, const torch::Tensor& exact) {
    const auto error = [&](const torch::Tensor& x) {
      return (x.to(torch::kDouble) - exact).abs().max().item<double>();
    };
    got = std::max(got, error(ours));
    formula = std::max(formula, error(plain));
    largest = std::max(largest, exact.abs().max().item<double>());
  }
};

constexpr std::array kNames{"query", "key", "vector", "value", "key term", "bias"};

class AdditiveSizes : public testing::TestWithParam<Sizes> {};
INSTANTIATE_TEST_SUITE_P(Sizes, AdditiveSizes,
                         testing::Values(Sizes{1, 1, 1, 1, 1, 1}, Sizes{2, 3, 1, 9, 4, 8},
                                         Sizes{2, 3, 7, 1, 6, 5}, Sizes{3, 2, 5, 11, 16, 7},
                                         Sizes{2, 2, 17, 13, 33, 19}, Sizes{2, 1, 35, 70, 21, 40},
                                         Sizes{1, 2, 66, 34, 67, 3}, Sizes{2, 1, 3, 300, 9, 12}),
                         testing::PrintToStringParamName());

TEST_P(AdditiveSizes, EverythingInFloat64AgreesWithTheFormula) {
  torch::manual_seed(5);
  const auto in = leaves_of(random_inputs(GetParam()), torch::kDouble);
  for (const auto function : kFunctions) {
    const AdditiveAttentionParameters plain{.score_function = function};
    const AdditiveAttentionParameters all{
        .scale = 0.7, .score_function = function, .negative_slope = -0.3, .score_clip = 3.0};
    for (const auto& p : {plain, all}) {
      for (const auto& mask : masks(GetParam())) {
        SCOPED_TRACE(testing::Message() << mask.name << ", function " << static_cast<int>(function)
                                        << ", clip " << p.score_clip);
        const auto expected = formula(in, mask.meaning, p);
        const auto result = attend_to(in, mask.mask, p, /*wants_scores=*/true);
        EXPECT_TENSOR_NEAR(result.output, expected.output, 1e-12);
        EXPECT_TENSOR_EQUAL(result.scores.eq(-kInfinity), expected.scores.eq(-kInfinity));
        const auto finite = [](const torch::Tensor& x) {
          return x.masked_fill(x.eq(-kInfinity), 0.0);
        };
        EXPECT_TENSOR_NEAR(finite(result.scores), finite(expected.scores), 1e-12);
        EXPECT_TENSOR_EQUAL(attend_to(in, mask.mask, p).output, result.output);

        const auto of_output = torch::randn_like(expected.output);
        const auto of_scores = torch::randn_like(expected.scores);
        const auto gradients = [&](const Result& y, bool output, bool scores) {
          variable_list from, with;
          if (output) from.push_back(y.output), with.push_back(of_output);
          if (scores) from.push_back(y.scores), with.push_back(of_scores);
          return torch::autograd::grad(from, list_of(in), with, /*retain_graph=*/true,
                                       /*create_graph=*/false, /*allow_unused=*/true);
        };
        for (const auto& [output, scores] :
             {std::pair(true, false), std::pair(false, true), std::pair(true, true)}) {
          const auto got = gradients(result, output, scores);
          const auto wanted = gradients(expected, output, scores);
          for (size_t i = 0; i < got.size(); ++i) {
            SCOPED_TRACE(testing::Message() << kNames[i] << ", of " << output << scores);
            const auto zeros = torch::zeros_like(list_of(in)[i]);
            EXPECT_TENSOR_NEAR(got[i].defined() ? got[i] : zeros,
                               wanted[i].defined() ? wanted[i] : zeros, 1e-10);
          }
        }
      }
    }
  }
}

// At most twice the error of the formula in float32, plus 4 eps of the largest value: over all masks and
// functions and three draws, since of a single one the formula may happen to have no error to speak of.
TEST_P(AdditiveSizes, Float32IsAsAccurateAsTheFormula) {
  torch::manual_seed(6);
  for (const double spread : {0.3, 1.0, 3.0}) {
    std::array<Errors, 6> errors;
    for (int draw = 0; draw < 3; ++draw) {
      auto inputs = random_inputs(GetParam(), spread);
      inputs.vector /=
          std::sqrt(static_cast<double>(GetParam().hidden));  // as a Linear(A, 1) starts
      const auto exact_in = leaves_of(leaves_of(inputs, torch::kFloat), torch::kDouble);
      const auto in = leaves_of(inputs, torch::kFloat);
      const auto gradient =
          torch::randn({GetParam().batch, GetParam().heads, GetParam().target, GetParam().value});
      for (const auto function : kFunctions) {
        const AdditiveAttentionParameters p{.score_function = function};
        for (const auto& mask : masks(GetParam())) {
          const auto meaning = Meaning{mask.meaning.allowed,
                                       mask.meaning.bias.defined()
                                           ? mask.meaning.bias.to(torch::kFloat).to(torch::kDouble)
                                           : mask.meaning.bias};
          const auto exact = formula(exact_in, meaning, p), plain = formula(in, meaning, p);
          const auto ours = attend_to(in, mask.mask, p);
          const auto of = [&](const Result& y, const Inputs& x) {
            return torch::autograd::grad({y.output}, list_of(x),
                                         {gradient.to(x.query.scalar_type())});
          };
          const auto of_exact = of(exact, exact_in), of_plain = of(plain, in),
                     of_ours = of(ours, in);
          for (size_t i = 0; i < of_ours.size(); ++i) {
            errors.at(i).add(of_ours[i], of_plain[i], of_exact[i]);
          }
          errors.back().add(ours.output, plain.output, exact.output);
        }
      }
    }
    for (size_t i = 0; i < errors.size(); ++i) {
      SCOPED_TRACE(testing::Message() << (i < 5 ? kNames[i] : "output") << ", spread " << spread);
      const auto& e = errors.at(i);
      EXPECT_LE(e.got, 2.0 * e.formula + 4.0 * std::numeric_limits<float>::epsilon() * e.largest);
    }
  }
}

TEST(AdditiveKernel, EveryInstructionSetGivesTheSame) {
  torch::manual_seed(7);
  const Sizes sizes{2, 2, 19, 21, 23, 18};
  const auto inputs = random_inputs(sizes);
  const auto cases = masks(sizes);
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    const auto in = leaves_of(inputs, dtype);
    for (const auto function : kFunctions) {
      const AdditiveAttentionParameters p{
          .scale = 0.6, .score_function = function, .score_clip = 4.0};
      const auto expected = formula(in, cases.back().meaning, p);
      const auto wanted = torch::autograd::grad({expected.output.sin().sum()}, list_of(in));
      testing_support::for_each_instruction_set([&] {
        SCOPED_TRACE(static_cast<int>(function));
        const double tolerance = dtype == torch::kFloat ? 1e-5 : 1e-12;
        const auto result = attend_to(in, cases.back().mask, p);
        EXPECT_TENSOR_NEAR(result.output, expected.output, tolerance);
        const auto got = torch::autograd::grad({result.output.sin().sum()}, list_of(in));
        for (size_t i = 0; i < got.size(); ++i) {
          SCOPED_TRACE(kNames[i]);
          EXPECT_TENSOR_NEAR(got[i], wanted[i], 10.0 * tolerance);
        }
        auto unseen = in;
        unseen.query = in.query.detach().clone();
        unseen.query[0][0][3].fill_(kNaN);
        EXPECT_TRUE(attend_to(unseen, {}, p).output[0][0][3].isnan().all().item<bool>());
      });
    }
  }
}

TEST(AdditiveKernel, ALearnedBiasOfAnyShapeGetsItsGradient) {
  torch::manual_seed(8);
  const Sizes sizes{3, 2, 37, 41, 6, 5};
  const auto in = leaves_of(random_inputs(sizes), torch::kDouble);
  for (const auto& shape : std::vector<std::vector<int64_t>>{{3, 2, 37, 41},
                                                             {1, 2, 37, 41},
                                                             {3, 1, 37, 41},
                                                             {1, 1, 37, 41},
                                                             {3, 2, 1, 41},
                                                             {1, 2, 37, 1},
                                                             {1, 2, 1, 41},
                                                             {3, 1, 1, 1},
                                                             {1, 1, 1, 1}}) {
    SCOPED_TRACE(testing::Message() << torch::IntArrayRef(shape));
    const auto bias = doubles(shape).requires_grad_();
    const auto mask = AttentionMask(bias) & AttentionMask::causal();
    const Meaning meaning{functional::causal_mask(37, 41), bias};
    const auto of = [&](const Result& y) {
      return torch::autograd::grad({y.output.square().sum()}, list_of(in, bias));
    };
    const auto got = of(attend_to(in, mask, {})), wanted = of(formula(in, meaning, {}));
    for (size_t i = 0; i < got.size(); ++i) {
      SCOPED_TRACE(kNames[i]);
      EXPECT_TENSOR_NEAR(got[i], wanted[i], 1e-10);
    }
  }
}

TEST(AdditiveKernel, StridesDoNotMatter) {
  torch::manual_seed(9);
  const Sizes sizes{2, 3, 6, 9, 5, 11};
  const auto in = random_inputs(sizes);
  const auto expected = attend_to(in, {}, {}).output;
  const auto split = [](const torch::Tensor& x) {
    return x.transpose(1, 2).contiguous().transpose(1, 2);
  };
  const auto turned = [](const torch::Tensor& x) {
    return x.transpose(2, 3).contiguous().transpose(2, 3);
  };
  const auto negated = testing_support::lazily_negated;
  const auto of = [&](const auto& f) {
    return attend_to({f(in.query), f(in.key), in.vector, f(in.value), in.key_term}, {}, {}).output;
  };
  EXPECT_TENSOR_EQUAL(of(split), expected);
  EXPECT_TENSOR_EQUAL(of(turned), expected);
  const auto of_negated = attend_to({negated(-in.query), negated(-in.key), negated(-in.vector),
                                     negated(-in.value), negated(-in.key_term)},
                                    {}, {});
  EXPECT_TENSOR_EQUAL(of_negated.output, expected);
}

// ---- What is not a number ----

TEST(AdditiveKernel, WhatIsSeenShowsAndWhatNobodySeesDoesNot) {
  const Sizes sizes{2, 1, 18, 23, 7, 6};
  for (const auto function : kFunctions) {
    torch::manual_seed(10);
    auto allowed = torch::ones({2, 1, 18, 23}, torch::kBool);
    for (const int64_t hidden : {0, 5, 22}) allowed.select(3, hidden).fill_(false);
    for (const int64_t empty : {2, 17}) allowed.select(2, empty).fill_(false);
    const AdditiveAttentionParameters p{.score_function = function};
    const auto zeros = random_inputs(sizes);
    const auto everything = [&](const Inputs& given) {
      const auto in = leaves_of(given, torch::kFloat);
      const auto y = attend_to(in, allowed, p);
      auto result = torch::autograd::grad({y.output.square().sum()}, list_of(in));
      result.push_back(y.output);
      return result;
    };
    const auto filled = [&](const std::vector<int64_t>& keys, const std::vector<int64_t>& queries,
                            double content) {
      auto in = zeros;
      for (auto* x : {&in.query, &in.key, &in.value}) *x = x->clone();
      for (const auto s : keys) {
        in.key.select(2, s).fill_(content);
        in.value.select(2, s).fill_(content);
      }
      for (const auto t : queries) in.query.select(2, t).fill_(content);
      return in;
    };
    const auto expected = everything(zeros);
    for (const double content : {kNaN, kInfinity}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(function) << ", " << content);
      const auto hidden = everything(filled({0, 5, 22}, {2, 17}, content));
      for (size_t i = 0; i < hidden.size(); ++i) EXPECT_TENSOR_EQUAL(hidden[i], expected[i]);
    }
    const auto by_key = everything(filled({9}, {}, kNaN));
    EXPECT_TRUE(by_key.back().select(2, 0).isnan().all().item<bool>());
    EXPECT_TRUE(by_key[1].isnan().any().item<bool>());
    const auto by_query = everything(filled({}, {4}, kNaN));
    EXPECT_TRUE(by_query.back().select(2, 4).isnan().all().item<bool>());
    EXPECT_TENSOR_EQUAL(by_query.back().select(2, 3), expected.back().select(2, 3));
    for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(by_query[i].isnan().any().item<bool>()) << i;
  }
}

TEST(AdditiveKernel, AQueryWithoutKeysGetsZerosAndFiniteGradients) {
  const Sizes sizes{2, 2, 5, 6, 4, 3};
  auto allowed = torch::ones({5, 6}, torch::kBool);
  allowed[3].fill_(false);
  for (const double dropout : {0.0, 0.5}) {
    const auto in = leaves_of(random_inputs(sizes), torch::kFloat);
    const auto [output, weights] = functional::additive_attention(
        in.query, in.key, in.vector, in.value, allowed, WeightsRequest::kPerHead,
        {.dropout_p = dropout, .score_clip = 2.0});
    EXPECT_EQ(output.select(2, 3).abs().sum().item<double>(), 0.0);
    EXPECT_EQ(weights.select(2, 3).abs().sum().item<double>(), 0.0);
    (output.square().sum() + weights.square().sum()).backward();
    testing_support::expect_finite_gradients(
        {{"query", in.query}, {"key", in.key}, {"vector", in.vector}, {"value", in.value}});
    EXPECT_EQ(in.query.grad().select(2, 3).abs().sum().item<double>(), 0.0);
  }
}

// ---- Requests ----

TEST(AdditiveRequest, WeightsScoresAndLogProbabilitiesSayTheSame) {
  torch::manual_seed(11);
  const Sizes sizes{2, 3, 4, 5, 6, 7};
  const auto in = random_inputs(sizes);
  const auto mask = AttentionMask::key_lengths(torch::tensor({0, 3}));
  const auto ask = [&](WeightsRequest::Values values, std::vector<int64_t> heads = {},
                       std::vector<int64_t> queries = {}) {
    return functional::additive_attention(in.query, in.key, in.vector, in.value, mask,
                                          WeightsRequest(WeightsRequest::kPerHead)
                                              .values(values)
                                              .heads(heads)
                                              .queries(queries))
        .weights;
  };
  using Values = WeightsRequest::Values;
  const auto weights = ask(Values::kWeights), scores = ask(Values::kScores),
             logs = ask(Values::kLogProbabilities);
  EXPECT_TENSOR_NEAR(logs.exp(), weights, 1e-14);
  EXPECT_TENSOR_NEAR(torch::softmax(scores[1], -1), weights[1], 1e-14);
  EXPECT_TRUE(scores[0].eq(-kInfinity).all().item<bool>());
  EXPECT_TRUE(logs[0].eq(-kInfinity).all().item<bool>());
  for (const auto values : {Values::kWeights, Values::kScores, Values::kLogProbabilities}) {
    const auto all = ask(values), part = ask(values, {2, 0}, {-1, 1});
    EXPECT_TRUE(torch::equal(
        part, all.index_select(1, torch::tensor({2, 0})).index_select(2, torch::tensor({3, 1}))));
  }
  const auto mean = functional::additive_attention(in.query, in.key, in.vector, in.value, mask,
                                                   WeightsRequest::kMean);
  EXPECT_TENSOR_NEAR(mean.weights, weights.mean(1), 1e-14);
}

TEST(AdditiveRequest, AllOfThemHaveGradients) {
  torch::manual_seed(12);
  const auto in = leaves_of(random_inputs({2, 2, 3, 5, 4, 6}), torch::kDouble);
  auto allowed = torch::ones({3, 5}, torch::kBool);
  allowed[1].fill_(false);
  for (const auto values : {WeightsRequest::Values::kWeights, WeightsRequest::Values::kScores,
                            WeightsRequest::Values::kLogProbabilities}) {
    testing_support::expect_gradients_match_differences(
        [&] {
          const auto y = functional::additive_attention(
              in.query, in.key, in.vector, in.value, allowed,
              WeightsRequest(WeightsRequest::kPerHead).values(values),
              {.score_clip = 2.0, .key_term = in.key_term});
          return torch::cat({y.output.flatten(), y.weights.masked_select(allowed)});
        },
        {{"query", in.query},
         {"key", in.key},
         {"vector", in.vector},
         {"value", in.value},
         {"key term", in.key_term}});
  }
}

TEST(AdditiveRequest, OthersReturnWeightsAlone) {
  const auto x = torch::randn({2, 3, 4});
  EXPECT_THROW_MESSAGE(
      functional::scaled_dot_product_attention(
          x, x, x, {},
          WeightsRequest(WeightsRequest::kMean).values(WeightsRequest::Values::kLogProbabilities)),
      c10::ValueError,
      "scaled_dot_product_attention: expected a request for weights, got one for "
      "scores or log-probabilities, which additive attention alone returns");
}

// ---- Dropout ----

TEST(AdditiveDropout, ItIsThatOfTheWeights) {
  torch::manual_seed(13);
  const Sizes sizes{2, 2, 21, 135, 5, 4};
  const auto in = leaves_of(random_inputs(sizes), torch::kDouble);
  const auto factors = [&] {
    const functional::DropoutSeed seed(3);
    return functional::dropout(torch::ones({2, 2, 21, 135}, torch::kDouble), 0.3);
  }();
  EXPECT_NEAR(factors.mean().item<double>(), 1.0, 0.05);
  for (const auto& mask : masks(sizes)) {
    SCOPED_TRACE(mask.name);
    const auto run = [&] {
      const functional::DropoutSeed seed(3);
      return attend_to(in, mask.mask, {.dropout_p = 0.3});
    };
    const auto got = run(), expected = formula(in, mask.meaning, {}, factors);
    EXPECT_TENSOR_NEAR(got.output, expected.output, 1e-12);
    const auto of = [&](const Result& y) {
      return torch::autograd::grad({y.output.square().sum()}, list_of(in));
    };
    const auto gradients = of(got), wanted = of(expected);
    for (size_t i = 0; i < gradients.size(); ++i) {
      SCOPED_TRACE(kNames[i]);
      EXPECT_TENSOR_NEAR(gradients[i], wanted[i], 1e-10);
    }
  }
}

// ---- Derivatives ----

TEST(AdditiveDerivatives, SecondOnesAreThoseOfTheFormula) {
  torch::manual_seed(14);
  const auto in = leaves_of(random_inputs({2, 2, 3, 4, 5, 6}), torch::kDouble);
  const auto mask = masks({2, 2, 3, 4, 5, 6})[3];
  for (const auto function : kFunctions) {
    const AdditiveAttentionParameters p{.score_function = function};
    const auto second = [&](const Result& y) {
      const auto first = torch::autograd::grad({y.output.square().sum()}, list_of(in), {}, true,
                                               /*create_graph=*/true);
      auto sum = first[0].square().sum();
      for (size_t i = 1; i < first.size(); ++i) sum = sum + first[i].square().sum();
      return torch::autograd::grad({sum}, list_of(in));
    };
    const auto got = second(attend_to(in, mask.mask, p)),
               wanted = second(formula(in, mask.meaning, p));
    for (size_t i = 0; i < got.size(); ++i) EXPECT_TENSOR_NEAR(got[i], wanted[i], 1e-10);
  }
}

TEST(AdditiveDerivatives, TangentsAreTakenByTheFormula) {
  torch::manual_seed(15);
  const auto in = random_inputs({2, 2, 3, 4, 5, 6});
  const auto direction = doubles({2, 2, 3, 5});
  const testing_support::ForwardMode mode;
  auto moved = in;
  moved.query = mode.dual(in.query, direction);
  const auto tangent = mode.tangent(attend_to(moved, {}, {}).output);
  constexpr double kStep = 1e-6;
  auto further = in, back = in;
  further.query = in.query + kStep * direction;
  back.query = in.query - kStep * direction;
  EXPECT_TENSOR_NEAR(
      tangent, (attend_to(further, {}, {}).output - attend_to(back, {}, {}).output) / (2.0 * kStep),
      1e-7);
}

// ---- Threads and memory ----

TEST(AdditiveKernel, TheNumberOfThreadsDoesNotChangeABit) {
  torch::manual_seed(16);
  const int threads = torch::get_num_threads();
  for (const auto& sizes :
       {Sizes{1, 2, 150, 170, 9, 8}, Sizes{1, 1, 1, 3000, 9, 8}, Sizes{3, 2, 40, 30, 20, 10}}) {
    const auto in = leaves_of(random_inputs(sizes), torch::kFloat);
    const auto bias = torch::randn({1, sizes.heads, sizes.target, sizes.source}).requires_grad_();
    const auto run = [&](int count) {
      torch::set_num_threads(count);
      const functional::DropoutSeed seed(5);
      const auto y =
          attend_to(in, AttentionMask::causal() & AttentionMask(bias), {.dropout_p = 0.1});
      auto result = torch::autograd::grad({y.output.square().sum()}, list_of(in, bias));
      result.push_back(y.output);
      return result;
    };
    const auto one = run(1);
    for (int count = 2; count <= 4; ++count) {
      const auto many = run(count);
      for (size_t i = 0; i < one.size(); ++i) EXPECT_TENSOR_EQUAL(many[i], one[i]);
    }
  }
  torch::set_num_threads(threads);
}

TEST(AdditiveKernel, MemoryIsFarBelowThatOfAllPairs) {
  const Sizes sizes{2, 1, 200, 210, 256, 64};
  const auto in = leaves_of(random_inputs(sizes), torch::kFloat);
  const auto gradient = torch::randn({2, 1, 200, 64});
  const testing_support::PeakMemory memory;
  const auto y = attend_to(in, AttentionMask::causal(), {.dropout_p = 0.1});
  torch::autograd::grad({y.output}, list_of(in), {gradient});
  const int64_t pairs = 2 * 200 * 210 * 256 * 4;  // bytes of [B, T, S, A]
  EXPECT_LT(memory.peak(), pairs / 50);
}

// Weights that are asked for and not differentiated: zeros in place of their gradient, [B, H, T, S],
// would be 1 MiB.
TEST(AdditiveKernel, TheMemoryOfItsGradientIsNotThatOfUnusedWeights) {
  const auto in = leaves_of(random_inputs({1, 1, 500, 524, 4, 3}), torch::kFloat);
  const auto request = WeightsRequest(WeightsRequest::kPerHead);
  const auto y = functional::additive_attention(in.query, in.key, in.vector, in.value, {}, request);
  const testing_support::PeakMemory memory;
  torch::autograd::grad({y.output.sum()}, {in.query, in.key, in.vector, in.value});
  EXPECT_LT(memory.peak(), 500 * 524 * 4 / 4);
}

TEST(AdditiveSlow, MemoryIsLinearInTheLength) {
  const auto peak_of = [](int64_t length) {
    const auto in = leaves_of(random_inputs({1, 1, length, length, 8, 8}), torch::kFloat);
    const testing_support::PeakMemory memory;
    const auto y = attend_to(in, AttentionMask::causal(), {});
    torch::autograd::grad({y.output.sum()}, list_of(in));
    return memory.peak();
  };
  const auto shorter = peak_of(2048), longer = peak_of(8192);
  EXPECT_LT(longer, 5 * shorter);
  EXPECT_LT(longer, int64_t{8192} * 8192);  // a byte for each pair
}

TEST(AdditiveErrors, NameWhatWasExpectedAndGot) {
  const auto x = torch::randn({2, 3, 4, 5}), vector = torch::randn({3, 5});
  const auto call = [&](const torch::Tensor& v, const AdditiveAttentionParameters& p) {
    return functional::additive_attention(x, x, v, x, {}, WeightsRequest::kNone, p);
  };
  EXPECT_THROW_MESSAGE(call(vector[0], {}), c10::Error,
                       "additive_attention: expected scale_vector of shape [3, 5], got [5]");
  EXPECT_THROW_MESSAGE(call(vector, {.score_clip = -1.0}), c10::ValueError,
                       "additive_attention: expected score_clip >= 0, got -1");
  EXPECT_THROW_MESSAGE(call(vector, {.key_term = torch::randn({2, 4})}), c10::Error,
                       "additive_attention: expected key_term of shape [2, 3, 4], got [2, 4]");
}

}  // namespace
}  // namespace attend::additive_attention_test
