// The fused paths are held to the rule of flash-attention's own tests (Dao, 2023): at most twice the
// error that the formula has when it is computed step by step in the same dtype, plus 4 eps of the
// largest reference value.
#include <gtest/gtest.h>

#include <limits>

#include "attend/functional/attention.h"
#include "support/devices.h"
#include "support/tensor_assert.h"

namespace attend::fused_accuracy_test {
namespace {

using testing_support::DeviceTest;

struct FusedCase {
  const char* name;
  int64_t heads, kv_heads, target, source, head_dim;
};
// Less than a block of queries and keys, whole ones, and several.
constexpr FusedCase kFusedCases[]{{"short", 4, 4, 7, 11, 8},
                                  {"grouped", 4, 2, 24, 31, 16},
                                  {"border", 2, 2, 128, 128, 32},
                                  {"long", 2, 2, 200, 260, 32},
                                  {"long and grouped", 4, 2, 300, 300, 16}};

struct FusedResults {
  torch::Tensor output;
  std::vector<torch::Tensor> gradients;
};

// Not float64: it is the reference.
std::vector<testing_support::DeviceCase> narrow_cases_on(torch::DeviceType device) {
  auto cases = testing_support::cases_on(device);
  std::erase_if(cases, [](const auto& c) { return c.dtype == torch::kDouble; });
  return cases;
}

class FusedAccuracyOn : public DeviceTest {};
INSTANTIATE_TEST_SUITE_P(Cpu, FusedAccuracyOn, testing::ValuesIn(narrow_cases_on(torch::kCPU)),
                         testing_support::case_name);
INSTANTIATE_TEST_SUITE_P(Pretend, FusedAccuracyOn,
                         testing::ValuesIn(narrow_cases_on(torch::kPrivateUse1)),
                         testing_support::case_name);
INSTANTIATE_TEST_SUITE_P(Cuda, FusedAccuracyOn, testing::ValuesIn(narrow_cases_on(torch::kCUDA)),
                         testing_support::case_name);

// The formula, operation by operation, in the dtype of its inputs.
torch::Tensor naive(const torch::Tensor& query, const torch::Tensor& key,
                    const torch::Tensor& value, const torch::Tensor& allowed,
                    const torch::Tensor& bias) {
  const auto group = query.size(1) / key.size(1);
  const auto keys = key.repeat_interleave(group, 1), values = value.repeat_interleave(group, 1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(query.size(3)));
  auto scores = torch::matmul(query, keys.transpose(-2, -1)) * scale;
  if (bias.defined()) scores = scores + bias.to(scores.scalar_type());
  if (allowed.defined()) {
    scores = scores.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity());
  }
  return torch::matmul(torch::softmax(scores, -1), values);
}

TEST_P(FusedAccuracyOn, AtMostTwiceTheErrorOfTheFormulaStepByStep) {
  torch::manual_seed(11);
  const auto device = options().device();
  for (const auto& c : kFusedCases) {
    const auto query = randn({2, c.heads, c.target, c.head_dim});
    const auto key = randn({2, c.kv_heads, c.source, c.head_dim});
    const auto value = randn({2, c.kv_heads, c.source, c.head_dim});
    const auto gradient = randn({2, c.heads, c.target, c.head_dim});
    const auto causal = functional::causal_mask(c.target, c.source, device);
    const auto window = functional::window_mask(c.target, c.source, 6, 2, device);
    const auto lengths = torch::tensor({c.source, c.source - 5}).to(device);
    const auto row = torch::arange(c.source, torch::kLong)
                         .to(device)
                         .view({1, 1, 1, -1})
                         .lt(lengths.view({-1, 1, 1, 1}));
    const auto bias = randn({1, c.heads, c.target, c.source});
    struct MaskCase {
      const char* name;
      AttentionMask mask;
      torch::Tensor allowed, bias;
    };
    const MaskCase masks[]{
        {"none", {}, {}, {}},
        {"causal", AttentionMask::causal(), causal, {}},
        {"window", AttentionMask::window(6, 2), window, {}},
        {"lengths", AttentionMask::key_lengths(lengths), row, {}},
        {"causal, lengths and bias",
         AttentionMask::causal() & AttentionMask::key_lengths(lengths) & AttentionMask(bias),
         causal.logical_and(row), bias}};
    for (const auto& m : masks) {
      SCOPED_TRACE(testing::Message() << c.name << ", " << m.name);
      const auto results = [&](torch::Dtype dtype, const auto& attention) {
        const auto leaf = [&](const torch::Tensor& x) {
          return x.to(dtype).detach().clone().requires_grad_();
        };
        const auto q = leaf(query), k = leaf(key), v = leaf(value);
        const auto output = attention(q, k, v);
        return FusedResults{output,
                            torch::autograd::grad({output}, {q, k, v}, {gradient.to(dtype)})};
      };
      const auto by_formula = [&](const torch::Tensor& q, const torch::Tensor& k,
                                  const torch::Tensor& v) {
        return naive(q, k, v, m.allowed, m.bias);
      };
      const auto fused = [&](const torch::Tensor& q, const torch::Tensor& k,
                             const torch::Tensor& v) {
        return functional::scaled_dot_product_attention(q, k, v, m.mask).output;
      };
      const auto exact = results(torch::kDouble, by_formula);
      const auto step_by_step = results(GetParam().dtype, by_formula);
      const auto ours = results(GetParam().dtype, fused);
      const auto expect_close = [&](const char* what, const torch::Tensor& got,
                                    const torch::Tensor& formula, const torch::Tensor& reference) {
        const auto error = [&](const torch::Tensor& x) {
          return (x.to(torch::kDouble) - reference).abs().max().item<double>();
        };
        const double eps = GetParam().dtype == torch::kFloat ? std::numeric_limits<float>::epsilon()
                           : GetParam().dtype == torch::kHalf ? 0x1p-10
                                                              : 0x1p-7;
        EXPECT_LE(error(got),
                  2.0 * error(formula) + 4.0 * eps * reference.abs().max().item<double>())
            << what;
      };
      expect_close("output", ours.output, step_by_step.output, exact.output);
      constexpr const char* kNames[]{"query", "key", "value"};
      for (size_t i = 0; i < 3; ++i) {
        expect_close(kNames[i], ours.gradients[i], step_by_step.gradients[i], exact.gradients[i]);
      }
    }
  }
}

}  // namespace
}  // namespace attend::fused_accuracy_test
