#include "attend/models/seq2seq.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/models/recurrent_seq2seq.h"
#include "support/autocast.h"
#include "support/tensor_assert.h"

namespace attend::seq2seq_test {
namespace {

constexpr int kVocab = 11, kPad = 10;

Seq2SeqOptions small() { return Seq2SeqOptions(kVocab, kVocab, 12, 3, 2).decoder_layers(1); }

using Attention = MultiHeadAttentionOptions;

// Layers of any kind, whose positions are the attention's.
Seq2SeqOptions with_layers(const TransformerLayerOptions& layer) {
  return Seq2SeqOptions(kVocab, kVocab, layer, 2).decoder_layers(1).positions(PositionKind::kNone);
}

TransformerLayerOptions llama_layer() {
  return TransformerLayerOptions(Attention(12, 3).num_kv_heads(1).rotary(RotaryOptions{}))
      .feed_forward(FeedForwardOptions(12, 20).gated(true).activation(Activation::kSwish))
      .norm(NormKind::kRms)
      .norm_order(NormOrder::kPre)
      .bias(false);
}

TransformerLayerOptions relative_bias_layer(bool bidirectional) {
  return TransformerLayerOptions(
      Attention(12, 3).relative_bias(RelativeBiasOptions{8, 6, bidirectional}));
}

TransformerLayerOptions every_other_variant() {
  return TransformerLayerOptions(Attention(12, 3)
                                     .qk_norm(true)
                                     .soft_cap(1.5)
                                     .scale(0.7)
                                     .sinks(true)
                                     .add_bias_kv(true)
                                     .add_zero_attn(true))
      .cross_attention(Attention(12, 6).num_kv_heads(2).qk_norm(true).soft_cap(2.5));
}

// Two sources of 5 and 3 real tokens, and targets of 4.
torch::Tensor sources() {
  return torch::tensor({{2, 3, 4, 5, 0}, {6, 7, 0, 10, 10}}, torch::kLong);
}

torch::Tensor targets() { return torch::tensor({{10, 2, 9, 8}, {10, 7, 7, 3}}, torch::kLong); }

template <typename Model>
Model in_float64(Model model) {
  torch::manual_seed(3);
  for (auto& parameter : model->parameters()) {
    const torch::NoGradGuard no_grad;
    parameter.normal_(0.0, 0.4);
  }
  model->to(torch::kDouble);
  model->eval();
  return model;
}

std::vector<std::pair<std::string, std::shared_ptr<TranslationModel>>> models() {
  return {
      {"post-norm", in_float64(Seq2Seq(small())).ptr()},
      {"pre-norm", in_float64(Seq2Seq(small().norm_order(NormOrder::kPre))).ptr()},
      {"separate embeddings, own output layer",
       in_float64(Seq2Seq(small().tgt_vocab(13).share_embeddings(false).tie_output(false))).ptr()},
      {"shared embeddings, fewer target tokens",
       in_float64(Seq2Seq(Seq2SeqOptions(15, kVocab, 12, 3, 2).share_embeddings(true))).ptr()},
      {"learned positions",
       in_float64(Seq2Seq(small().positions(PositionKind::kLearned).max_length(9))).ptr()},
      {"Llama's layers", in_float64(Seq2Seq(with_layers(llama_layer()))).ptr()},
      {"ALiBi",
       in_float64(Seq2Seq(with_layers(TransformerLayerOptions(Attention(12, 3).alibi(true)))))
           .ptr()},
      {"relative bias, each side its own",
       in_float64(
           Seq2Seq(
               with_layers(relative_bias_layer(true)).decoder_layer(relative_bias_layer(false))))
           .ptr()},
      {"window",
       in_float64(Seq2Seq(with_layers(TransformerLayerOptions(
                      Attention(12, 3).rotary(RotaryOptions{}).window(AttentionWindow{2, 1})))))
           .ptr()},
      {"every other variant", in_float64(Seq2Seq(with_layers(every_other_variant()))).ptr()},
      {"recurrent", in_float64(RecurrentSeq2Seq(kVocab, kVocab, 6)).ptr()},
      {"recurrent, shared embeddings, fewer target tokens",
       in_float64(RecurrentSeq2Seq(RecurrentSeq2SeqOptions(15, kVocab, 6).share_embeddings(true)))
           .ptr()},
      {"recurrent, separate embeddings",
       in_float64(RecurrentSeq2Seq(RecurrentSeq2SeqOptions(kVocab, 13, 6).tie_output(false)))
           .ptr()},
  };
}

TEST(TranslationModel, CachedStepsEqualTheFullPass) {
  for (const auto& [name, model] : models()) {
    const torch::NoGradGuard no_grad;
    const auto full = model->forward(sources(), targets());
    const auto state = model->start(sources());
    for (int64_t t = 0; t < targets().size(1); ++t) {
      const auto step = model->step(targets().select(1, t), *state);
      EXPECT_TENSOR_NEAR(step.logits, full.select(1, t), 1e-12) << name << ", step " << t;
    }
    EXPECT_EQ(state->position(), targets().size(1)) << name;
  }
}

TEST(TranslationModel, PaddingChangesNothing) {
  for (const auto& [name, model] : models()) {
    const torch::NoGradGuard no_grad;
    const auto together = model->forward(sources(), targets());
    const auto alone =
        model->forward(sources().narrow(0, 1, 1).narrow(1, 0, 3), targets().narrow(0, 1, 1));
    EXPECT_TENSOR_NEAR(together.narrow(0, 1, 1), alone, 1e-12) << name;
    // An explicit mask says what the pad id says.
    const auto mask = AttentionMask::padding(functional::padding_mask(sources(), kPad));
    EXPECT_TENSOR_EQUAL(model->forward(sources(), targets(), mask), together) << name;
  }
}

TEST(TranslationModel, ALaterTargetTokenChangesNoEarlierPrediction) {
  for (const auto& [name, model] : models()) {
    const torch::NoGradGuard no_grad;
    auto changed = targets();
    changed.select(1, 3).fill_(5);
    const auto before = model->forward(sources(), targets());
    const auto after = model->forward(sources(), changed);
    EXPECT_TENSOR_NEAR(before.narrow(1, 0, 3), after.narrow(1, 0, 3), 1e-12) << name;
    EXPECT_GT((before - after).abs().max().item<double>(), 1e-6) << name;
  }
}

TEST(TranslationModel, ReorderedRowsGoOnFromTheirOldPlaces) {
  for (const auto& [name, model] : models()) {
    const torch::NoGradGuard no_grad;
    // Each sentence with two rows, then the second sentence alone with its rows exchanged.
    const auto state = model->start(sources());
    model->step(torch::tensor({10, 10}, torch::kLong), *state);
    state->reorder(torch::tensor({0, 0, 1, 1}, torch::kLong));
    model->step(torch::tensor({1, 2, 3, 4}, torch::kLong), *state);
    state->reorder(torch::tensor({3, 2}, torch::kLong), torch::tensor({1}, torch::kLong));
    const auto step =
        model->step(torch::tensor({5, 6}, torch::kLong), *state, /*want_alignment=*/true);

    const auto source = sources().narrow(0, 1, 1);
    const auto first = model->forward(source, torch::tensor({{10, 4, 5}}, torch::kLong));
    const auto second = model->forward(source, torch::tensor({{10, 3, 6}}, torch::kLong));
    EXPECT_TENSOR_NEAR(step.logits[0], first[0][2], 1e-12) << name;
    EXPECT_TENSOR_NEAR(step.logits[1], second[0][2], 1e-12) << name;
    EXPECT_TENSOR_NEAR(step.alignment.sum(1), torch::ones({2}), 1e-6) << name;
    EXPECT_TENSOR_EQUAL(step.alignment.narrow(1, 3, 2),
                        torch::zeros_like(step.alignment.narrow(1, 3, 2)))
        << name << ": padding is attended to";
  }
}

// Products of 16 bits: off by some roundings, so by eight times as much with bfloat16 as with float16.
TEST(TranslationModel, UnderAutocastTheLossAndItsGradientAreThoseOfFloat32ButForRounding) {
  for (const auto& [name, translation_model] : models()) {
    auto& model = *translation_model;
    auto& module = dynamic_cast<torch::nn::Module&>(model);
    module.to(torch::kFloat);
    const auto parameters = module.parameters();
    const auto loss_and_gradient = [&](std::optional<torch::ScalarType> type) {
      const auto loss = [&] {
        std::optional<testing_support::CpuAutocast> autocast;
        if (type) autocast.emplace(*type);
        return model.loss_sum(sources(), targets(), targets(), 0.1);
      }();
      EXPECT_EQ(loss.scalar_type(), torch::kFloat);
      std::vector<torch::Tensor> all;
      for (const auto& gradient : torch::autograd::grad({loss}, parameters, {}, {}, false, true)) {
        if (gradient.defined()) all.push_back(gradient.flatten());
      }
      EXPECT_EQ(torch::cat(all).scalar_type(), torch::kFloat);
      return std::pair(loss.item<double>(), torch::cat(all));
    };
    const auto [loss, gradient] = loss_and_gradient(std::nullopt);
    for (const auto type : {torch::kBFloat16, torch::kHalf}) {
      SCOPED_TRACE(testing::Message() << name << ' ' << type);
      const double epsilon = type == torch::kHalf ? 0x1p-11 : 0x1p-8;
      const auto [narrow_loss, narrow_gradient] = loss_and_gradient(type);
      EXPECT_NE(narrow_loss, loss);
      EXPECT_NEAR(narrow_loss / loss, 1.0, 4 * epsilon);
      EXPECT_LT((narrow_gradient - gradient).norm().item<double>(),
                32 * epsilon * gradient.norm().item<double>());
    }
  }
}

TEST(TranslationModel, CloneSharesNothingAndComputesTheSame) {
  auto model = in_float64(Seq2Seq(small().norm_order(NormOrder::kPre)));
  const auto copy = std::dynamic_pointer_cast<Seq2SeqImpl>(model->clone());
  const torch::NoGradGuard no_grad;
  EXPECT_TENSOR_EQUAL(copy->forward(sources(), targets()), model->forward(sources(), targets()));
  const auto before = model->forward(sources(), targets());
  for (auto& parameter : copy->parameters()) parameter.zero_();
  EXPECT_TENSOR_EQUAL(model->forward(sources(), targets()), before);
  EXPECT_NE((copy->forward(sources(), targets()) - before).abs().max().item<double>(), 0.0);
}

TEST(Seq2Seq, WeightsOfEveryLayerAreThoseOfTheSteps) {
  auto model = in_float64(Seq2Seq(small()));
  const torch::NoGradGuard no_grad;
  const auto output = model->run(sources(), targets(), {}, {}, WeightsRequest::kPerHead);
  ASSERT_EQ(output.encoder_weights.size(), 2U);
  ASSERT_EQ(output.cross_weights.size(), 1U);
  EXPECT_EQ(output.encoder_weights[0].sizes(), (std::vector<int64_t>{2, 3, 5, 5}));
  EXPECT_EQ(output.decoder_weights[0].sizes(), (std::vector<int64_t>{2, 3, 4, 4}));
  EXPECT_TENSOR_EQUAL(output.logits, model->forward(sources(), targets()));
  const auto state = model->start(sources());
  for (int64_t t = 0; t < 4; ++t) {
    const auto step = model->step(targets().select(1, t), *state, /*want_alignment=*/true);
    EXPECT_TENSOR_NEAR(step.alignment, output.cross_weights[0].mean(1).select(1, t), 1e-12);
  }
}

// Of one with all words, whose others are never predicted.
TEST(Seq2Seq, FewerTargetTokensAreTheFirstOfTheSharedTable) {
  constexpr int64_t kAll = 15;
  auto part = in_float64(Seq2Seq(Seq2SeqOptions(kAll, kVocab, 12, 3, 2).share_embeddings(true)));
  Seq2Seq whole(Seq2SeqOptions(kAll, kAll, 12, 3, 2).pad_id(kPad).start_id(kPad));
  whole->to(torch::kDouble);
  whole->eval();
  {
    const torch::NoGradGuard no_grad;
    auto to = whole->named_parameters();
    for (const auto& item : part->named_parameters()) {
      if (item.key() == "final_logits_bias") {
        to[item.key()].fill_(-std::numeric_limits<double>::infinity());
        to[item.key()].narrow(1, 0, kVocab).copy_(item.value());
      } else {
        to[item.key()].copy_(item.value());
      }
    }
  }
  auto source = sources();
  source[0][1] = kAll - 1;  // what only the source has
  const auto labels = torch::tensor({{2, 9, 8, 0}, {7, 7, 3, 0}}, torch::kLong);
  for (auto* model : {&part, &whole}) (*model)->loss_sum(source, targets(), labels).backward();

  const auto logits = part(source, targets());
  EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{2, 4, kVocab}));
  EXPECT_TENSOR_NEAR(logits, whole(source, targets()).narrow(2, 0, kVocab), 1e-12);
  EXPECT_TENSOR_NEAR(part->loss_sum(source, targets(), labels),
                     whole->loss_sum(source, targets(), labels), 1e-12);
  const auto expected = whole->named_parameters();
  for (const auto& item : part->named_parameters()) {
    auto gradient = expected[item.key()].grad();
    if (item.key() == "final_logits_bias") gradient = gradient.narrow(1, 0, kVocab);
    EXPECT_TENSOR_NEAR(item.value().grad(), gradient, 1e-12) << item.key();
  }
  EXPECT_THROW(part(source, torch::full({2, 4}, kVocab, torch::kLong)), c10::Error);
}

TEST(Seq2Seq, ParameterNamesAreMarians) {
  const Seq2Seq model(small());
  std::vector<std::string> names;
  for (const auto& item : model->named_parameters()) names.push_back(item.key());
  for (const auto* name :
       {"final_logits_bias", "model.shared.weight", "model.encoder.layers.1.self_attn.q_proj.bias",
        "model.encoder.layers.0.final_layer_norm.weight", "model.decoder.layers.0.fc2.weight",
        "model.decoder.layers.0.encoder_attn.out_proj.weight",
        "model.decoder.layers.0.encoder_attn_layer_norm.bias"}) {
    EXPECT_NE(std::ranges::find(names, name), names.end()) << name;
  }
  // 16 tensors an encoder layer, 26 a decoder layer, the embeddings and the output bias.
  EXPECT_EQ(names.size(), 2U * 16 + 26 + 2);
}

TEST(Seq2Seq, EveryParameterLearns) {
  for (const auto& [name, model] : models()) {
    model->module().train();
    torch::nn::functional::cross_entropy(model->forward(sources(), targets()).flatten(0, 1),
                                         targets().flatten())
        .backward();
    for (const auto& item : model->module().named_parameters()) {
      ASSERT_TRUE(item.value().grad().defined()) << name << ": " << item.key();
      EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << name << ": " << item.key();
    }
  }
}

TEST(TranslationModel, IdsOutsideTheVocabularyNameTheInputAndBothNumbers) {
  const auto separate = Seq2SeqOptions(15, kVocab, 12, 3, 1).share_embeddings(false);
  const std::vector<std::pair<std::string, std::shared_ptr<TranslationModel>>> both{
      {"Seq2Seq", Seq2Seq(separate).ptr()},
      {"Seq2Seq",  // fewer target tokens in a shared table
       Seq2Seq(Seq2SeqOptions(15, kVocab, 12, 3, 1).share_embeddings(true)).ptr()},
      {"RecurrentSeq2Seq",
       RecurrentSeq2Seq(RecurrentSeq2SeqOptions(15, kVocab, 6).share_embeddings(false)).ptr()}};
  auto source = sources(), target = targets();
  source[0][1] = 15;
  target[1][2] = kVocab;
  for (size_t i = 0; i < both.size(); ++i) {
    const auto& name = both[i].first;
    const auto& model = both[i].second;
    const bool is_shared = i == 1;
    const auto of_source =
        name + ": expected source in [0, 15), the vocabulary, got ids from 0 to 15";
    EXPECT_THROW_MESSAGE(model->forward(source, targets()), c10::IndexError, of_source);
    EXPECT_THROW_MESSAGE(model->start(source), c10::IndexError, of_source);
    EXPECT_THROW_MESSAGE(model->loss_sum(source, targets(), targets()), c10::IndexError, of_source);
    const auto of_target =
        name + (is_shared
                    ? ": expected target in [0, 11), the vocabulary, or start_id or pad_id, got 11"
                    : ": expected target in [0, 11), the vocabulary, got ids from 2 to 11");
    EXPECT_THROW_MESSAGE(model->forward(sources(), target), c10::IndexError, of_target);
    EXPECT_THROW_MESSAGE(model->loss_sum(sources(), target, targets()), c10::IndexError, of_target);
    const auto state = model->start(sources());
    EXPECT_THROW_MESSAGE(model->step(torch::tensor({3, -1}), *state), c10::IndexError,
                         name +
                             "::step: expected tokens in [0, 11), the vocabulary, got ids from "
                             "-1 to 3");
  }
}

// By the full pass, with the end token counted where there is one.
double log_probability_of(TranslationModel& model, const torch::Tensor& source,
                          const Hypothesis& hypothesis) {
  const auto special = model.special_tokens();
  auto tokens = hypothesis.tokens;
  if (hypothesis.ended) tokens.push_back(special.eos_id);
  auto fed = tokens;
  fed.insert(fed.begin(), special.start_id);
  fed.pop_back();
  const auto logits = model.forward(source, torch::tensor(fed).unsqueeze(0))[0];
  return logits.log_softmax(-1).gather(1, torch::tensor(tokens).unsqueeze(1)).sum().item<double>();
}

TEST(TranslationModel, BeamSearchFindsWhatTheFullPassGivesTheSameProbability) {
  for (const auto& [name, model] : models()) {
    const torch::NoGradGuard no_grad;
    const auto found =
        beam_search(*model, sources(), {.beam_size = 3, .n_best = 3, .max_length = 7});
    for (int64_t b = 0; b < 2; ++b) {
      for (const auto& hypothesis : found[static_cast<size_t>(b)]) {
        EXPECT_NEAR(hypothesis.log_probability,
                    log_probability_of(*model, sources().narrow(0, b, 1), hypothesis),
                    1e-5)  // the search adds in float32
            << name;
      }
    }
  }
}

TEST(Seq2Seq, AnAlignmentIsOfTheSourceAloneWhereAttentionAddsKeys) {
  auto model =
      in_float64(Seq2Seq(small().decoder_layer(TransformerLayerOptions(12, 3).cross_attention(
          Attention(12, 3).sinks(true).add_bias_kv(true).add_zero_attn(true)))));
  const torch::NoGradGuard no_grad;
  const auto output = model->run(sources(), targets(), {}, {}, WeightsRequest::kMean);
  const auto state = model->start(sources());
  for (int64_t t = 0; t < 4; ++t) {
    const auto step = model->step(targets().select(1, t), *state, /*want_alignment=*/true);
    EXPECT_TENSOR_NEAR(step.alignment, output.cross_weights[0].select(1, t).narrow(1, 0, 5), 1e-12);
  }
}

TEST(Seq2Seq, AShortcutSetsBothSides) {
  const auto options = small()
                           .feed_forward_dim(7)
                           .activation(Activation::kGelu)
                           .norm_order(NormOrder::kPre)
                           .dropout(0.5)
                           .attention_dropout(0.25)
                           .activation_dropout(0.125);
  EXPECT_EQ(options.embedding_dropout(), 0.5);
  for (const auto& layer : {options.encoder_layer(), options.decoder_layer()}) {
    EXPECT_EQ(layer.feed_forward_dim(), 7);
    EXPECT_EQ(layer.activation(), Activation::kGelu);
    EXPECT_EQ(layer.norm_order(), NormOrder::kPre);
    EXPECT_EQ(layer.dropout(), 0.5);
    EXPECT_EQ(layer.attention_dropout(), 0.25);
    EXPECT_EQ(layer.activation_dropout(), 0.125);
  }
}

TEST(Seq2Seq, SidesThatDoNotFitEachOtherAreRefusedByName) {
  EXPECT_THROW_MESSAGE(Seq2Seq(small().decoder_layer(TransformerLayerOptions(8, 2))),
                       c10::ValueError,
                       "Seq2Seq: expected decoder_layer with the encoder's embed_dim 12, got 8");
  EXPECT_THROW_MESSAGE(
      Seq2Seq(small().decoder_layer(TransformerLayerOptions(12, 3).cross_attention(
          Attention(12, 3).key_dim(8).value_dim(8)))),
      c10::ValueError,
      "Seq2Seq: expected cross_attention with key_dim and value_dim 12, the encoder's embed_dim, "
      "got 8 and 8");
  EXPECT_THROW_MESSAGE(
      Seq2Seq(
          small().encoder_layer(TransformerLayerOptions(12, 3).cross_attention(Attention(12, 3)))),
      c10::ValueError,
      "TransformerEncoderLayer: expected options without cross_attention, which a decoder layer "
      "has, got it");
  EXPECT_THROW_MESSAGE(Seq2Seq(small().decoder_layer(TransformerLayerOptions(12, 3).cross_attention(
                           Attention(12, 3).alibi(true)))),
                       c10::ValueError,
                       "TransformerDecoderLayer: expected cross_attention without alibi, since a "
                       "target and its memory share no positions, got alibi");
  EXPECT_THROW_MESSAGE(Seq2Seq(small().embedding_dropout(1.0)), c10::ValueError,
                       "Seq2Seq: expected 0 <= embedding_dropout < 1, got 1");
}

TEST(Seq2Seq, ErrorsNameBothSides) {
  EXPECT_THROW_MESSAGE(Seq2Seq(Seq2SeqOptions(11, 13, 12, 3, 1).share_embeddings(true)),
                       c10::ValueError,
                       "Seq2Seq: expected tgt_vocab <= src_vocab for share_embeddings, got "
                       "tgt_vocab 13 and src_vocab 11");
  EXPECT_THROW_MESSAGE(Seq2Seq(small().pad_id(11)), c10::ValueError,
                       "Seq2Seq: expected pad_id in [0, 11), got 11");
  EXPECT_THROW_MESSAGE(Seq2Seq(11, 11, 12, 5, 1), c10::ValueError,
                       "TransformerEncoderLayer: expected embed_dim divisible by num_heads, got "
                       "embed_dim 12 and num_heads 5");
  Seq2Seq model(small().max_length(4));
  EXPECT_THROW_MESSAGE(model(sources(), targets()), c10::ValueError,
                       "PositionalEncoding: expected positions within max_length 4, got 0 + 5");
  EXPECT_THROW_MESSAGE(model(sources().to(torch::kFloat), targets()), c10::Error,
                       "Seq2Seq: expected source of dtype Long or Int, got Float");
  EXPECT_THROW_MESSAGE(model(sources(), targets().narrow(0, 0, 1)), c10::Error,
                       "Seq2Seq: expected target of shape [2, -1] (-1 = any), got [1, 4]");
}

}  // namespace
}  // namespace attend::seq2seq_test
