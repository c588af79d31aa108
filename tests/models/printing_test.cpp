#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend.h"

namespace attend::printing_test {
namespace {

constexpr int64_t kE = 12, kH = 3;

std::string printed(const torch::nn::Module& module) {
  std::ostringstream stream;
  stream << module;
  return stream.str();
}

// One of each module and model, and those that have parts of other kinds.
std::vector<std::shared_ptr<torch::nn::Module>> modules() {
  const TransformerLayerOptions layer(kE, kH);
  const auto llama = TransformerLayerOptions(MultiHeadAttentionOptions(kE, kH).num_kv_heads(1))
                         .feed_forward(FeedForwardOptions(kE, 7).gated(true))
                         .norm(NormKind::kRms);
  return {ScaledDotProductAttention().ptr(),
          BasicAttention(3, 4, 5).ptr(),
          GraphAttention(3, 4, 2).ptr(),
          SelfAttention(kE).ptr(),
          CrossAttention(kE, 5).ptr(),
          MultiHeadAttention(kE, kH).ptr(),
          MultiHeadSelfAttention(kE, kH).ptr(),
          MultiHeadCrossAttention(4, 5, kE, kH).ptr(),
          CausalSelfAttention(kE, kH, 9).ptr(),
          EncoderDecoderAttention(kE, kH).ptr(),
          FeedForward(FeedForwardOptions(kE, 7)).ptr(),
          Norm(kE).ptr(),
          Norm(NormOptions(kE).kind(NormKind::kRms)).ptr(),
          PositionalEncoding(kE, 9).ptr(),
          TransformerEncoderLayer(llama).ptr(),
          TransformerDecoderLayer(llama).ptr(),
          TransformerEncoder(layer, 2).ptr(),
          TransformerDecoder(layer, 2).ptr(),
          Seq2Seq(11, 11, kE, kH, 2).ptr(),
          Seq2Seq(Seq2SeqOptions(11, 13, llama, 2).tie_output(false)).ptr(),
          RecurrentSeq2Seq(11, 13, 6).ptr(),
          CausalLM(11, kE, kH, 2).ptr(),
          CausalLM(CausalLMOptions(11, llama, 2).tie_output(false)).ptr(),
          VisionTransformer(VisionTransformerOptions(8, 4, 3, kE, kH, 2)).ptr()};
}

TEST(Printing, EveryModuleAndPartHasTheNameThatUsersKnow) {
  for (const auto& module : modules()) {
    for (const auto& part : module->modules()) {
      const auto text = printed(*part);
      EXPECT_TRUE(text.starts_with("attend::") || text.starts_with("torch::nn::")) << text;
      for (const auto* hidden : {"Impl", "<", "detail::", "std::"}) {
        EXPECT_EQ(text.find(hidden), std::string::npos) << text;
      }
    }
  }
}

// The first line of what a module prints.
template <typename Module, typename Options>
std::string line_of(const Options& options) {
  const auto text = printed(*Module(options));
  return text.substr(0, text.find('\n'));
}

// Each of `changed` is printed as itself, unlike `usual`.
template <typename Module, typename Options>
void expect_shown(const Options& usual, const std::vector<Options>& changed) {
  const auto line = line_of<Module>(usual);
  for (size_t i = 0; i < changed.size(); ++i) {
    EXPECT_NE(line_of<Module>(changed[i]), line) << "the option " << i << " of " << line;
  }
}

TEST(Printing, WhatIsNotTheDefaultIsShown) {
  using Attention = MultiHeadAttentionOptions;
  const Attention attention(kE, kH);
  expect_shown<MultiHeadAttention>(
      attention,
      {Attention(attention).query_dim(5), Attention(attention).key_dim(5),
       Attention(attention).value_dim(5), Attention(attention).dropout(0.5),
       Attention(attention).bias(false), Attention(attention).num_kv_heads(1),
       Attention(attention).scale(0.5), Attention(attention).rotary(RotaryOptions{}),
       Attention(attention).alibi(true), Attention(attention).relative_bias(RelativeBiasOptions{}),
       Attention(attention).window(AttentionWindow{2, 1}), Attention(attention).qk_norm(true),
       Attention(attention).soft_cap(1.5), Attention(attention).sinks(true),
       Attention(attention).add_bias_kv(true), Attention(attention).add_zero_attn(true)});

  using Layer = TransformerLayerOptions;
  const auto layer = Layer(kE, kH).dropout(0.0);
  const std::vector layers{Layer(layer).feed_forward_dim(7),
                           Layer(layer).activation(Activation::kGelu),
                           Layer(layer).activation_dropout(0.5),
                           Layer(layer).feed_forward(FeedForwardOptions(kE, 4 * kE).gated(true)),
                           Layer(layer).norm(NormKind::kRms),
                           Layer(layer).norm_order(NormOrder::kPre),
                           Layer(layer).dropout(0.5)};
  expect_shown<TransformerEncoderLayer>(layer, layers);
  expect_shown<TransformerDecoderLayer>(layer, layers);

  using Positions = PositionalEncodingOptions;
  const Positions positions(kE, 9);
  expect_shown<PositionalEncoding>(positions, {Positions(positions).kind(PositionKind::kLearned),
                                               Positions(positions).dropout(0.5)});

  const Seq2SeqOptions seq2seq(11, 11, kE, kH, 2);
  expect_shown<Seq2Seq>(
      seq2seq,
      {Seq2SeqOptions(seq2seq).encoder_layers(1), Seq2SeqOptions(seq2seq).decoder_layers(1),
       Seq2SeqOptions(seq2seq).positions(PositionKind::kLearned),
       Seq2SeqOptions(seq2seq).max_length(9), Seq2SeqOptions(seq2seq).embedding_dropout(0.5),
       Seq2SeqOptions(seq2seq).share_embeddings(false), Seq2SeqOptions(seq2seq).tie_output(false),
       Seq2SeqOptions(seq2seq).scale_embedding(false), Seq2SeqOptions(seq2seq).eos_id(1),
       Seq2SeqOptions(seq2seq).pad_id(9), Seq2SeqOptions(seq2seq).start_id(9)});

  const CausalLMOptions causal(11, kE, kH, 2);
  expect_shown<CausalLM>(
      causal,
      {CausalLMOptions(causal).positions(PositionKind::kNone),
       CausalLMOptions(causal).max_length(9), CausalLMOptions(causal).embedding_dropout(0.5),
       CausalLMOptions(causal).final_norm(false), CausalLMOptions(causal).tie_output(false),
       CausalLMOptions(causal).bos_id(1), CausalLMOptions(causal).eos_id(1)});

  using Recurrent = RecurrentSeq2SeqOptions;
  const Recurrent recurrent(11, 11, 6);
  expect_shown<RecurrentSeq2Seq>(
      recurrent, {Recurrent(recurrent).attention_dim(5), Recurrent(recurrent).dropout(0.5),
                  Recurrent(recurrent).max_length(9), Recurrent(recurrent).share_embeddings(false),
                  Recurrent(recurrent).tie_output(false), Recurrent(recurrent).eos_id(1)});

  using Vision = VisionTransformerOptions;
  const Vision vision(8, 4, 3, kE, kH, 2);
  expect_shown<VisionTransformer>(
      vision, {Vision(vision).positions(PositionKind::kNone), Vision(vision).num_channels(2),
               Vision(vision).embedding_dropout(0.5)});
}

TEST(Printing, AModelShowsItsSidesAndLayers) {
  const auto text = printed(*Seq2Seq(Seq2SeqOptions(11, 11, kE, kH, 2).decoder_layers(1)));
  EXPECT_TRUE(text.starts_with(
      "attend::Seq2Seq(src_vocab=11, tgt_vocab=11, embed_dim=12, layers=2+1)(\n"
      "  (model): attend::Seq2SeqBody(embed_dim=12)(\n"
      "    (shared): torch::nn::Embedding(num_embeddings=11, embedding_dim=12)\n"
      "    (encoder): attend::Seq2SeqEncoder(num_layers=2)(\n"
      "      (embed_positions): attend::PositionalEncoding(embed_dim=12, max_length=512, "
      "kind=sinusoidal_halves, dropout=0.1)\n"))
      << text;
}

}  // namespace
}  // namespace attend::printing_test
