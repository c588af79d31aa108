#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "support/tensor_assert.h"

namespace attend::padding_row_test {
namespace {

// 15 tokens of the source, the first 10 of them the target's, padding last.
constexpr int kSource = 15, kTarget = 10, kPad = kSource - 1;

Seq2SeqOptions shared_options() {
  return Seq2SeqOptions(kSource, kTarget, 12, 3, 1)
      .share_embeddings(true)
      .pad_id(kPad)
      .start_id(kPad);
}

torch::Tensor sources() {
  return torch::tensor({{2, 11, 4, 5, 0}, {6, 12, 0, kPad, kPad}}, torch::kLong);
}
torch::Tensor targets() {
  return torch::tensor({{kPad, 2, 9, 8}, {kPad, 7, kPad, kPad}}, torch::kLong);
}
torch::Tensor labels() { return torch::tensor({{2, 9, 8, 0}, {7, 0, kPad, kPad}}, torch::kLong); }

struct Case {
  std::string name;
  std::shared_ptr<TranslationModel> model;
  int64_t pad;
};

// Every model with its tables in float64.
std::vector<Case> cases() {
  torch::manual_seed(3);
  std::vector<Case> all{
      {"one vocabulary", Seq2Seq(kSource, kSource, 12, 3, 1).ptr(), kPad},
      {"fewer target tokens", Seq2Seq(shared_options()).ptr(), kPad},
      {"padding among the target's",
       Seq2Seq(shared_options().tgt_vocab(kSource - 1).pad_id(2).start_id(2)).ptr(), 2},
      {"own output layer",
       Seq2Seq(Seq2SeqOptions(kSource, kSource, 12, 3, 1).tie_output(false)).ptr(), kPad},
      {"separate tables",
       Seq2Seq(Seq2SeqOptions(kSource, kSource, 12, 3, 1).share_embeddings(false)).ptr(), kPad},
      {"recurrent", RecurrentSeq2Seq(kSource, kSource, 6).ptr(), kPad},
      {"recurrent, fewer target tokens",
       RecurrentSeq2Seq(RecurrentSeq2SeqOptions(kSource, kTarget, 6)
                            .share_embeddings(true)
                            .pad_id(kPad)
                            .start_id(kPad))
           .ptr(),
       kPad},
      {"recurrent, separate tables",
       RecurrentSeq2Seq(RecurrentSeq2SeqOptions(kSource, kSource, 6).share_embeddings(false)).ptr(),
       kPad}};
  for (auto& one : all) one.model->module().to(torch::kDouble);
  return all;
}

// The tables of words of a model.
std::vector<torch::Tensor> tables_of(torch::nn::Module& module) {
  std::vector<torch::Tensor> tables;
  for (const auto& child : module.modules(/*include_self=*/false)) {
    if (const auto* embedding = child->as<torch::nn::Embedding>())
      tables.push_back(embedding->weight);
  }
  return tables;
}

torch::Tensor with_pad(const torch::Tensor& ids, int64_t pad) {
  return ids.where(ids != kPad, pad);
}

torch::Tensor loss_of(const Case& one) {
  return one.model->loss_sum(with_pad(sources(), one.pad), with_pad(targets(), one.pad),
                             with_pad(labels(), one.pad), /*label_smoothing=*/0.1);
}

// By the optimiser's way to gradients, and by that of threads which share a batch.
std::vector<torch::Tensor> gradients_of(const Case& one, bool by_backward) {
  auto tables = tables_of(one.model->module());
  if (!by_backward) return torch::autograd::grad({loss_of(one)}, tables);
  one.model->module().zero_grad();
  loss_of(one).backward();
  std::vector<torch::Tensor> gradients;
  for (const auto& table : tables) gradients.push_back(table.grad().clone());
  return gradients;
}

TEST(PaddingRow, IsZeroInANewModelAndInNoOtherRow) {
  for (const auto& one : cases()) {
    const auto tables = tables_of(one.model->module());
    ASSERT_FALSE(tables.empty()) << one.name;
    for (const auto& table : tables) {
      const auto zero = table.eq(0).all(1).nonzero().squeeze(1);
      EXPECT_TENSOR_EQUAL(zero, torch::full({1}, one.pad, torch::kLong)) << one.name;
    }
  }
}

// A row of 1e-200 is no row of zeros, but computes as one.
TEST(PaddingRow, OfZerosGetsNoGradientAndAnyOtherDoes) {
  for (const auto& one : cases()) {
    one.model->module().eval();
    for (const bool by_backward : {true, false}) {
      const auto zero = gradients_of(one, by_backward);
      {
        const torch::NoGradGuard no_grad;
        for (auto& table : tables_of(one.model->module())) table.select(0, one.pad).fill_(1e-200);
      }
      const auto learning = gradients_of(one, by_backward);
      double learnt = 0;
      for (size_t i = 0; i < zero.size(); ++i) {
        EXPECT_TENSOR_EQUAL(zero[i].select(0, one.pad), torch::zeros_like(zero[i].select(0, 0)))
            << one.name;
        learnt += learning[i].select(0, one.pad).abs().sum().item<double>();
        auto others = learning[i].clone();
        others.select(0, one.pad).zero_();
        EXPECT_TENSOR_EQUAL(zero[i], others) << one.name;
        EXPECT_GT(others.abs().sum().item<double>(), 0.0) << one.name;
      }
      EXPECT_GT(learnt, 1e-3) << one.name;
      const torch::NoGradGuard no_grad;
      for (auto& table : tables_of(one.model->module())) table.select(0, one.pad).zero_();
    }
  }
}

TEST(PaddingRow, OfACopyObeysToo) {
  for (auto& one : cases()) {
    std::shared_ptr<torch::nn::Module> copy = one.model->module().clone();
    copy = copy->clone();  // of a copy too
    auto* model = dynamic_cast<TranslationModel*>(copy.get());
    ASSERT_NE(model, nullptr);
    const Case copied{one.name, {copy, model}, one.pad};
    for (const auto& gradient : gradients_of(copied, /*by_backward=*/true)) {
      EXPECT_EQ(gradient.select(0, one.pad).abs().sum().item<double>(), 0.0) << one.name;
    }
  }
}

TEST(PaddingRow, SecondDerivativesGoThroughIt) {
  auto one = cases().front();
  one.model->module().eval();
  auto tables = tables_of(one.model->module());
  const auto gradient = torch::autograd::grad({loss_of(one)}, tables, {}, /*retain_graph=*/true,
                                              /*create_graph=*/true);
  const auto second = torch::autograd::grad({gradient[0].square().sum()}, tables);
  EXPECT_GT(second[0].abs().sum().item<double>(), 0.0);
  EXPECT_EQ(second[0].select(0, one.pad).abs().sum().item<double>(), 0.0);
}

TEST(PaddingRow, KeepsNoModelAlive) {
  auto model = Seq2Seq(shared_options());
  const c10::weak_intrusive_ptr<c10::TensorImpl> table(
      model->model->shared->weight.getIntrusivePtr());
  EXPECT_FALSE(table.expired());
  model = nullptr;
  EXPECT_TRUE(table.expired());
}

// A model with the padding after the target's pieces, and one with the same weights that has it last.
class PaddingLast : public testing::Test {
 protected:
  static constexpr int kOldPad = kTarget;

  PaddingLast() {
    torch::manual_seed(5);
    for (auto& parameter : last_->parameters()) torch::nn::init::normal_(parameter, 0.0, 0.4);
    const torch::NoGradGuard no_grad;
    auto to = among_->named_parameters();
    for (const auto& item : last_->named_parameters()) {
      if (item.key() == "final_logits_bias") {
        to[item.key()].fill_(-std::numeric_limits<float>::infinity());
        to[item.key()].narrow(1, 0, kTarget).copy_(item.value());
      } else if (item.key() == "model.shared.weight") {
        to[item.key()].copy_(item.value().index_select(0, order()));
      } else {
        to[item.key()].copy_(item.value());
      }
    }
    last_->eval();
    among_->eval();
  }

  // The last id moves behind the target's pieces.
  static torch::Tensor order() {
    return torch::tensor({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 10, 11, 12, 13}, torch::kLong);
  }
  static torch::Tensor among_ids(const torch::Tensor& ids) {
    return order().argsort().index_select(0, ids.flatten()).view_as(ids);
  }

  Seq2Seq last_{shared_options()};
  Seq2Seq among_{shared_options().tgt_vocab(kTarget + 1).pad_id(kOldPad).start_id(kOldPad)};
};

TEST_F(PaddingLast, ComputesTheSame) {
  const auto logits = last_(sources(), targets());
  EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{2, 4, kTarget}));
  EXPECT_TENSOR_NEAR(
      logits, among_(among_ids(sources()), among_ids(targets())).narrow(2, 0, kTarget), 1e-6);
  EXPECT_NEAR(last_->loss_sum(sources(), targets(), labels()).item<double>(),
              among_->loss_sum(among_ids(sources()), among_ids(targets()), among_ids(labels()))
                  .item<double>(),
              1e-5);
}

TEST_F(PaddingLast, IsNeverChosenThoughTheLogitsDoNotReachIt) {
  const torch::NoGradGuard no_grad;
  for (const int64_t beam : {1, 3}) {
    const auto found = beam_search(*last_, sources(), {.beam_size = beam, .max_length_extra = 4});
    const auto expected =
        beam_search(*among_, among_ids(sources()), {.beam_size = beam, .max_length_extra = 4});
    for (size_t b = 0; b < 2; ++b) {
      EXPECT_EQ(found[b].front().tokens, expected[b].front().tokens) << beam;
      EXPECT_NEAR(found[b].front().log_probability, expected[b].front().log_probability, 1e-5);
    }
  }
  for (const auto& drawn : sample(*last_, sources(), {.max_new_tokens = 8})) {
    for (const auto token : drawn.tokens) EXPECT_LT(token, kTarget);
  }
}

TEST_F(PaddingLast, AndTheStartAreTheOnlyOthersThatADecoderReads) {
  EXPECT_THROW_MESSAGE(
      last_(sources(), torch::full({2, 4}, kTarget, torch::kLong)), c10::IndexError,
      "Seq2Seq: expected target in [0, 10), the vocabulary, or start_id or pad_id, got 10");
  RecurrentSeq2Seq recurrent(RecurrentSeq2SeqOptions(kSource, kTarget, 6)
                                 .share_embeddings(true)
                                 .pad_id(kPad)
                                 .start_id(13));
  EXPECT_THROW_MESSAGE(recurrent(sources(), torch::full({2, 4}, kTarget, torch::kLong)),
                       c10::IndexError,
                       "RecurrentSeq2Seq: expected target in [0, 10), the vocabulary, or start_id "
                       "or pad_id, got 10");
  recurrent(sources(), torch::full({2, 4}, 13, torch::kLong));
}

TEST(PaddingRow, IsARowOfEveryTable) {
  EXPECT_THROW_MESSAGE(Seq2Seq(shared_options().pad_id(kSource)), c10::ValueError,
                       "Seq2Seq: expected pad_id in [0, 15), got 15");
  EXPECT_THROW_MESSAGE(Seq2Seq(shared_options().start_id(kSource)), c10::ValueError,
                       "Seq2Seq: expected start_id in [0, 15), got 15");
  EXPECT_THROW_MESSAGE(Seq2Seq(shared_options().share_embeddings(false)), c10::ValueError,
                       "Seq2Seq: expected pad_id in [0, 10), got 14");
  EXPECT_THROW_MESSAGE(
      RecurrentSeq2Seq(RecurrentSeq2SeqOptions(kSource, kTarget, 6).pad_id(kTarget)),
      c10::ValueError, "RecurrentSeq2Seq: expected pad_id in [0, 10), got 10");
}

}  // namespace
}  // namespace attend::padding_row_test
