// Models, decoding and folders on a device: with the numbers of the CPU.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/models/vision_transformer.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::device_models_test {
namespace {

constexpr int kVocab = 13, kPad = 12;

class DeviceModels : public testing::TestWithParam<torch::DeviceType> {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(GetParam())) GTEST_SKIP() << why;
  }

  static std::vector<std::pair<std::string, std::shared_ptr<TranslationModel>>> models() {
    const Seq2SeqOptions small(kVocab, kVocab, 8, 2, 2);
    std::vector<std::pair<std::string, std::shared_ptr<TranslationModel>>> all{
        {"Seq2Seq", Seq2Seq(small).ptr()},
        {"learned positions, own output layer", Seq2Seq(Seq2SeqOptions(small)
                                                            .positions(PositionKind::kLearned)
                                                            .share_embeddings(false)
                                                            .tie_output(false))
                                                    .ptr()},
        {"RecurrentSeq2Seq", RecurrentSeq2Seq(kVocab, kVocab, 6).ptr()}};
    for (auto& [name, model] : all) placed(model->module(), torch::kCPU);
    return all;
  }

  static void placed(torch::nn::Module& module, torch::Device device) {
    if (device.is_cpu()) testing_support::randomise(module);
    module.to(device, torch::kDouble);
    module.eval();
  }

  static torch::Tensor sources() {
    return torch::tensor({{2, 3, 4, 5, 0}, {6, 7, 0, kPad, kPad}, {9, 8, 7, 0, kPad}});
  }
  static torch::Tensor targets() {
    return torch::tensor({{kPad, 2, 9, 8}, {kPad, 7, 3, 2}, {kPad, 5, 4, kPad}});
  }
  torch::Tensor there(const torch::Tensor& x) const { return x.to(GetParam()); }

  // The gradients of a module's parameters, moved to the CPU.
  static std::vector<torch::Tensor> gradients_of(const torch::nn::Module& module) {
    std::vector<torch::Tensor> gradients;
    for (const auto& parameter : module.parameters()) {
      const auto& gradient = parameter.grad();
      gradients.push_back(gradient.defined() ? gradient.cpu().clone() : torch::zeros({1}));
    }
    return gradients;
  }

  // Runs `work` with the model on the CPU and on the device, and compares the numbers.
  void expect_same(const std::string& name, torch::nn::Module& module,
                   const std::function<torch::Tensor(torch::Device)>& work) const {
    module.zero_grad();
    const auto expected = work(torch::kCPU);
    const auto gradients = gradients_of(module);
    module.zero_grad();
    placed(module, GetParam());
    const auto got = work(GetParam());
    EXPECT_EQ(got.device().type(), GetParam()) << name;
    EXPECT_TENSOR_NEAR(got, expected, 1e-12) << name;
    const auto found = gradients_of(module);
    for (size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_TENSOR_NEAR(found[i], gradients[i], 1e-12) << name << ", parameter " << i;
    }
    module.zero_grad();
    module.to(torch::kCPU);
  }
};

INSTANTIATE_TEST_SUITE_P(Pretend, DeviceModels, testing::Values(torch::kPrivateUse1));
INSTANTIATE_TEST_SUITE_P(Cuda, DeviceModels, testing::Values(torch::kCUDA));

TEST_P(DeviceModels, OutputsAndGradientsAreTheCpus) {
  for (const auto& [name, model] : models()) {
    expect_same(name, model->module(), [&, m = model](torch::Device device) {
      return m->forward(sources().to(device), targets().to(device));
    });
    expect_same(name + ", loss", model->module(), [&, m = model](torch::Device device) {
      const auto target = targets().to(device);
      const auto loss = m->loss_sum(sources().to(device), target, target, 0.1);
      loss.backward();
      return loss.detach();
    });
    model->module().to(torch::kCPU);
  }
  CausalLM lm(CausalLMOptions(kVocab, 8, 2, 2).max_length(20));
  placed(*lm, torch::kCPU);
  expect_same("CausalLM", *lm, [&](torch::Device device) {
    const auto logits = lm(targets().to(device));
    logits.cos().sum().backward();
    return logits.detach();
  });
  VisionTransformer vit(VisionTransformerOptions(8, 4, 3, 12, 3, 2));
  placed(*vit, torch::kCPU);
  const auto images = torch::randn({2, 3, 8, 8}, torch::kDouble);
  expect_same("VisionTransformer", *vit, [&](torch::Device device) {
    const auto logits = vit(images.to(device));
    logits.cos().sum().backward();
    return logits.detach();
  });
}

TEST_P(DeviceModels, BeamSearchFindsWhatItFindsOnTheCpu) {
  const BeamSearchOptions options{.beam_size = 3, .n_best = 3, .attention = true};
  for (const auto& [name, model] : models()) {
    const auto expected = beam_search(*model, sources(), options);
    placed(model->module(), GetParam());
    const auto got = beam_search(*model, there(sources()), options);
    ASSERT_EQ(got.size(), expected.size()) << name;
    for (size_t b = 0; b < got.size(); ++b) {
      ASSERT_EQ(got[b].size(), expected[b].size()) << name;
      for (size_t n = 0; n < got[b].size(); ++n) {
        EXPECT_EQ(got[b][n].tokens, expected[b][n].tokens) << name;
        EXPECT_NEAR(got[b][n].score, expected[b][n].score, 1e-5) << name;
        EXPECT_TRUE(got[b][n].attention.is_cpu()) << name;
        EXPECT_TENSOR_NEAR(got[b][n].attention, expected[b][n].attention, 1e-5) << name;
      }
    }
  }
}

TEST_P(DeviceModels, SamplingDrawsFromTheDevicesGenerator) {
  CausalLM lm(CausalLMOptions(kVocab, 8, 2, 2).max_length(20));
  placed(*lm, torch::kCPU);
  const auto greedy = sample(*lm, sources(), {.top_k = 1});
  placed(*lm, GetParam());
  const auto prompt = there(sources());
  const auto there_too = sample(*lm, prompt, {.top_k = 1});
  for (size_t i = 0; i < greedy.size(); ++i) EXPECT_EQ(there_too[i].tokens, greedy[i].tokens);

  const auto draw = [&](const std::optional<torch::Generator>& generator) {
    std::vector<std::vector<int64_t>> tokens;
    for (auto& one : sample(*lm, prompt, {}, generator)) tokens.push_back(std::move(one.tokens));
    return tokens;
  };
  auto own = at::globalContext().defaultGenerator(torch::Device(GetParam())).clone();
  own.set_current_seed(5);
  const auto first = draw(own);
  EXPECT_NE(draw(own), first);
  own.set_current_seed(5);
  EXPECT_EQ(draw(own), first);
  torch::manual_seed(5);
  const auto by_default = draw(std::nullopt);
  torch::manual_seed(5);
  EXPECT_EQ(draw(std::nullopt), by_default);
}

TEST_P(DeviceModels, FoldersKeepEveryBit) {
  for (const auto& [name, model] : models()) {
    const testing_support::TemporaryFolder folder;
    placed(model->module(), GetParam());
    save_model(folder.path(), *model);
    const auto loaded = load_translation_model(folder.path());
    const auto expected = model->module().named_parameters();
    for (const auto& parameter : loaded->module().named_parameters()) {
      EXPECT_TRUE(parameter.value().is_cpu()) << name;
      EXPECT_TENSOR_EQUAL(parameter.value().to(torch::kDouble), expected[parameter.key()])
          << name << ", " << parameter.key();
    }
  }
}

}  // namespace
}  // namespace attend::device_models_test
