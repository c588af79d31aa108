// What PyTorch's own tests ask of MultiheadAttention, of the layers and stacks of a Transformer and
// of the whole, where no other test here asks it: docs/torch-behaviours.md has the list.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "attend/functional/mask.h"
#include "attend/modules/causal_self_attention.h"
#include "attend/modules/encoder_decoder_attention.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "attend/modules/torch_interop.h"
#include "attend/modules/transformer_decoder.h"
#include "attend/modules/transformer_encoder.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"
#include "support/variant_oracle.h"

namespace attend::torch_behaviours_test {
namespace {

using testing_support::NamedTensor;
using testing_support::parameters_of;
using testing_support::randomise;

// All sizes differ, so that a transposed axis cannot go unnoticed.
constexpr int64_t kB = 2, kT = 3, kS = 5, kH = 4, kE = 24, kF = 10, kKeyDim = 7, kValueDim = 11;
constexpr double kInf = std::numeric_limits<double>::infinity();

constexpr auto kOrders = {NormOrder::kPost, NormOrder::kPre};

struct Precision {
  torch::Dtype dtype;
  double tolerance;  // that of PyTorch's tests in float32, and far below it in float64
};
constexpr Precision kPrecisions[] = {{torch::kFloat, 1e-5}, {torch::kDouble, 1e-10}};

torch::Tensor normal(at::IntArrayRef sizes, torch::Dtype dtype = torch::kDouble) {
  return torch::randn(sizes, torch::kDouble).to(dtype);
}

torch::Tensor may_attend(at::IntArrayRef sizes) { return torch::ones(sizes, torch::kBool); }

// |actual - expected| <= tolerance, as PyTorch measures: EXPECT_TENSOR_NEAR allows more above 1.
void expect_within(const torch::Tensor& actual, const torch::Tensor& expected, double tolerance) {
  ASSERT_TRUE(actual.defined());
  ASSERT_EQ(actual.sizes(), expected.sizes());
  const auto difference = actual.cpu().to(torch::kDouble) - expected.cpu().to(torch::kDouble);
  EXPECT_TENSOR_NEAR(difference, torch::zeros_like(difference), tolerance);
}

// Random weights of about 1 / sqrt(E).
template <typename Module>
Module prepared(Module module, torch::Dtype dtype = torch::kDouble) {
  randomise(*module);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module->parameters()) parameter.mul_(0.5);
  module->to(dtype);
  return module;
}

TransformerLayerOptions layer_sizes(NormOrder order = NormOrder::kPost) {
  return TransformerLayerOptions(kE, kH).feed_forward_dim(kF).dropout(0.0).norm_order(order);
}

// ---- MultiheadAttention ----

// The same mask here and in torch::nn.
struct MaskCase {
  const char* name;
  AttentionMask ours;
  torch::Tensor attn_mask, key_padding_mask;
};

// Every query has a key: of one without, torch::nn makes NaN.
std::vector<MaskCase> masks(int64_t target, torch::Dtype dtype) {
  auto bias = normal({target, kS}, dtype).masked_fill(torch::rand({target, kS}) < 0.3, -kInf);
  bias.select(1, 0).fill_(0.5);
  auto ignore = torch::zeros({kB, kS}, torch::kBool);
  ignore[1].narrow(0, kS - 2, 2).fill_(true);
  const auto by_bias = functional::mask_from_torch(bias);
  const auto by_padding = functional::padding_from_torch(ignore);
  return {{"none", {}, {}, {}},
          {"attn_mask", by_bias, bias, {}},
          {"key_padding_mask", by_padding, {}, ignore},
          {"both", by_bias & by_padding, bias, ignore}};
}

int64_t random_between(int64_t first, int64_t last) {
  return torch::randint(first, last + 1, {1}, torch::kLong).item<int64_t>();
}

bool random_bool() { return random_between(0, 1) == 1; }

// PyTorch's main test of this class: one query, and all that may be combined at random.
TEST(TorchMultiheadAttention, OfRandomSizesAndOptionsAgreesWithTheOracle) {
  for (int round = 0; round < 12; ++round) {
    const auto batch = random_between(2, 10), source = random_between(2, 10);
    const auto heads = random_between(2, 6), embed_dim = heads * random_between(3, 10);
    const auto key_dim = random_bool() ? embed_dim : random_between(5, 20);
    const auto value_dim = random_bool() ? embed_dim : random_between(5, 20);
    const bool bias_kv = random_bool(), zero_attn = random_bool(), bias = random_bool();
    SCOPED_TRACE(testing::Message() << "batch " << batch << ", source " << source << ", heads "
                                    << heads << ", embed_dim " << embed_dim << ", key_dim "
                                    << key_dim << ", value_dim " << value_dim << ", bias_kv "
                                    << bias_kv << ", zero_attn " << zero_attn << ", bias " << bias);
    const auto allowed = torch::rand({1, source}) < 0.5;
    const auto real = torch::rand({batch, source}) < 0.5;
    const auto row = real.view({batch, 1, 1, source});
    const std::vector<std::pair<AttentionMask, oracle::Mask>> cases = {
        {{}, {}},
        {allowed, {allowed, {}}},
        {AttentionMask::padding(real), {row, {}}},
        {AttentionMask(allowed) & AttentionMask::padding(real), {allowed.logical_and(row), {}}}};
    for (const auto& precision : kPrecisions) {
      auto attention = prepared(MultiHeadAttention(MultiHeadAttentionOptions(embed_dim, heads)
                                                       .key_dim(key_dim)
                                                       .value_dim(value_dim)
                                                       .bias(bias)
                                                       .add_bias_kv(bias_kv)
                                                       .add_zero_attn(zero_attn)),
                                precision.dtype);
      const auto like = torch::TensorOptions(precision.dtype);
      const auto query = torch::rand({batch, 1, embed_dim}, like);
      const auto key = torch::rand({batch, source, key_dim}, like);
      const auto value = torch::rand({batch, source, value_dim}, like);
      const oracle::VariantForm form{.num_heads = heads,
                                     .num_kv_heads = heads,
                                     .scale = {},
                                     .window_left = {},
                                     .window_right = {},
                                     .bias_kv = bias_kv,
                                     .zero_attn = zero_attn};
      for (const auto& [mask, meaning] : cases) {
        const auto expected = oracle::variant_attention(
            query, key, value, oracle::weights_of(*attention), form, meaning);
        const auto per_head = attention(query, key, value, mask, WeightsRequest::kPerHead);
        const auto mean = attention(query, key, value, mask, WeightsRequest::kMean);
        expect_within(per_head.output, expected.output, precision.tolerance);
        expect_within(per_head.weights, expected.weights, precision.tolerance);
        expect_within(mean.weights, expected.weights.mean(1), precision.tolerance);
      }
    }
  }
}

TEST(TorchMultiheadAttention, ItsOwnKeysAgreeWithTorchUnderEveryMask) {
  for (const auto& precision : kPrecisions) {
    for (const int64_t key_dim : {kE, kKeyDim}) {
      for (const auto& [bias_kv, zero_attn] :
           {std::pair{true, false}, std::pair{false, true}, std::pair{true, true}}) {
        auto theirs =
            prepared(torch::nn::MultiheadAttention(torch::nn::MultiheadAttentionOptions(kE, kH)
                                                       .kdim(key_dim)
                                                       .vdim(key_dim)
                                                       .add_bias_kv(bias_kv)
                                                       .add_zero_attn(zero_attn)),
                     precision.dtype);
        auto ours = from_torch(theirs);
        for (const int64_t target : {int64_t{1}, kT}) {
          const auto query = normal({kB, target, kE}, precision.dtype);
          const auto key = normal({kB, kS, key_dim}, precision.dtype);
          const auto value = normal({kB, kS, key_dim}, precision.dtype);
          for (const auto& mask : masks(target, precision.dtype)) {
            SCOPED_TRACE(testing::Message()
                         << mask.name << ", target " << target << ", key_dim " << key_dim
                         << ", bias_kv " << bias_kv << ", zero_attn " << zero_attn);
            const auto [output, weights] =
                theirs->forward(query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1),
                                mask.key_padding_mask, /*need_weights=*/true, mask.attn_mask,
                                /*average_attn_weights=*/false);
            const auto result = ours(query, key, value, mask.ours, WeightsRequest::kPerHead);
            expect_within(result.output, output.transpose(0, 1), precision.tolerance);
            expect_within(result.weights, weights, precision.tolerance);
          }
        }
      }
    }
  }
}

TEST(TorchMultiheadAttention, AMaskPerSentenceIsWhatEachSentenceGetsAlone) {
  auto attention = prepared(MultiHeadAttention(kE, kH));
  const auto query = normal({kB, kT, kE}), key = normal({kB, kS, kE});
  // true = ignore. Some rows are ignored in full.
  auto ignore = torch::rand({kB, kT, kS}) < 0.4;
  ignore[1][0].fill_(true);
  const auto bias = torch::zeros({kB, kT, kS}, torch::kDouble).masked_fill(ignore, -kInf);
  for (const auto& mask : {ignore, bias}) {
    // torch::nn has the heads of a sentence one after the other.
    const auto all =
        attention(query, key, key, functional::mask_from_torch(mask.repeat_interleave(kH, 0), kH),
                  WeightsRequest::kPerHead);
    for (int64_t b = 0; b < kB; ++b) {
      const auto alone = attention(query.narrow(0, b, 1), key.narrow(0, b, 1), key.narrow(0, b, 1),
                                   functional::mask_from_torch(mask[b]), WeightsRequest::kPerHead);
      EXPECT_TENSOR_NEAR(all.output.narrow(0, b, 1), alone.output, 1e-12);
      EXPECT_TENSOR_NEAR(all.weights.narrow(0, b, 1), alone.weights, 1e-12);
    }
  }
}

TEST(TorchMultiheadAttention, UnbatchedInputIsTheBatchedOneSqueezedUnderEveryMaskAndOption) {
  const auto ignore = torch::rand({kH, kT, kS}) < 0.4;  // torch::nn's [num_heads, T, S]
  const auto real = torch::tensor({1, 1, 0, 1, 0}, torch::kBool).unsqueeze(0);
  const std::vector<AttentionMask> cases = {
      {},
      functional::mask_from_torch(ignore, kH),
      AttentionMask::padding(real),
      functional::mask_from_torch(ignore, kH) & AttentionMask::padding(real)};
  for (int options = 0; options < 8; ++options) {
    auto attention = prepared(MultiHeadAttention(MultiHeadAttentionOptions(kE, kH)
                                                     .key_dim(kKeyDim)
                                                     .value_dim(kValueDim)
                                                     .bias((options & 1) != 0)
                                                     .add_bias_kv((options & 2) != 0)
                                                     .add_zero_attn((options & 4) != 0)));
    const auto query = normal({kT, kE}), key = normal({kS, kKeyDim}),
               value = normal({kS, kValueDim});
    for (size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "options " << options << ", mask " << i);
      for (const auto request : {WeightsRequest::kPerHead, WeightsRequest::kMean}) {
        const auto single = attention(query, key, value, cases[i], request);
        const auto batched =
            attention(query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0), cases[i], request);
        EXPECT_TENSOR_EQUAL(single.output, batched.output.squeeze(0));
        EXPECT_TENSOR_EQUAL(single.weights, batched.weights.squeeze(0));
      }
    }
  }
}

TEST(TorchMultiheadAttention, AxesOfEqualSizesAreNotConfused) {
  constexpr int64_t kN = 3;  // batch, queries, keys and heads
  auto attention = prepared(MultiHeadAttention(4 * kN, kN));
  const auto query = normal({kN, kN, 4 * kN}), key = normal({kN, kN, 4 * kN});
  const auto value = normal({kN, kN, 4 * kN});
  const auto two = torch::tensor({{1, 0, 0}, {1, 1, 0}, {0, 1, 1}}, torch::kBool);
  const auto lengths = torch::tensor({1, 3, 2});
  const auto row = torch::arange(kN).view({1, 1, 1, kN}) < lengths.view({kN, 1, 1, 1});
  const auto ignore = torch::rand({kN * kN, kN, kN}) < 0.4;
  const std::vector<std::pair<AttentionMask, oracle::Mask>> cases = {
      {two, {two.view({1, 1, kN, kN}), {}}},
      {AttentionMask::padding(two), {two.view({kN, 1, 1, kN}), {}}},
      {AttentionMask::key_lengths(lengths), {row, {}}},
      {AttentionMask::causal(), {oracle::causal(kN, kN), {}}},
      {functional::mask_from_torch(ignore, kN), {ignore.logical_not().view({kN, kN, kN, kN}), {}}}};
  for (const auto& [mask, meaning] : cases) {
    const auto expected = oracle::multi_head_attention(query, key, value,
                                                       oracle::weights_of(*attention), kN, meaning);
    const auto result = attention(query, key, value, mask, WeightsRequest::kPerHead);
    expect_within(result.output, expected.output, 1e-12);
    expect_within(result.weights, expected.weights, 1e-12);
  }
}

TEST(TorchMultiheadAttention, OfOnesGivesTheSquareOfTheSize) {
  // Each projection of ones adds up 4 of them, and the mean of equal values is their value.
  const auto fill = [](torch::nn::Module& module) {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : module.named_parameters()) {
      parameter.value().fill_(parameter.key().ends_with(".weight") ? 1.0 : 0.0);
    }
  };
  const auto x = torch::ones({1, 2, 4});
  MultiHeadSelfAttention attention(4, 1);
  CausalSelfAttention causal(4, 1, 2);
  fill(*attention);
  fill(*causal);
  const auto expected = torch::full({1, 2, 4}, 16.0, torch::kFloat);
  EXPECT_TENSOR_EQUAL(attention(x, AttentionMask::causal()).output, expected);
  EXPECT_TENSOR_EQUAL(attention(x, functional::causal_mask(2, x.device())).output, expected);
  EXPECT_TENSOR_EQUAL(causal(x).output, expected);
}

TEST(TorchMultiheadAttention, WithAndWithoutGradientsItIsTheSame) {
  auto attention = prepared(MultiHeadAttention(kE, kH));
  const auto x = normal({kB, kS, kE});
  const auto ignore = torch::rand({kS, kS}) < 0.4;
  const auto ignore_per_head = torch::rand({kB * kH, kS, kS}) < 0.4;
  const auto bias = normal({kS, kS}), bias_per_head = normal({kB * kH, kS, kS});
  const auto real = torch::rand({kB, kS}) < 0.6;
  const auto padding_bias = normal({kB, 1, 1, kS});
  const std::vector<AttentionMask> paddings = {{}, AttentionMask::padding(real), padding_bias};
  for (const auto& attn_mask : {torch::Tensor(), ignore, ignore_per_head, bias, bias_per_head}) {
    for (const auto& padding : paddings) {
      const auto mask = functional::mask_from_torch(attn_mask, kH) & padding;
      attention->train();
      const auto trained = attention(x, x, x, mask, WeightsRequest::kPerHead);
      attention->eval();
      const torch::InferenceMode inference;
      const auto evaluated = attention(x, x, x, mask, WeightsRequest::kPerHead);
      EXPECT_TENSOR_NEAR(evaluated.output, trained.output, 1e-13);
      EXPECT_TENSOR_NEAR(evaluated.weights, trained.weights, 1e-13);
    }
  }
}

TEST(TorchMultiheadAttention, IsDifferentiableTwice) {
  auto attention =
      prepared(MultiHeadAttention(MultiHeadAttentionOptions(6, 2).key_dim(4).value_dim(5)));
  const auto query = normal({kB, kT, 6}).requires_grad_();
  const auto key = normal({kB, kS, 4}).requires_grad_();
  const auto value = normal({kB, kS, 5}).requires_grad_();
  auto allowed = torch::rand({kT, kS}) < 0.7;
  allowed.select(1, 0).fill_(true);
  const AttentionMask mask(allowed);
  const auto gradient = [&] {
    const torch::AutoGradMode record(true);  // the differences are taken where nothing is recorded
    const auto result = attention(query, key, value, mask, WeightsRequest::kPerHead);
    const auto found = torch::autograd::grad(
        {result.output.square().sum() + result.weights.square().sum()}, {query, key, value}, {},
        /*retain_graph=*/true, /*create_graph=*/true);
    return torch::cat({found[0].flatten(), found[1].flatten(), found[2].flatten()});
  };
  auto leaves = parameters_of(*attention);
  leaves.insert(leaves.end(), {{"query", query}, {"key", key}, {"value", value}});
  testing_support::expect_gradients_match_differences(gradient, leaves);
}

TEST(TorchMultiheadAttention, RanksThatDoNotGoTogetherAreRefused) {
  auto attention =
      MultiHeadAttention(MultiHeadAttentionOptions(kE, kH).key_dim(kKeyDim).value_dim(kValueDim));
  const auto q = torch::zeros({kB, kT, kE}), k = torch::zeros({kB, kS, kKeyDim}),
             v = torch::zeros({kB, kS, kValueDim});
  const auto refuse = [&] {
    EXPECT_THROW_MESSAGE(attention(q, k[0], v), c10::Error,
                         "MultiHeadAttention: expected key with 3 dimensions, got [5, 7]");
    EXPECT_THROW_MESSAGE(attention(q, k, v[0]), c10::Error,
                         "MultiHeadAttention: expected value with 3 dimensions, got [5, 11]");
    EXPECT_THROW_MESSAGE(attention(q[0], k, v[0]), c10::Error,
                         "MultiHeadAttention: expected key with 2 dimensions, got [2, 5, 7]");
    EXPECT_THROW_MESSAGE(attention(q[0], k[0], v), c10::Error,
                         "MultiHeadAttention: expected value with 2 dimensions, got [2, 5, 11]");
    EXPECT_THROW_MESSAGE(
        attention(q[0], k[0], v[0], AttentionMask::padding(may_attend({1, 2 * kS}))), c10::Error,
        "scaled_dot_product_attention: expected padding mask of shape [1, 5], got [1, 10]");
    EXPECT_THROW_MESSAGE(attention(q[0], k[0], v[0], may_attend({kH + 1, kT, kS})), c10::Error,
                         "scaled_dot_product_attention: expected mask to broadcast to "
                         "[1, 4, 3, 5], got [1, 5, 3, 5]");
  };
  refuse();
  attention->eval();
  const torch::NoGradGuard no_grad;
  refuse();
}

TEST(TorchMultiheadAttention, MasksOfIntegersAreRefused) {
  for (const auto& [dtype, name] :
       {std::pair{torch::kByte, "Byte"}, std::pair{torch::kLong, "Long"}}) {
    const auto mask = torch::ones({kB, kS}, dtype);
    const std::string got = name;
    EXPECT_THROW_MESSAGE(
        AttentionMask::padding(mask), c10::Error,
        "AttentionMask::padding: expected may_attend of dtype Bool (true = may attend), got " +
            got);
    EXPECT_THROW_MESSAGE(
        functional::padding_from_torch(mask), c10::Error,
        "padding_from_torch: expected key_padding_mask of dtype Bool (true = ignore), got " + got);
    EXPECT_THROW_MESSAGE(functional::mask_from_torch(mask), c10::Error,
                         "AttentionMask: expected a bool mask (true = may attend) or a "
                         "floating-point bias, got dtype " +
                             got);
  }
}

// ---- Static keys ----

// What torch::nn computes with keys and values that are projected and split already.
std::tuple<torch::Tensor, torch::Tensor> with_static_keys(
    const torch::nn::MultiheadAttention& module, const torch::Tensor& query, const KeyValue& memory,
    const MaskCase& mask) {
  namespace F = torch::nn::functional;
  auto options = F::MultiheadAttentionForwardFuncOptions(
      kE, kH, module->in_proj_weight, module->in_proj_bias, module->bias_k, module->bias_v,
      module->options.add_zero_attn(), /*dropout_p=*/0.0, module->out_proj->weight,
      module->out_proj->bias);
  options.key_padding_mask(mask.key_padding_mask).attn_mask(mask.attn_mask);
  options.static_k(memory.key.flatten(0, 1)).static_v(memory.value.flatten(0, 1));
  options.average_attn_weights(false);
  if (!module->_qkv_same_embed_dim) {
    options.use_separate_proj_weight(true);
    options.q_proj_weight(module->q_proj_weight);
    options.k_proj_weight(module->k_proj_weight);
    options.v_proj_weight(module->v_proj_weight);
  }
  const auto unused = torch::zeros({kS, kB, module->options.kdim()}, query.options());
  return F::multi_head_attention_forward(query.transpose(0, 1), unused, unused, options);
}

TEST(TorchStaticKeys, AgreeWithTorchUnderEveryMask) {
  for (const auto& precision : kPrecisions) {
    for (const int64_t key_dim : {kE, kKeyDim}) {
      for (const bool zero_attn : {false, true}) {
        const auto theirs =
            prepared(torch::nn::MultiheadAttention(torch::nn::MultiheadAttentionOptions(kE, kH)
                                                       .kdim(key_dim)
                                                       .vdim(key_dim)
                                                       .add_zero_attn(zero_attn)),
                     precision.dtype);
        const auto ours = from_torch(theirs);
        const auto query = normal({kB, kT, kE}, precision.dtype);
        KeyValue memory;
        memory.key = normal({kB, kH, kS, kE / kH}, precision.dtype);
        memory.value = normal({kB, kH, kS, kE / kH}, precision.dtype);
        for (const auto& mask : masks(kT, precision.dtype)) {
          SCOPED_TRACE(testing::Message()
                       << mask.name << ", key_dim " << key_dim << ", zero_attn " << zero_attn);
          const auto [output, weights] = with_static_keys(theirs, query, memory, mask);
          const auto per_head = ours->attend(query, memory, mask.ours, WeightsRequest::kPerHead);
          const auto mean = ours->attend(query, memory, mask.ours, WeightsRequest::kMean);
          expect_within(per_head.output, output.transpose(0, 1), precision.tolerance);
          expect_within(per_head.weights, weights, precision.tolerance);
          expect_within(mean.weights, weights.mean(1), precision.tolerance);
        }
      }
    }
  }
}

// torch::nn refuses this.
TEST(TorchStaticKeys, ALearnedKeyGoesBehindThem) {
  auto attention = prepared(MultiHeadAttention(MultiHeadAttentionOptions(kE, kH)
                                                   .key_dim(kKeyDim)
                                                   .value_dim(kValueDim)
                                                   .add_bias_kv(true)
                                                   .add_zero_attn(true)));
  const auto query = normal({kB, kT, kE}), key = normal({kB, kS, kKeyDim}),
             value = normal({kB, kS, kValueDim});
  const auto mask = AttentionMask::key_lengths(torch::tensor({kS, int64_t{0}}));
  const auto direct = attention(query, key, value, mask, WeightsRequest::kPerHead);
  const auto projected = attention->attend(query, attention->project_key_value(key, value), mask,
                                           WeightsRequest::kPerHead);
  EXPECT_EQ(projected.weights.sizes(), (std::vector<int64_t>{kB, kH, kT, kS + 2}));
  EXPECT_TENSOR_EQUAL(projected.output, direct.output);
  EXPECT_TENSOR_EQUAL(projected.weights, direct.weights);
}

TEST(TorchStaticKeys, OfOtherSizesAreRefused) {
  const MultiHeadAttention attention(kE, kH);
  const auto query = torch::zeros({kB, kT, kE});
  const auto attend_to = [&](at::IntArrayRef key, at::IntArrayRef value) {
    KeyValue memory;
    memory.key = torch::zeros(key);
    memory.value = torch::zeros(value);
    return attention->attend(query, memory);
  };
  EXPECT_THROW_MESSAGE(attend_to({1, kH, kS, 6}, {1, kH, kS, 6}), c10::Error,
                       "MultiHeadAttention: expected query and key of one batch size, got query "
                       "[2, 3, 24] and 1 rows of key");
  EXPECT_THROW_MESSAGE(attend_to({kB, 3, kS, 6}, {kB, 3, kS, 6}), c10::Error,
                       "MultiHeadAttention: expected projected keys of shape [2, 4, -1, 6] (-1 = "
                       "any), got [2, 3, 5, 6]");
  EXPECT_THROW_MESSAGE(attend_to({kB, kH, kS, 7}, {kB, kH, kS, 6}), c10::Error,
                       "MultiHeadAttention: expected projected keys of shape [2, 4, -1, 6] (-1 = "
                       "any), got [2, 4, 5, 7]");
  EXPECT_THROW_MESSAGE(attend_to({kB, kH, kS, 6}, {kB, kH, kS + 1, 6}), c10::Error,
                       "scaled_dot_product_attention: expected value of shape [2, 4, 5, -1] (-1 = "
                       "any), got [2, 4, 6, 6]");
}

// ---- Layers and stacks ----

// cos 0, cos 1, cos 2, ... in every weight, as in PyTorch's deterministic tests.
template <typename Module>
Module with_cosines(Module module, torch::Dtype dtype) {
  module->to(dtype);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module->parameters()) {
    parameter.copy_(torch::arange(parameter.numel(), torch::kDouble).cos().view(parameter.sizes()));
  }
  return module;
}

// The sizes of those tests, but for the batch and the lengths.
constexpr int64_t kRows = 3, kSource = 5, kTarget = 6, kSmallE = 4, kSmallH = 2, kSmallF = 16;

// torch::nn's: 0 on and below the diagonal, -infinity above.
torch::Tensor causal_bias(int64_t length, torch::Dtype dtype) {
  return torch::full({length, length}, -kInf, torch::kDouble).triu(1).to(dtype);
}

// true = ignore: no key of the first sentence, the last one of the second, two of the third.
torch::Tensor ignored_keys(int64_t length) {
  auto ignore = torch::zeros({kRows, length}, torch::kBool);
  ignore[1][length - 1].fill_(true);
  ignore[2].narrow(0, length - 3, 2).fill_(true);
  return ignore;
}

struct StackForm {
  torch::nn::activation_t activation;
  int64_t num_layers;
  bool final_norm;
};

std::vector<StackForm> stack_forms() {
  std::vector<StackForm> forms;
  for (const int64_t num_layers : {1, 2, 6}) {
    for (const bool final_norm : {false, true}) {
      forms.push_back({torch::kReLU, num_layers, final_norm});
      forms.push_back({torch::kGELU, num_layers, final_norm});
    }
  }
  return forms;
}

torch::nn::AnyModule small_norm() {
  return torch::nn::AnyModule(torch::nn::LayerNorm(torch::nn::LayerNormOptions({kSmallE})));
}

TEST(TorchStacks, EncodersAgreeWithTorchHoweverDeep) {
  for (const auto& precision : kPrecisions) {
    for (const auto& form : stack_forms()) {
      auto options = torch::nn::TransformerEncoderOptions(
          torch::nn::TransformerEncoderLayerOptions(kSmallE, kSmallH)
              .dim_feedforward(kSmallF)
              .dropout(0.0)
              .activation(form.activation),
          form.num_layers);
      if (form.final_norm) options.norm(small_norm());
      auto theirs = with_cosines(torch::nn::TransformerEncoder(options), precision.dtype);
      auto ours = from_torch(theirs);
      const auto compare = [&](const torch::Tensor& x, const torch::Tensor& src_mask,
                               const torch::Tensor& ignore, const AttentionMask& mask) {
        const auto expected = theirs->forward(x.transpose(0, 1), src_mask, ignore).transpose(0, 1);
        expect_within(ours(x, mask).output, expected, precision.tolerance);
      };
      SCOPED_TRACE(testing::Message()
                   << form.num_layers << " layers, final_norm " << form.final_norm);
      const auto token = torch::arange(20, 20 + kSmallE).view({1, 1, kSmallE}).to(precision.dtype);
      compare(token, {}, {}, {});
      compare(token, {}, torch::zeros({1, 1}, torch::kBool),
              AttentionMask::padding(may_attend({1, 1})));

      const auto x = torch::rand({kRows, kSource, kSmallE}, torch::kDouble).to(precision.dtype);
      const auto zeros = torch::zeros({kSource, kSource}, precision.dtype);
      const auto causal = causal_bias(kSource, precision.dtype);
      const auto bias = normal({kSource, kSource}, precision.dtype);
      const auto ignore = ignored_keys(kSource);
      const auto padding = functional::padding_from_torch(ignore);
      compare(x, {}, {}, {});
      compare(x, zeros, torch::zeros_like(ignore), zeros);
      compare(x, {}, ignore, padding);
      compare(x, causal, ignore, AttentionMask::causal() & padding);
      compare(x, bias, ignore, AttentionMask(bias) & padding);
    }
  }
}

// With torch::nn's causal tgt_mask, which is always on here.
TEST(TorchStacks, DecodersAgreeWithTorchHoweverDeep) {
  for (const auto& precision : kPrecisions) {
    for (const auto& form : stack_forms()) {
      auto options = torch::nn::TransformerDecoderOptions(
          torch::nn::TransformerDecoderLayerOptions(kSmallE, kSmallH)
              .dim_feedforward(kSmallF)
              .dropout(0.0)
              .activation(form.activation),
          form.num_layers);
      if (form.final_norm) options.norm(small_norm());
      auto theirs = with_cosines(torch::nn::TransformerDecoder(options), precision.dtype);
      auto ours = from_torch(theirs);
      // torch::nn's masks: of the memory, and the keys to ignore in the target and the memory.
      const auto compare = [&](const torch::Tensor& target, const torch::Tensor& memory,
                               const torch::Tensor& memory_mask, const torch::Tensor& target_ignore,
                               const torch::Tensor& memory_ignore) {
        const auto expected = theirs
                                  ->forward(target.transpose(0, 1), memory.transpose(0, 1),
                                            causal_bias(target.size(1), precision.dtype),
                                            memory_mask, target_ignore, memory_ignore)
                                  .transpose(0, 1);
        const auto actual = ours(target, memory, functional::padding_from_torch(target_ignore),
                                 functional::mask_from_torch(memory_mask) &
                                     functional::padding_from_torch(memory_ignore))
                                .output;
        expect_within(actual, expected, precision.tolerance);
      };
      SCOPED_TRACE(testing::Message()
                   << form.num_layers << " layers, final_norm " << form.final_norm);
      const auto counted = [&](int64_t first, int64_t length) {
        return torch::arange(first, first + length * kSmallE)
            .view({1, length, kSmallE})
            .to(precision.dtype);
      };
      // Without its mask, torch::nn computes the same for one position.
      compare(counted(20, 1), counted(60, 1), {}, {}, {});
      compare(counted(9, 2), counted(1, 1), {}, {}, {});

      const auto random = [&](int64_t length) {
        return torch::rand({kRows, length, kSmallE}, torch::kDouble).to(precision.dtype);
      };
      const auto target = random(kTarget), memory = random(kSource);
      const auto target_ignore = ignored_keys(kTarget), memory_ignore = ignored_keys(kSource);
      const auto memory_mask = normal({kTarget, kSource}, precision.dtype);
      compare(target, memory, {}, {}, {});
      compare(target, memory, {}, torch::zeros_like(target_ignore),
              torch::zeros_like(memory_ignore));
      compare(target, memory, {}, target_ignore, {});
      compare(target, memory, {}, {}, memory_ignore);
      compare(target, memory, memory_mask, target_ignore, memory_ignore);
    }
  }
}

TEST(TorchStacks, AMaskThatAllowsEverythingChangesNothing) {
  for (const int64_t num_heads : {1, 4, 8}) {  // of sizes 8, 2 and 1
    for (const auto order : kOrders) {
      auto layer = prepared(TransformerEncoderLayer(TransformerLayerOptions(8, num_heads)
                                                        .feed_forward_dim(kF)
                                                        .dropout(0.0)
                                                        .norm_order(order)));
      const auto x = normal({kB, kS, 8});
      const auto expected = oracle::encoder_layer(x, oracle::weights_of(*layer),
                                                  {num_heads, order == NormOrder::kPre});
      const std::vector<AttentionMask> everything = {
          {},
          may_attend({kS, kS}),
          torch::zeros({kS, kS}, torch::kDouble),
          AttentionMask::padding(may_attend({kB, kS})),
          AttentionMask::key_lengths(torch::tensor({kS, kS})),
          functional::mask_from_torch(torch::zeros({kB * num_heads, kS, kS}, torch::kBool),
                                      num_heads)};
      for (const auto& mask : everything) {
        layer->train();
        expect_within(layer(x, mask).output, expected, 1e-11);
        layer->eval();
        const torch::NoGradGuard no_grad;
        expect_within(layer(x, mask).output, expected, 1e-11);
      }
    }
  }
}

TEST(TorchStacks, TheCausalMaskIsTheTensorThatSaysTheSame) {
  for (const auto order : kOrders) {
    auto encoder = prepared(TransformerEncoder(layer_sizes(order), 2));
    const auto x = normal({kB, kS, kE});
    const auto causal = encoder(x, AttentionMask::causal()).output;
    for (const AttentionMask& mask :
         {AttentionMask(functional::causal_mask(kS, x.device())),
          AttentionMask(causal_bias(kS, torch::kDouble)),
          functional::mask_from_torch(torch::ones({kS, kS}, torch::kBool).triu(1))}) {
      expect_within(encoder(x, mask).output, causal, 1e-12);
    }
  }
}

TEST(TorchStacks, UnbatchedInputIsTheBatchedOneSqueezedUnderEveryMask) {
  // The last key is hidden from every query, by either mask.
  const auto hidden = [](int64_t target, int64_t source) {
    auto mask = may_attend({target, source});
    mask.select(1, source - 1).fill_(false);
    return mask;
  };
  const auto of = [&](int which, int64_t target, int64_t source) {
    AttentionMask mask;
    if ((which & 1) != 0) mask = mask & AttentionMask(hidden(target, source));
    if ((which & 2) != 0) mask = mask & AttentionMask::padding(hidden(1, source));
    return mask;
  };
  for (const auto order : kOrders) {
    for (const bool bias : {true, false}) {
      auto encoder = prepared(TransformerEncoder(layer_sizes(order).bias(bias), 2));
      auto decoder = prepared(TransformerDecoder(layer_sizes(order).bias(bias), 2));
      const auto source = normal({kS, kE}), target = normal({kT, kE});
      for (int which = 0; which < 4; ++which) {
        SCOPED_TRACE(testing::Message() << "bias " << bias << ", masks " << which);
        const auto source_mask = of(which, kS, kS);
        EXPECT_TENSOR_NEAR(encoder(source, source_mask).output,
                           encoder(source.unsqueeze(0), source_mask).output[0], 1e-12);
        const auto target_mask = of(which, kT, kT), memory_mask = of(which, kT, kS);
        EXPECT_TENSOR_NEAR(
            decoder(target, source, target_mask, memory_mask).output,
            decoder(target.unsqueeze(0), source.unsqueeze(0), target_mask, memory_mask).output[0],
            1e-12);
      }
    }
  }
}

TEST(TorchStacks, WithoutBiasTheyAgreeWithTheOracleAndTheNormsKeepTheirs) {
  for (const auto order : kOrders) {
    auto encoder = prepared(TransformerEncoderLayer(layer_sizes(order).bias(false)));
    auto decoder = prepared(TransformerDecoderLayer(layer_sizes(order).bias(false)));
    for (const auto& names :
         {encoder->named_parameters().keys(), decoder->named_parameters().keys()}) {
      for (const auto& name : names) {
        EXPECT_TRUE(!name.ends_with(".bias") || name.ends_with("layer_norm.bias")) << name;
      }
    }
    const auto source = normal({kB, kS, kE}), target = normal({kB, kT, kE});
    const auto real = torch::rand({kB, kS}) < 0.7;
    const auto padding = AttentionMask::padding(real);
    const oracle::Mask meaning{real.view({kB, 1, 1, kS}), {}};
    const oracle::LayerForm form{kH, order == NormOrder::kPre};
    expect_within(encoder(source, padding).output,
                  oracle::encoder_layer(source, oracle::weights_of(*encoder), form, meaning),
                  1e-11);
    expect_within(
        decoder(target, source, AttentionMask(), padding).output,
        oracle::decoder_layer(target, source, oracle::weights_of(*decoder), form, {}, meaning),
        1e-11);
  }
}

TEST(TorchStacks, TrainingWithoutDropoutIsEvaluationWithoutGradients) {
  for (const auto order : kOrders) {
    for (const bool bias : {true, false}) {
      auto encoder = prepared(TransformerEncoder(layer_sizes(order).bias(bias), 2));
      auto decoder = prepared(TransformerDecoder(layer_sizes(order).bias(bias), 2));
      const auto source = normal({kB, kS, kE}), target = normal({kB, kT, kE});
      const auto lengths = AttentionMask::key_lengths(torch::tensor({kS, int64_t{2}}));
      const auto run = [&] {
        const auto memory = encoder(source, lengths).output;
        return decoder(target, memory, AttentionMask(), lengths).output;
      };
      const auto trained = run();
      encoder->eval();
      decoder->eval();
      {
        const torch::NoGradGuard no_grad;
        expect_within(run(), trained, 1e-12);
      }
      const torch::InferenceMode inference;
      expect_within(run(), trained, 1e-12);
    }
  }
}

TEST(TorchStacks, EveryDropoutOfADecoderIsForTrainingOnly) {
  const auto target = normal({kB, kT, kE}), memory = normal({kB, kS, kE});
  for (const auto& options : {layer_sizes().dropout(0.5), layer_sizes().attention_dropout(0.5),
                              layer_sizes().activation_dropout(0.5)}) {
    auto layer = prepared(TransformerDecoderLayer(options));
    const auto first = layer(target, memory).output, second = layer(target, memory).output;
    EXPECT_GT((first - second).abs().max().item<double>(), 0.0);
    layer->eval();
    EXPECT_TENSOR_EQUAL(layer(target, memory).output, layer(target, memory).output);
  }
}

TEST(TorchStacks, LongSentencesWithPaddingAreAsWithoutIt) {
  const torch::NoGradGuard no_grad;
  auto encoder = prepared(TransformerEncoder(
      TransformerLayerOptions(8, 2).feed_forward_dim(kF).dropout(0.0).activation(Activation::kGelu),
      2));
  const std::vector<std::vector<int64_t>> batches = {
      {2, 1, 1, 2}, {100, 98, 90}, {1040, 1024, 1031}};
  for (const auto& batch : batches) {  // the length with padding, then those of the sentences
    const std::vector<int64_t> lengths(batch.begin() + 1, batch.end());
    const auto x = normal({static_cast<int64_t>(lengths.size()), batch[0], 8});
    const auto padded = encoder(x, AttentionMask::key_lengths(torch::tensor(lengths))).output;
    for (size_t i = 0; i < lengths.size(); ++i) {
      const auto sentence = static_cast<int64_t>(i);
      SCOPED_TRACE(testing::Message() << lengths[i] << " of " << batch[0]);
      expect_within(padded[sentence].narrow(0, 0, lengths[i]),
                    encoder(x[sentence].narrow(0, 0, lengths[i])).output, 1e-11);
    }
  }
}

TEST(TorchStacks, APaddedBatchIsLearnedAndPaddingGetsNoGradient) {
  constexpr int64_t kReal = kS - 2;
  for (const bool causal : {false, true}) {
    TransformerEncoder encoder(layer_sizes().activation(Activation::kGelu), 2);
    encoder->to(torch::kDouble);
    const auto x = normal({kB, kS, kE}).requires_grad_(), wanted = normal({kB, kReal, kE});
    auto mask = AttentionMask::key_lengths(torch::tensor({kReal, kReal}));
    if (causal) mask = AttentionMask::causal() & mask;
    const auto loss = [&] {
      return torch::mse_loss(encoder(x, mask).output.narrow(1, 0, kReal), wanted);
    };
    torch::optim::SGD optimizer(encoder->parameters(), torch::optim::SGDOptions(0.05));
    const auto before = loss().item<double>();
    for (int step = 0; step < 10; ++step) {
      optimizer.zero_grad();
      loss().backward();
      optimizer.step();
    }
    const auto after = loss();
    EXPECT_LT(after.item<double>(), before);
    EXPECT_GT(x.grad().narrow(1, 0, kReal).abs().max().item<double>(), 0.0);
    const auto of_padding = x.grad().narrow(1, kReal, kS - kReal);
    EXPECT_TENSOR_EQUAL(of_padding, torch::zeros_like(of_padding));
    encoder->eval();
    expect_within(loss(), after, 1e-12);
  }
}

// The output and every gradient of a module, given inputs and an output's gradient whose last axis
// has this stride.
template <typename Module, typename Forward>
std::vector<NamedTensor> results_of(Module& module, const std::vector<torch::Tensor>& inputs,
                                    const Forward& forward, int64_t stride) {
  const auto strided = [&](const torch::Tensor& x) {
    return x.repeat_interleave(stride, -1).slice(-1, 0, stride * x.size(-1), stride);
  };
  std::vector<torch::Tensor> given;
  for (const auto& input : inputs) given.push_back(strided(input).detach().requires_grad_());
  module->zero_grad();
  const auto output = forward(given);
  const auto gradient = torch::arange(output.numel(), torch::kDouble).cos().view(output.sizes());
  output.backward(strided(gradient));
  std::vector<NamedTensor> results{{"output", output.detach()}};
  for (size_t i = 0; i < given.size(); ++i) {
    results.push_back({"input " + std::to_string(i), given[i].grad().clone()});
  }
  for (const auto& parameter : module->named_parameters()) {
    results.push_back({parameter.key(), parameter.value().grad().clone()});
  }
  return results;
}

template <typename Module, typename Forward>
void expect_strides_do_not_matter(Module module, const std::vector<torch::Tensor>& inputs,
                                  const Forward& forward) {
  const auto expected = results_of(module, inputs, forward, 1);
  const auto actual = results_of(module, inputs, forward, 2);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(expected[i].name);
    EXPECT_TENSOR_NEAR(actual[i].tensor, expected[i].tensor, 1e-12);
  }
}

TEST(TorchStacks, InputsThatAreNotContiguousGiveTheSameGradients) {
  using Inputs = std::vector<torch::Tensor>;
  const auto source = normal({kB, kS, kE}), target = normal({kB, kT, kE});
  const auto lengths = AttentionMask::key_lengths(torch::tensor({kS, int64_t{2}}));
  auto attention = prepared(
      MultiHeadAttention(MultiHeadAttentionOptions(kE, kH).add_bias_kv(true).add_zero_attn(true)));
  expect_strides_do_not_matter(attention, {target, source, source}, [&](const Inputs& in) {
    return attention(in[0], in[1], in[2], lengths).output;
  });
  for (const auto order : kOrders) {
    auto encoder = prepared(TransformerEncoder(layer_sizes(order), 2));
    expect_strides_do_not_matter(encoder, {source},
                                 [&](const Inputs& in) { return encoder(in[0], lengths).output; });
    auto decoder = prepared(TransformerDecoder(layer_sizes(order), 2));
    expect_strides_do_not_matter(decoder, {target, source}, [&](const Inputs& in) {
      return decoder(in[0], in[1], AttentionMask(), lengths).output;
    });
  }
}

template <typename Module>
void expect_zero_gradients(const Module& module) {
  for (const auto& parameter : module->named_parameters()) {
    SCOPED_TRACE(parameter.key());
    EXPECT_TENSOR_EQUAL(parameter.value().grad(), torch::zeros_like(parameter.value()));
  }
}

TEST(TorchStacks, ABatchOfNothingGivesNothingAndZeroGradients) {
  for (const bool training : {true, false}) {
    const auto source = normal({0, kS, kE}).requires_grad_();
    const auto target = normal({0, kT, kE}).requires_grad_();
    auto attention = prepared(MultiHeadAttention(kE, kH));
    const auto [output, weights] =
        attention(target, source, source, AttentionMask(), WeightsRequest::kPerHead);
    EXPECT_EQ(output.sizes(), target.sizes());
    EXPECT_EQ(weights.sizes(), (std::vector<int64_t>{0, kH, kT, kS}));
    output.sum().backward();
    expect_zero_gradients(attention);
    for (const auto order : kOrders) {
      auto encoder = prepared(TransformerEncoder(layer_sizes(order).dropout(0.1), 6));
      auto decoder = prepared(TransformerDecoder(layer_sizes(order).dropout(0.1), 6));
      encoder->train(training);
      decoder->train(training);
      const auto memory = encoder(source).output;
      const auto result = decoder(target, memory).output;
      EXPECT_EQ(memory.sizes(), source.sizes());
      EXPECT_EQ(result.sizes(), target.sizes());
      result.sum().backward();
      expect_zero_gradients(encoder);
      expect_zero_gradients(decoder);
    }
    EXPECT_EQ(source.grad().sizes(), source.sizes());
    EXPECT_EQ(target.grad().sizes(), target.sizes());
  }
}

// ---- Transformer ----

TEST(TorchTransformer, EveryMaskAtOnceAgreesWithTorch) {
  for (const auto& precision : kPrecisions) {
    const auto dtype = precision.dtype;
    auto theirs =
        prepared(torch::nn::Transformer(
                     torch::nn::TransformerOptions(kE, kH, 2, 1).dim_feedforward(kF).dropout(0.0)),
                 dtype);
    auto ours = from_torch(theirs);
    const auto leaf = [&](int64_t length) {
      return normal({kRows, length, kE}, dtype).requires_grad_();
    };
    const auto twin = [](const torch::Tensor& x) { return x.detach().clone().requires_grad_(); };
    const auto source = leaf(kSource), target = leaf(kTarget);
    const auto source2 = twin(source), target2 = twin(target);
    const auto source_ignore = ignored_keys(kSource), target_ignore = ignored_keys(kTarget);
    auto memory_ignore = torch::zeros({kRows, kSource}, torch::kBool);
    memory_ignore[0][1].fill_(true);
    const auto source_bias = normal({kSource, kSource}, dtype);
    const auto memory_bias = normal({kTarget, kSource}, dtype);

    const auto memory = ours.encoder(source, functional::mask_from_torch(source_bias) &
                                                 functional::padding_from_torch(source_ignore))
                            .output;
    const auto actual = ours.decoder(target, memory, functional::padding_from_torch(target_ignore),
                                     functional::mask_from_torch(memory_bias) &
                                         functional::padding_from_torch(memory_ignore))
                            .output;
    const auto expected = theirs
                              ->forward(source2.transpose(0, 1), target2.transpose(0, 1),
                                        source_bias, causal_bias(kTarget, dtype), memory_bias,
                                        source_ignore, target_ignore, memory_ignore)
                              .transpose(0, 1);
    expect_within(actual, expected, precision.tolerance);

    const auto weights =
        torch::arange(actual.numel(), torch::kDouble).cos().view(actual.sizes()).to(dtype);
    (actual * weights).sum().backward();
    (expected * weights).sum().backward();
    // PyTorch's tests compare gradients in float64 alone, and to 1e-3.
    EXPECT_TENSOR_NEAR(source.grad(), source2.grad(), 10.0 * precision.tolerance);
    EXPECT_TENSOR_NEAR(target.grad(), target2.grad(), 10.0 * precision.tolerance);
  }
}

TEST(TorchTransformer, MasksOfOtherSizesAreRefused) {
  TransformerEncoder encoder(layer_sizes(), 1);
  TransformerDecoder decoder(layer_sizes(), 1);
  const auto source = torch::zeros({kB, kS, kE}), target = torch::zeros({kB, kT, kE});
  const auto none = AttentionMask();
  const auto padding = [](at::IntArrayRef sizes) {
    return AttentionMask::padding(may_attend(sizes));
  };
  EXPECT_THROW_MESSAGE(encoder(source, may_attend({kS + 1, kS + 1})), c10::Error,
                       "scaled_dot_product_attention: expected mask to broadcast to [2, 4, 5, 5], "
                       "got [6, 6]");
  EXPECT_THROW_MESSAGE(decoder(target, source, may_attend({kT + 1, kT + 1})), c10::Error,
                       "scaled_dot_product_attention: expected mask to broadcast to [2, 4, 3, 3], "
                       "got [4, 4]");
  EXPECT_THROW_MESSAGE(decoder(target, source, none, may_attend({kT + 1, kS + 1})), c10::Error,
                       "scaled_dot_product_attention: expected mask to broadcast to [2, 4, 3, 5], "
                       "got [4, 6]");
  EXPECT_THROW_MESSAGE(encoder(source, padding({7, kS + 1})), c10::Error,
                       "scaled_dot_product_attention: expected padding mask of shape [2, 5], got "
                       "[7, 6]");
  EXPECT_THROW_MESSAGE(decoder(target, source, padding({7, kT + 1})), c10::Error,
                       "scaled_dot_product_attention: expected padding mask of shape [2, 3], got "
                       "[7, 4]");
  EXPECT_THROW_MESSAGE(decoder(target, source, none, padding({7, kS + 1})), c10::Error,
                       "scaled_dot_product_attention: expected padding mask of shape [2, 5], got "
                       "[7, 6]");
}

// ---- Printing ----

std::string printed(const torch::nn::Module& module) {
  std::ostringstream stream;
  stream << module;
  return stream.str();
}

TEST(TorchPrinting, AModuleNamesItselfItsSizesAndItsParts) {
  EXPECT_EQ(printed(*MultiHeadAttention(MultiHeadAttentionOptions(8, 2).key_dim(5).dropout(0.5))),
            "attend::MultiHeadAttention(embed_dim=8, num_heads=2, dropout=0.5, key_dim=5)(\n"
            "  (k_proj): torch::nn::Linear(in_features=5, out_features=8, bias=true)\n"
            "  (v_proj): torch::nn::Linear(in_features=8, out_features=8, bias=true)\n"
            "  (q_proj): torch::nn::Linear(in_features=8, out_features=8, bias=true)\n"
            "  (out_proj): torch::nn::Linear(in_features=8, out_features=8, bias=true)\n"
            ")");
  const auto starts = [](const torch::nn::Module& module, const std::string& wanted) {
    EXPECT_EQ(printed(module).substr(0, wanted.size()), wanted);
  };
  const std::string layer = "(embed_dim=24, num_heads=4, feed_forward_dim=10)(\n";
  starts(*TransformerEncoderLayer(layer_sizes()),
         "attend::TransformerEncoderLayer" + layer +
             "  (self_attn): attend::MultiHeadSelfAttention(embed_dim=24, num_heads=4, dropout=0)");
  starts(*TransformerDecoderLayer(layer_sizes()), "attend::TransformerDecoderLayer" + layer);
  starts(*TransformerEncoder(layer_sizes(), 2),
         "attend::TransformerEncoder(num_layers=2)(\n"
         "  (layers): torch::nn::ModuleList(\n"
         "    (0): attend::TransformerEncoderLayer(embed_dim=24,");
  starts(*TransformerDecoder(layer_sizes(), 2),
         "attend::TransformerDecoder(num_layers=2)(\n"
         "  (layers): torch::nn::ModuleList(\n"
         "    (0): attend::TransformerDecoderLayer(embed_dim=24,");
}

}  // namespace
}  // namespace attend::torch_behaviours_test
