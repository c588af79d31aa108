// Every variant of multi-head attention under every kind of mask, in every dtype, against a float64
// reference that computes number by number; and what each variant promises by itself.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "attend/functional/position.h"
#include "attend/modules/causal_self_attention.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"
#include "support/variant_oracle.h"

namespace attend::attention_variants_test {
namespace {

using oracle::VariantForm;
using testing_support::DeviceCase;
using testing_support::expect_gradients_match_differences;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kH = 4, kE = 24, kT = 5, kS = 7;

// A variant as the module's options and as the reference's numbers.
struct Variant {
  std::string name;
  std::function<void(MultiHeadAttentionOptions&)> set;
  std::function<void(VariantForm&)> form;
};

std::vector<Variant> variants() {
  using Options = MultiHeadAttentionOptions;
  std::vector<Variant> all{
      {"Plain", [](Options&) {}, [](VariantForm&) {}},
      {"Grouped", [](Options& o) { o.num_kv_heads(2); },
       [](VariantForm& f) { f.num_kv_heads = 2; }},
      {"MultiQuery", [](Options& o) { o.num_kv_heads(1); },
       [](VariantForm& f) { f.num_kv_heads = 1; }},
      {"Scale", [](Options& o) { o.scale(1.0); }, [](VariantForm& f) { f.scale = 1.0; }},
      {"RotaryHalves", [](Options& o) { o.rotary(RotaryOptions{}); },
       [](VariantForm& f) { f.rotary = true; }},
      {"RotaryInterleavedPart",
       [](Options& o) {
         o.rotary(RotaryOptions{.dim = 4, .base = 100, .pairing = RotaryPairing::kInterleaved});
       },
       [](VariantForm& f) {
         f.rotary = f.interleaved = true;
         f.rotary_dim = 4;
         f.rotary_base = 100;
       }},
      {"Alibi", [](Options& o) { o.alibi(true); }, [](VariantForm& f) { f.alibi = true; }},
      {"RelativeBias",
       [](Options& o) {
         o.relative_bias(RelativeBiasOptions{8, 6, true});
       },
       [](VariantForm& f) {
         f.relative_buckets = 8;
         f.relative_max_distance = 6;
       }},
      {"RelativeBiasOneWay",
       [](Options& o) {
         o.relative_bias(RelativeBiasOptions{4, 9, false});
       },
       [](VariantForm& f) {
         f.relative_buckets = 4;
         f.relative_max_distance = 9;
         f.relative_bidirectional = false;
       }},
      {"Window",
       [](Options& o) {
         o.window(AttentionWindow{2, 1});
       },
       [](VariantForm& f) {
         f.window_left = 2;
         f.window_right = 1;
       }},
      {"NormalisedQueriesAndKeys", [](Options& o) { o.qk_norm(true); },
       [](VariantForm& f) { f.qk_norm = true; }},
      {"SoftCap", [](Options& o) { o.soft_cap(0.7); }, [](VariantForm& f) { f.soft_cap = 0.7; }},
      {"Sinks", [](Options& o) { o.sinks(true); }, [](VariantForm& f) { f.sinks = true; }},
      {"BiasKeyValue", [](Options& o) { o.add_bias_kv(true); },
       [](VariantForm& f) { f.bias_kv = true; }},
      {"ZeroAttention", [](Options& o) { o.add_zero_attn(true); },
       [](VariantForm& f) { f.zero_attn = true; }},
  };
  // All that can be had together, by the fused kernels and by the scores.
  Variant fused{"EverythingFused", [](Options&) {}, [](VariantForm&) {}};
  Variant scores{"Everything", [](Options&) {}, [](VariantForm&) {}};
  const auto join = [](Variant& to, const Variant& more) {
    to.set = [a = to.set, b = more.set](Options& o) { a(o), b(o); };
    to.form = [a = to.form, b = more.form](VariantForm& f) { a(f), b(f); };
  };
  for (const auto& v : all) {
    if (v.name == "MultiQuery" || v.name == "RelativeBiasOneWay" || v.name == "RotaryHalves")
      continue;
    if (v.name != "SoftCap" && v.name != "Sinks") join(fused, v);
    join(scores, v);
  }
  all.push_back(fused);
  all.push_back(scores);
  return all;
}

struct MaskCase {
  const char* name;
  AttentionMask mask;
  oracle::Mask meaning;
};

// B is 2 in all of them.
std::vector<MaskCase> masks(int64_t target, int64_t source, torch::Device device) {
  const auto causal = oracle::causal(target, source);
  const auto lengths = torch::tensor({source, source - 3});
  const auto row = torch::arange(source).unsqueeze(0).lt(lengths.unsqueeze(1));
  const auto padded = row.view({kB, 1, 1, source});
  const auto allowed = torch::rand({kB, kH, target, source}) < 0.7;
  const auto bias = torch::randn({1, kH, target, source}, torch::kDouble);
  const auto query_ids = torch::arange(target).div(2, "floor").expand({kB, target}).contiguous();
  const auto key_ids = torch::arange(source).div(2, "floor").expand({kB, source}).contiguous();
  const auto same = query_ids.unsqueeze(2).eq(key_ids.unsqueeze(1)).unsqueeze(1);
  const auto there = [&](const torch::Tensor& x) { return x.to(device); };
  const auto by_lengths = AttentionMask::key_lengths(there(lengths));
  const auto by_segments = AttentionMask::segments(there(query_ids), there(key_ids));
  return {
      {"no mask", {}, {}},
      {"causal", AttentionMask::causal(), {causal, {}}},
      {"lengths", by_lengths, {padded, {}}},
      {"a bool for each head, some rows empty", there(allowed), {allowed, {}}},
      {"a bias for each head", there(bias), {{}, bias}},
      {"segments", by_segments, {same, {}}},
      {"causal, lengths, segments, bool and bias",
       AttentionMask::causal() & by_lengths & by_segments & AttentionMask(there(allowed)) &
           AttentionMask(there(bias)),
       {causal.logical_and(padded).logical_and(same).logical_and(allowed), bias}},
  };
}

MultiHeadAttentionOptions options_of(const Variant& variant) {
  MultiHeadAttentionOptions options(kE, kH);
  variant.set(options);
  return options;
}

VariantForm form_of(const Variant& variant) {
  VariantForm form{
      .num_heads = kH, .num_kv_heads = kH, .scale = {}, .window_left = {}, .window_right = {}};
  variant.form(form);
  return form;
}

class AttentionVariant : public testing::TestWithParam<std::tuple<Variant, DeviceCase>> {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(device_case().device)) GTEST_SKIP() << why;
    torch::manual_seed(7);
  }
  const Variant& variant() const { return std::get<0>(GetParam()); }
  const DeviceCase& device_case() const { return std::get<1>(GetParam()); }
  torch::Tensor random(at::IntArrayRef sizes) const {
    return (torch::randn(sizes, torch::kDouble) * 0.7).to(device_case().options());
  }
  template <typename Module>
  Module made() const {
    Module module(options_of(variant()));
    randomise(*module);
    module->to(device_case().device, device_case().dtype);
    module->eval();
    return module;
  }
};

std::string name_of(const testing::TestParamInfo<std::tuple<Variant, DeviceCase>>& info) {
  return std::get<0>(info.param).name + std::get<1>(info.param).name;
}
INSTANTIATE_TEST_SUITE_P(
    Cpu, AttentionVariant,
    testing::Combine(testing::ValuesIn(variants()),
                     testing::ValuesIn(testing_support::cases_on(torch::kCPU))),
    name_of);
INSTANTIATE_TEST_SUITE_P(
    Pretend, AttentionVariant,
    testing::Combine(testing::ValuesIn(variants()),
                     testing::ValuesIn(testing_support::cases_on(torch::kPrivateUse1))),
    name_of);
INSTANTIATE_TEST_SUITE_P(
    Cuda, AttentionVariant,
    testing::Combine(testing::ValuesIn(variants()),
                     testing::ValuesIn(testing_support::cases_on(torch::kCUDA))),
    name_of);

TEST_P(AttentionVariant, AgreesWithTheReferenceUnderEveryMask) {
  const auto attention = made<MultiHeadAttention>();
  const auto query = random({kB, kT, kE}), key = random({kB, kS, kE}), value = random({kB, kS, kE});
  const auto weights = oracle::weights_of(*attention);
  // Projections round as well, and at 16 bits the scores are computed from rounded numbers.
  const double tolerance = 4 * device_case().tolerance;
  for (const auto& mask : masks(kT, kS, device_case().device)) {
    SCOPED_TRACE(mask.name);
    const auto expected =
        oracle::variant_attention(query, key, value, weights, form_of(variant()), mask.meaning);
    auto module = attention;
    const auto per_head = module(query, key, value, mask.mask, WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(per_head.output, expected.output, tolerance);
    EXPECT_TENSOR_NEAR(per_head.weights, expected.weights, tolerance);
    const auto mean = module(query, key, value, mask.mask, WeightsRequest::kMean);
    EXPECT_TENSOR_EQUAL(mean.output, per_head.output);
    EXPECT_TENSOR_NEAR(mean.weights, expected.weights.mean(1), tolerance);
    EXPECT_TENSOR_EQUAL(module(query, key, value, mask.mask).output, per_head.output);
  }
}

// The part of a mask [.., T, S] that `count` queries from `first` on need, its keys filled up with
// `width` more than are there.
AttentionMask of_step(const oracle::Mask& mask, int64_t first, int64_t count, int64_t width,
                      torch::Device device) {
  AttentionMask result;
  const auto seen = std::min(width, kT);
  const auto part = [&](const torch::Tensor& tensor, double filler) {
    const auto rows = tensor.expand({-1, -1, kT, kT}).narrow(2, first, count).narrow(3, 0, seen);
    return torch::constant_pad_nd(rows, {0, width - seen}, filler).to(device);
  };
  const auto with_axes = [](const torch::Tensor& tensor) {
    return tensor.dim() == 2 ? tensor.view({1, 1, tensor.size(0), tensor.size(1)}) : tensor;
  };
  if (mask.allowed.defined()) result = result & AttentionMask(part(with_axes(mask.allowed), 1));
  if (mask.bias.defined()) result = result & AttentionMask(part(with_axes(mask.bias), 0));
  return result;
}

TEST_P(AttentionVariant, CachedStepsEqualTheFullPassUnderEveryMask) {
  auto attention = made<MultiHeadSelfAttention>();
  const auto x = random({kB, kT, kE});
  const double tolerance = device_case().tolerance;
  const auto device = torch::Device(device_case().device);
  const torch::InferenceMode inference;
  for (const auto& mask : masks(kT, kT, device)) {
    const auto full = attention(x, AttentionMask::causal() & mask.mask, WeightsRequest::kPerHead);
    // Growing, and fixed with slots to spare.
    for (const int64_t capacity : {int64_t{0}, kT + 2}) {
      SCOPED_TRACE(testing::Message() << mask.name << ", capacity " << capacity);
      auto cache = capacity == 0 ? KeyValueCache() : KeyValueCache::fixed(capacity);
      int64_t done = 0;
      for (const int64_t count : {2, 1, 2}) {
        const auto seen = done + count;
        const auto step_mask =
            AttentionMask::causal() &
            of_step(mask.meaning, done, count, capacity == 0 ? seen : capacity, device);
        const auto step =
            attention->step(x.narrow(1, done, count), cache, step_mask, WeightsRequest::kPerHead);
        EXPECT_TENSOR_NEAR(step.output, full.output.narrow(1, done, count), tolerance);
        EXPECT_TENSOR_NEAR(step.weights.narrow(3, 0, seen),
                           full.weights.narrow(2, done, count).narrow(3, 0, seen), tolerance);
        done = seen;
      }
    }
  }
}

TEST_P(AttentionVariant, ARingEqualsTheFullPassWithItsWindow) {
  constexpr int64_t kCapacity = 3;
  auto attention = made<MultiHeadSelfAttention>();
  const auto x = random({kB, kT, kE});
  const auto full = attention(
      x, AttentionMask::causal() & AttentionMask::window(kCapacity - 1, AttentionMask::Band::kAll));
  const torch::InferenceMode inference;
  for (const auto& counts :
       std::vector<std::vector<int64_t>>{{1, 1, 1, 1, 1}, {2, 1, 2}, {4, 1}, {1, 4}}) {
    auto ring = KeyValueCache::ring(kCapacity);
    int64_t done = 0;
    for (const auto count : counts) {
      SCOPED_TRACE(testing::Message() << count << " after " << done);
      EXPECT_TENSOR_NEAR(
          attention->step(x.narrow(1, done, count), ring, AttentionMask::causal()).output,
          full.output.narrow(1, done, count), 4 * device_case().tolerance);
      done += count;
    }
  }
}

TEST(RingCache, ErrorsLeaveItAsItWasAndMasksOfTensorsAreRefused) {
  MultiHeadSelfAttention attention(kE, kH);
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({kB, 6, kE});
  auto ring = KeyValueCache::ring(3), undisturbed = ring;
  const auto causal = AttentionMask::causal();
  attention->step(x.narrow(1, 0, 3), ring, causal);
  attention->step(x.narrow(1, 0, 3), undisturbed, causal);
  const auto next = x.narrow(1, 3, 2);
  EXPECT_THROW_MESSAGE(
      attention->step(next, ring, AttentionMask::key_lengths(torch::tensor({1, 2}))), c10::Error,
      "MultiHeadSelfAttention: expected a mask of causal, window and ALiBi alone with a ring "
      "cache, "
      "got one of tensors");
  // Found only after the new positions have been appended.
  EXPECT_THROW_MESSAGE(
      attention->step(next, ring, causal, WeightsRequest(WeightsRequest::kMean).queries({2})),
      c10::ValueError,
      "scaled_dot_product_attention: expected queries of the weights request in [-2, 2), got 2");
  EXPECT_TENSOR_EQUAL(attention->step(next, ring, causal).output,
                      attention->step(next, undisturbed, causal).output);
}

class AttentionVariantGradients : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(All, AttentionVariantGradients, testing::ValuesIn(variants()),
                         [](const auto& test) { return test.param.name; });

TEST_P(AttentionVariantGradients, MatchDifferences) {
  torch::manual_seed(7);
  MultiHeadAttention attention(options_of(GetParam()));
  randomise(*attention);
  attention->to(torch::kDouble);
  const auto leaf = [](at::IntArrayRef sizes) {
    return torch::randn(sizes, torch::kDouble).requires_grad_();
  };
  const auto query = leaf({kB, kT, kE}), key = leaf({kB, kS, kE}), value = leaf({kB, kS, kE});
  const auto mask = masks(kT, kS, query.device()).back().mask;
  auto leaves = parameters_of(*attention);
  leaves.insert(leaves.end(), {{"query", query}, {"key", key}, {"value", value}});
  expect_gradients_match_differences(
      [&] {
        const auto result = attention(query, key, value, mask, WeightsRequest::kPerHead);
        return torch::cat({result.output.flatten(), result.weights.flatten()});
      },
      leaves);
}

// The same on LibTorch's kernel and by blocks, which take what is longer.
TEST(LongAttentionVariants, AgreeWithTheReference) {
  constexpr int64_t kLong = 150, kLonger = 163;
  for (const auto& variant : variants()) {
    SCOPED_TRACE(variant.name);
    torch::manual_seed(3);
    MultiHeadAttention attention(options_of(variant));
    randomise(*attention);
    attention->to(torch::kDouble);
    const auto random = [](int64_t length) {
      return torch::randn({kB, length, kE}, torch::kDouble) * 0.5;
    };
    const auto query = random(kLong), key = random(kLonger), value = random(kLonger);
    const auto mask = masks(kLong, kLonger, query.device()).back();
    const auto expected = oracle::variant_attention(
        query, key, value, oracle::weights_of(*attention), form_of(variant), mask.meaning);
    const auto got = attention(query, key, value, mask.mask, WeightsRequest::kMean);
    EXPECT_TENSOR_NEAR(got.output, expected.output, 1e-11);
    EXPECT_TENSOR_NEAR(got.weights, expected.weights.mean(1), 1e-12);
  }
}

TEST(SlidingWindow, LongSequencesAreTakenByBlocksWithTheSameResult) {
  // T and S such that the first block is clipped, and another offset than zero.
  const auto query = torch::randn({1, 2, 900, 8}, torch::kDouble);
  const auto key = torch::randn({1, 2, 930, 8}, torch::kDouble);
  const auto lengths = AttentionMask::key_lengths(torch::tensor({871}));
  const auto bias = torch::randn({1, 2, 900, 930}, torch::kDouble);
  for (const auto& [left, right] : {std::pair{20, 0}, std::pair{5, 17}, std::pair{0, 0}}) {
    SCOPED_TRACE(testing::Message() << left << ", " << right);
    const auto window = AttentionMask::window(left, right);
    const auto dense =
        AttentionMask(functional::window_mask(900, 930, left, right, query.device()));
    for (const auto& more : {AttentionMask(), lengths, lengths & AttentionMask(bias)}) {
      EXPECT_TENSOR_NEAR(
          functional::scaled_dot_product_attention(query, key, key, window & more).output,
          functional::scaled_dot_product_attention(query, key, key, dense & more).output, 1e-12);
    }
  }
}

// With nothing to attend to but the module's own key of zeros, whose value is zero too.
TEST(ZeroAttention, TakesAnEmptyMemory) {
  MultiHeadAttention attention(MultiHeadAttentionOptions(kE, kH).add_zero_attn(true));
  randomise(*attention);
  const auto [output, weights] =
      attention(torch::randn({kB, kT, kE}), torch::zeros({kB, 0, kE}), torch::zeros({kB, 0, kE}),
                AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(weights, torch::ones({kB, kH, kT, 1}));
  EXPECT_TENSOR_NEAR(output, attention->out_proj->bias.expand({kB, kT, kE}), 1e-6);
}

TEST(GroupedQueryAttention, ProjectedMemoryOfOtherHeadsIsRefused) {
  const MultiHeadAttention attention(kE, kH);
  EXPECT_THROW_MESSAGE(
      attention->attend(torch::zeros({kB, kT, kE}),
                        {torch::zeros({kB, 2, kS, kE / kH}), torch::zeros({kB, 2, kS, kE / kH})}),
      c10::Error,
      "MultiHeadAttention: expected projected keys of shape [2, 4, -1, 6] (-1 = any), got "
      "[2, 2, 7, 6]");
}

TEST(RotaryPositions, ScoresDependOnTheDistanceAlone) {
  const auto q = torch::randn({3, 8}, torch::kDouble), k = torch::randn({3, 8}, torch::kDouble);
  for (const auto pairing : {RotaryPairing::kHalves, RotaryPairing::kInterleaved}) {
    const RotaryOptions options{.pairing = pairing, .scaling = {}};
    const auto scores = [&](int64_t shift) {
      return torch::matmul(functional::rotary(q, options, shift),
                           functional::rotary(k, options, shift + 2).t());
    };
    EXPECT_TENSOR_NEAR(scores(1000), scores(0), 1e-11);
    EXPECT_GT((scores(0) - torch::matmul(q, k.t())).abs().max().item<double>(), 0.1);
  }
}

TEST(RotaryPositions, MayBeOthersInEachSentence) {
  const auto x = torch::randn({2, 4, 3, 6}, torch::kDouble);
  const auto positions = torch::tensor({{7, 0, 2}, {1, 30, 5}});
  const RotaryOptions options{.scaling = {}};
  for (const auto& of : {x, x.select(1, 0)}) {
    const auto got = functional::rotary(of, options, positions);
    for (int64_t b = 0; b < 2; ++b) {
      EXPECT_TENSOR_NEAR(got[b], functional::rotary(of[b], options, positions[b]), 1e-12);
    }
  }
  EXPECT_THROW_MESSAGE(functional::rotary(x, options, positions.t()), c10::Error,
                       "rotary: expected positions of shape [2, 3], got [3, 2]");
  EXPECT_THROW_MESSAGE(functional::rotary(x[0][0], options, positions), c10::Error,
                       "rotary: expected positions with 1 dimensions, got [2, 3]");
}

TEST(AttentionVariantErrors, NameWhatWasExpectedAndGot) {
  using Options = MultiHeadAttentionOptions;
  const auto refused = [](const Options& options, const std::string& message) {
    EXPECT_THROW_MESSAGE(MultiHeadAttention(options), c10::ValueError, message);
  };
  refused(Options(24, 4).num_kv_heads(3),
          "MultiHeadAttention: expected num_heads divisible by num_kv_heads, got num_heads 4 and "
          "num_kv_heads 3");
  refused(Options(24, 4).num_kv_heads(0), "MultiHeadAttention: expected num_kv_heads > 0, got 0");
  refused(Options(20, 4).rotary(RotaryOptions{}),
          "RotaryOptions: expected an even dim of at most head_dim 5, got 5");
  refused(Options(24, 4).rotary(RotaryOptions{.dim = 8, .scaling = {}}),
          "RotaryOptions: expected an even dim of at most head_dim 6, got 8");
  refused(Options(24, 4).rotary(RotaryOptions{.base = 1.0, .scaling = {}}),
          "RotaryOptions: expected base > 1, got 1");
  refused(Options(24, 4).window(AttentionWindow{-1, 0}),
          "AttentionMask::window: expected left >= 0 and right >= 0, got -1 and 0");
  refused(Options(24, 4).soft_cap(-2), "MultiHeadAttention: expected soft_cap >= 0, got -2");
  refused(Options(24, 4).relative_bias(RelativeBiasOptions{7, 128, true}),
          "relative_position_buckets: expected an even number of at least 4 buckets, got 7");
  refused(Options(24, 4).relative_bias(RelativeBiasOptions{32, 8, true}),
          "relative_position_buckets: expected max_distance above the 8 exact buckets, got 8");

  const auto x = torch::randn({2, 4, 3, 6});
  EXPECT_THROW_MESSAGE(
      functional::scaled_dot_product_attention(x, torch::randn({2, 3, 3, 6}), x), c10::Error,
      "scaled_dot_product_attention: expected heads of key that divide those of query, got query "
      "[2, 4, 3, 6] and key [2, 3, 3, 6]");
  EXPECT_THROW_MESSAGE(
      functional::scaled_dot_product_attention(x, x, x, AttentionMask::alibi(torch::ones({3}))),
      c10::Error, "scaled_dot_product_attention: expected ALiBi slopes of shape [4], got [3]");
  EXPECT_THROW_MESSAGE(
      functional::scaled_dot_product_attention(
          x, x, x, AttentionMask::segments(torch::ones({2, 5}, torch::kLong))),
      c10::Error,
      "scaled_dot_product_attention: expected query segments of shape [2, 3], got [2, 5]");
  EXPECT_THROW_MESSAGE(
      AttentionMask::segments(torch::ones({2, 5})), c10::Error,
      "AttentionMask::segments: expected query_ids of dtype Long or Int, got Float");
}

}  // namespace
}  // namespace attend::attention_variants_test
