#include "attend/training/muon.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attend/modules/positional_encoding.h"
#include "support/golden.h"
#include "support/tensor_assert.h"
#include "training/orthogonalized.h"

namespace attend::muon_test {
namespace {

using detail::orthogonalized;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// What a model has: an embedding, matrices of several shapes, vectors.
struct NetImpl : torch::nn::Module {
  NetImpl() {
    torch::manual_seed(1);
    words = register_module("words", torch::nn::Embedding(7, 4));
    up = register_module("up", torch::nn::Linear(4, 6));
    down = register_module("down", torch::nn::Linear(6, 4));
    positions = register_module(
        "positions",
        PositionalEncoding(PositionalEncodingOptions(4, 5).kind(PositionKind::kLearned)));
    lm_head = register_module("lm_head", torch::nn::Linear(4, 7));
    final_logits_bias = register_parameter("final_logits_bias", torch::zeros({1, 7}));
    to(torch::kDouble);
  }
  torch::Tensor forward(const torch::Tensor& ids) {
    const auto x = positions(words(ids).unsqueeze(0));
    return (lm_head(down(torch::tanh(up(x)))) + final_logits_bias).pow(2).sum();
  }
  torch::nn::Embedding words{nullptr};
  torch::nn::Linear up{nullptr}, down{nullptr}, lm_head{nullptr};
  PositionalEncoding positions{nullptr};
  torch::Tensor final_logits_bias;
};
TORCH_MODULE(Net);

void backward(Net& net, int64_t word) {
  net->zero_grad();
  net(torch::tensor({word, (word + 3) % 7}, torch::kLong)).backward();
}

// A module of the fixture's matrices alone.
struct MatricesImpl : torch::nn::Module {
  explicit MatricesImpl(const std::map<std::string, torch::Tensor>& golden) {
    for (const auto* name : {"wide", "tall", "square", "other_tall"}) {
      register_parameter(name, golden.at(std::string(name) + ".start").clone());
    }
  }
};
TORCH_MODULE(Matrices);

TEST(MuonGolden, AgreesWithPythonsOptimiser) {
  const auto golden = testing_support::load_golden("muon", "steps");
  Matrices matrices(golden);
  Muon muon(*matrices, {.momentum = 0.9}, {.weight_decay = 0.1});
  for (int step = 0; step < 4; ++step) {
    const auto end = "." + std::to_string(step);
    for (auto& item : matrices->named_parameters()) {
      item.value().mutable_grad() = golden.at(item.key() + ".gradient" + end);
    }
    muon.step(0.05);
    for (const auto& item : matrices->named_parameters()) {
      EXPECT_TENSOR_NEAR(item.value(), golden.at(item.key() + ".after" + end), 1e-12);
    }
  }
}

// x = U S V^T becomes U f(S) V^T, where f works on each singular value by itself.
TEST(Orthogonalized, KeepsSingularVectorsAndTakesSingularValuesToAboutOne) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{5, 9}, {9, 5}, {6, 6}, {2, 3, 4}}) {
    const auto [u, random, vh] =
        torch::linalg_svd(torch::randn(shape, torch::kDouble), /*full_matrices=*/false);
    const auto s = torch::linspace(0.3, 3.0, random.size(-1), torch::kDouble);
    const auto x = torch::matmul(u * s, vh);
    auto values = s / s.norm();
    for (int i = 0; i < 5; ++i) {
      values = 3.4445 * values - 4.7750 * values.pow(3) + 2.0315 * values.pow(5);
    }
    const auto expected = torch::matmul(u * values, vh);
    EXPECT_TENSOR_NEAR(orthogonalized(x), expected, 1e-9);
    EXPECT_GT(values.min().item<double>(), 0.5);
    EXPECT_LT(values.max().item<double>(), 1.3);
    EXPECT_TENSOR_NEAR(orthogonalized(x * 1000.0), expected, 1e-9);
  }
  EXPECT_TENSOR_EQUAL(orthogonalized(torch::zeros({3, 4})), torch::zeros({3, 4}));
}

TEST(Orthogonalized, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(orthogonalized(torch::zeros({3})), c10::Error,
                       "orthogonalized: expected [.., M, N], got [3]");
  EXPECT_THROW_MESSAGE(orthogonalized(torch::zeros({3, 4}), 0), c10::ValueError,
                       "orthogonalized: expected iterations > 0, got 0");
}

TEST(Muon, LeavesTablesVectorsAndTheOutputLayerToAdam) {
  Net ours, theirs;
  Muon muon(*ours);
  Adam adam(*theirs);
  for (int64_t i = 0; i < 3; ++i) {
    backward(ours, i);
    // The gradients of one model for both, so that only the rule differs.
    for (const auto& item : ours->named_parameters()) {
      theirs->named_parameters()[item.key()].mutable_grad() = item.value().grad().clone();
    }
    muon.step(0.01);
    adam.step(0.01);
    for (const auto& item : ours->named_parameters()) {
      const auto& name = item.key();
      const auto difference =
          (item.value() - theirs->named_parameters()[name]).abs().max().item<double>();
      if (name == "up.weight" || name == "down.weight") {
        EXPECT_GT(difference, 1e-4) << name;
      } else {
        EXPECT_EQ(difference, 0.0) << name;
      }
    }
  }
}

TEST(Muon, ASkippedStepChangesNothingWhateverTheGradient) {
  Net net;
  Muon muon(*net);
  backward(net, 1);
  muon.step(0.01);
  std::map<std::string, torch::Tensor> weights, state;
  for (const auto& item : net->named_parameters()) weights[item.key()] = item.value().clone();
  for (const auto& [name, tensor] : muon.state()) state[name] = tensor.clone();
  for (auto& parameter : net->parameters()) parameter.mutable_grad().fill_(kNaN);
  muon.step(0.01, /*skip=*/torch::ones({}));
  for (const auto& item : net->named_parameters()) {
    EXPECT_TENSOR_EQUAL(item.value(), weights.at(item.key()));
  }
  for (const auto& [name, tensor] : muon.state()) EXPECT_TENSOR_EQUAL(tensor, state.at(name));
  // And one that is not skipped changes what it would without the question.
  backward(net, 2);
  muon.step(0.01, torch::zeros({}));
  EXPECT_FALSE(torch::equal(net->up->weight, weights.at("up.weight")));
}

TEST(Muon, ParametersWithoutAGradientKeepTheirValue) {
  Net net;
  Muon muon(*net);
  backward(net, 1);
  net->down->weight.mutable_grad().reset();
  const auto down = net->down->weight.clone(), up = net->up->weight.clone();
  muon.step(0.01);
  EXPECT_TENSOR_EQUAL(net->down->weight, down);
  EXPECT_FALSE(torch::equal(net->up->weight, up));
}

TEST(Muon, AStateGoesOnWhereItStopped) {
  Net one, other;
  Muon first(*one), second(*other);
  for (int64_t i = 0; i < 3; ++i) {
    backward(one, i);
    first.step(0.01);
  }
  {
    const torch::NoGradGuard no_grad;
    for (const auto& item : one->named_parameters()) {
      other->named_parameters()[item.key()].copy_(item.value());
    }
  }
  second.load_state(first.state());
  for (auto* net : {&one, &other}) backward(*net, 4);
  first.step(0.01);
  second.step(0.01);
  for (const auto& item : one->named_parameters()) {
    EXPECT_TENSOR_EQUAL(other->named_parameters()[item.key()], item.value());
  }
  auto state = first.state();
  state.erase("momentum.up.weight");
  EXPECT_THROW_MESSAGE(
      second.load_state(state), c10::Error,
      "Optimizer: expected the state of its parameters, got \"momentum.up.weight\" is "
      "missing");
}

TEST(Muon, ErrorsNameTheOption) {
  Net net;
  EXPECT_THROW_MESSAGE(Muon(*net, {.momentum = 1.0}), c10::ValueError,
                       "Muon: expected 0 <= momentum < 1, got 1");
  EXPECT_THROW_MESSAGE(Muon(*net, {.iterations = 0}), c10::ValueError,
                       "Muon: expected iterations > 0, got 0");
  EXPECT_THROW_MESSAGE(Muon(*net, {.scale = 0.0}), c10::ValueError,
                       "Muon: expected scale > 0, got 0");
}

}  // namespace
}  // namespace attend::muon_test
