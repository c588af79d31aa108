#include "kernels/cpu/additive_attention.h"

#include <string>

#include "kernels/additive_problem.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

template <typename T>
void run_on_cpu(AdditiveProblem<T>& p) {
  const auto& a = p.a;
  const auto target = p.z.target, hidden_dim = p.z.hidden_dim, value_dim = p.z.value_dim;
  p.output = Numbers<T>(p.output.size(), T{-77});
  const auto parts = kernels::additive_parts(a);
  Numbers<T> found(p.heads() * target * parts * (2 + value_dim));
  const kernels::AdditiveResult<T> result{p.template rows<T>(p.output, target, value_dim),
                                          p.sums.data(), p.scores.data(),
                                          parts > 1 ? found.data() : nullptr};
  kernels::additive_forward(a, result, 0, p.heads() * a.row_blocks() * parts);
  if (parts > 1) kernels::additive_join(a, result, 0, p.heads() * target);

  p.clear_gradients();
  const auto backward_parts = kernels::additive_backward_parts(a);
  Numbers<T> vectors(p.heads() * backward_parts * hidden_dim), row_sums(p.heads() * target);
  kernels::AdditiveGradients<T> g{
      .output_gradient = p.template rows<const T>(p.output_gradient, target, value_dim),
      .output = p.template rows<const T>(p.output, target, value_dim),
      .sums = p.sums.data(),
      .score_gradient = p.score_gradient.data(),
      .query = p.of_query.data(),
      .key = p.of_key.data(),
      .value = p.of_value.data(),
      .vector = vectors.data(),
      .row_sums = row_sums.data(),
      .key_sums = p.of_key_term.data(),
      .bias = {}};
  if (a.bias.data != nullptr) {
    g.bias = {p.of_bias.data(), a.bias.batch_stride, a.bias.head_stride, a.bias.target_stride, 1};
  }
  const auto tasks = kernels::additive_backward_tasks(a, g);
  for (int64_t phase = 0; phase < backward_parts; ++phase) {
    kernels::additive_backward(a, g, phase, 0, tasks);
  }
  kernels::additive_backward_finish(a, g, 0, p.heads());
  for (int64_t i = 0; i < p.heads() * hidden_dim; ++i) {
    const auto head = i / hidden_dim, dim = i % hidden_dim;
    p.of_vector[head % p.z.heads * hidden_dim + dim] +=
        vectors[head * backward_parts * hidden_dim + dim];
  }
}

template <typename T>
void check_additive(const AdditiveSizes& sizes, AdditiveScore score, Extras extras) {
  SCOPED_TRACE(testing::Message() << "score function " << static_cast<int>(score) << ", extras "
                                  << static_cast<int>(extras) << ", S = " << sizes.source);
  AdditiveProblem<T> p(sizes, score, extras);
  const AdditiveReference expected(p);
  testing_support::for_each_instruction_set([&] {
    run_on_cpu(p);
    expect_outputs(p, expected);
    expect_gradients(p, expected);
  });
}

// The last sizes have several parts, of the keys and in the backward pass.
constexpr AdditiveSizes kAdditiveSizes[] = {
    {2, 3, 5, 13, 11, 7}, {1, 2, 17, 70, 33, 20}, {1, 1, 65, 262, 6, 19}};

template <typename T>
void check_score_function(AdditiveScore score) {
  for (const auto& sizes : kAdditiveSizes) {
    for (const auto extras :
         {Extras::kNone, Extras::kAllowedAndClip, Extras::kBandBiasAndTerm, Extras::kDropout}) {
      check_additive<T>(sizes, score, extras);
    }
  }
}

class KernelAdditive : public testing::TestWithParam<AdditiveScore> {};

TEST_P(KernelAdditive, AgreesWithItsFormulaInFloat32) { check_score_function<float>(GetParam()); }
TEST_P(KernelAdditive, AgreesWithItsFormulaInFloat64) { check_score_function<double>(GetParam()); }

TEST_P(KernelAdditive, WhatIsNotANumberIsSeenByThoseWhoSeeTheKey) {
  for (const int64_t at : {0, 7, 12}) {
    AdditiveProblem<float> p({1, 1, 5, 13, 11, 7}, GetParam(), Extras::kNone);
    p.a.band_right = 0;
    p.key[at * p.z.hidden_dim + 9] = std::numeric_limits<float>::quiet_NaN();
    const AdditiveReference expected(p);
    testing_support::for_each_instruction_set([&] {
      run_on_cpu(p);
      expect_near(p.output, expected.output, 40, "output");
    });
  }
}

std::string function_name(const testing::TestParamInfo<AdditiveScore>& info) {
  constexpr const char* kNames[] = {"Tanh", "LeakyRelu", "Silu", "Gelu"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Functions, KernelAdditive,
                         testing::Values(AdditiveScore::kTanh, AdditiveScore::kLeakyRelu,
                                         AdditiveScore::kSilu, AdditiveScore::kGelu),
                         function_name);

}  // namespace
}  // namespace attend::kernels_test
